"""RIFE, which makes frames between two others."""

from model_blocks.facts import MEBIBYTE, ModelFacts

PAPER = "Huang, Zhang, Heng, Shi, Zhou 2022, RIFE"
UNUSED = ("teacher", "caltime")  # modules of the training


def _rife(version: str, levels: int, memory_factor: float, fixed_mib: int) -> ModelFacts:
    """What both versions have in common."""
    return ModelFacts(
        name=f"rife-{version}",
        capability="interpolate",
        architecture=f"intermediate flow in {levels} levels, version {version} ({PAPER})",
        factory="model_blocks.rife:open_rife",
        version=1,
        embedded=False,
        licence="MIT",
        conventions="RGB 0..1; zeros at the right and the bottom to a multiple of 128 pixels; levels at half size for "
        "UHD; premultiplied where there is an alpha",
        memory_factor=memory_factor,
        fixed_bytes=fixed_mib * MEBIBYTE,
        auto_on=("cuda",),  # 1.6 and 2.5 s per pair at 720p on one core; DIS takes 0.05
        file_name=f"flownet_v{version}.pkl",  # flownet.pkl in the authors' archives, whatever the version
        ignored_keys=tuple(f"{prefix}{module}.*" for prefix in ("", "module.") for module in UNUSED),
        archive_member="flownet.pkl",
        libraries=("torch",),
    )


RIFE = (
    _rife("4.25", levels=5, memory_factor=100.0, fixed_mib=60),
    _rife("4.6", levels=4, memory_factor=80.0, fixed_mib=60),
)
