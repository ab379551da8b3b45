"""The four sizes of SAM 2.1 and empty networks of each."""

from dataclasses import dataclass
from importlib import import_module
from typing import Any

from model_blocks.torch_libraries import prepare

SIDE = 1024  # pixels of the square the network sees
LOW_RES = 256  # side of the masks it makes
GRID = 64  # side of its embedding
CHANNELS = 256  # of its embedding and of an object pointer
MEMORY_CHANNELS = 64  # of what it remembers of a frame

Network = Any  # networks of transformers; its types say nothing about their parts


@dataclass(frozen=True)
class Sam2Size:
    """What the image encoders differ in.

    Attributes:
        hidden: Channels of the first stage; doubled at each of the three others.
        heads: Attention heads of the first stage; doubled likewise.
        blocks: Of each stage.
        global_blocks: Those that see the whole picture, counted through.
        background: Side of the position embedding that is stretched over the picture.
        windows: Side of each stage's windows.
    """

    hidden: int
    heads: int
    blocks: tuple[int, int, int, int]
    global_blocks: tuple[int, int, int]
    background: int
    windows: tuple[int, int, int, int] = (8, 4, 14, 7)


SIZES = {
    "tiny": Sam2Size(96, 1, (1, 2, 7, 2), (5, 7, 9), 7),
    "small": Sam2Size(96, 1, (1, 2, 11, 2), (7, 10, 13), 7),
    "base-plus": Sam2Size(112, 2, (2, 3, 16, 3), (12, 16, 20), 14),
    "large": Sam2Size(144, 2, (2, 6, 36, 4), (23, 33, 43), 7, (8, 4, 16, 8)),
}


def image_network(size: Sam2Size) -> Network:
    """A network for pictures, with weights drawn at random."""
    library = _library()
    return library.Sam2Model(library.Sam2Config(vision_config=_vision(size)))


def video_network(size: Sam2Size) -> Network:
    """A network for shots, with weights drawn at random; it has everything that the one for pictures has."""
    library = _library()
    return library.Sam2VideoModel(library.Sam2VideoConfig(vision_config=_vision(size)))


def _library() -> Any:
    prepare()
    return import_module("transformers")  # by name: type checkers would read all of it


def _vision(size: Sam2Size) -> Any:
    library = _library()
    channels = [size.hidden * 2**stage for stage in range(4)]
    backbone = library.Sam2HieraDetConfig(
        hidden_size=size.hidden,
        num_attention_heads=size.heads,
        window_positional_embedding_background_size=[size.background, size.background],
        blocks_per_stage=list(size.blocks),
        embed_dim_per_stage=channels,
        num_attention_heads_per_stage=[size.heads * 2**stage for stage in range(4)],
        window_size_per_stage=list(size.windows),
        global_attention_blocks=list(size.global_blocks),
    )
    return library.Sam2VisionConfig(backbone_config=backbone, backbone_channel_list=channels[::-1])
