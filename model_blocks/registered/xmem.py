"""XMem, which follows objects through clips of any length."""

from model_blocks.facts import MEBIBYTE, ModelFacts

XMEM: tuple[ModelFacts, ...] = (
    ModelFacts(
        name="xmem",
        capability="propagate",
        architecture="space-time memory with sensory, working and long-term stores (Cheng, Schwing 2022, XMem)",
        factory="model_blocks.xmem.propagator:open_xmem",
        version=1,
        embedded=False,
        licence="MIT",
        conventions=(
            "RGB 0..1, normalised as ImageNet's pictures; one frame at a time, shorter side at most 480, zeros around "
            "it to multiples of 16; a new start at every cut"
        ),
        memory_factor=450.0,
        fixed_bytes=510 * MEBIBYTE,
        file_url="https://github.com/hkchengrex/XMem/releases/download/v1.0/XMem.pth",
        auto_on=("cuda",),
        libraries=("torch",),
    ),
)
