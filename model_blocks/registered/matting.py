"""BackgroundMattingV2 and MODNet, which find an alpha by themselves."""

from model_blocks.facts import MEBIBYTE, ModelFacts

BMV2_FILES = "https://github.com/PeterL1n/BackgroundMattingV2/releases/download/v1.0.0"
TRAINING_ONLY = ("module.lr_branch.conv_lr.*", "module.hr_branch.conv_hr.*")  # heads that only training looks at


def _background_matting(backbone: str, memory_factor: float, fixed_mib: int) -> ModelFacts:
    return ModelFacts(
        name=f"bmv2-{backbone}",
        capability="matte",
        architecture=f"DeepLabV3 on {backbone} and a refiner of patches (Lin et al. 2021, BackgroundMattingV2)",
        factory="model_blocks.background_matting:open_background_matting",
        version=1,
        embedded=False,
        licence="MIT",
        conventions="RGB 0..1, picture and background of one view and shape, sides multiples of 4 (edges repeated)",
        memory_factor=memory_factor,
        fixed_bytes=fixed_mib * MEBIBYTE,
        file_url=f"{BMV2_FILES}/pytorch_{backbone}.pth",
        auto_on=(),  # needs a background
        finds_alpha=True,
        needs_background=True,
        libraries=("torch",),
    )


def _modnet(kind: str) -> ModelFacts:
    return ModelFacts(
        name=f"modnet-{kind}",
        capability="matte",
        architecture="semantics, details and their fusion (Ke et al. 2022, MODNet)",
        factory="model_blocks.modnet:open_modnet",
        version=1,
        embedded=False,
        licence="Apache-2.0",
        conventions="RGB 0..1, whole picture, shorter side 512, multiples of 32, resized by area both ways",
        memory_factor=320.0,  # of the copy it looks at, whatever the picture's size
        fixed_bytes=75 * MEBIBYTE,
        file_name=f"modnet_{kind}_portrait_matting.ckpt",
        key_prefix="module.",
        ignored_keys=TRAINING_ONLY,
        auto_on=(),  # made for people
        finds_alpha=True,
        libraries=("torch",),
    )


MATTING: tuple[ModelFacts, ...] = (
    _background_matting("mobilenetv2", 115.0, 70),
    _background_matting("resnet50", 115.0, 490),
    _background_matting("resnet101", 115.0, 720),
    _modnet("photographic"),
    _modnet("webcam"),
)
