"""LaMa, which fills holes."""

from model_blocks.facts import MEBIBYTE, ModelFacts

INPAINTING: tuple[ModelFacts, ...] = (
    ModelFacts(
        name="lama",
        capability="inpaint",
        architecture="fast Fourier convolutions, 18 blocks (Suvorov et al. 2022, LaMa)",
        factory="model_blocks.lama:open_lama",
        version=1,
        embedded=False,
        licence="Apache-2.0",
        conventions="RGB 0..1, whole frames one by one; a mask above 0 is hidden, from 0.5 on replaced, below blended; "
        "mirrored at the right and the bottom to a multiple of 8 pixels",
        fixed_bytes=420 * MEBIBYTE,
        memory_factor=400.0,
        auto_on=("cuda",),  # 25 s per megapixel on one core, and clips have many frames
        file_name="big-lama.zip",
        container_key="state_dict",
        key_prefix="generator.",
        archive_member="models/best.ckpt",
        inert_classes=(
            "builtins.dict",
            "builtins.int",
            "builtins.list",
            "collections.defaultdict",
            "omegaconf.base.ContainerMetadata",
            "omegaconf.base.Metadata",
            "omegaconf.dictconfig.DictConfig",
            "omegaconf.listconfig.ListConfig",
            "omegaconf.nodes.AnyNode",
            "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint",
            "typing.Any",
        ),
        torchscript_sha256=("344c77bbcb158f17dd143070d1e789f38a66c04202311ae3a258ef66667a9ea9",),
        libraries=("torch", "spandrel"),
    ),
)
