"""What a clip is to be written as: codec, container, pixel format and colour, worked out from what it is."""

from dataclasses import dataclass, replace
from typing import Literal, cast

import numpy as np
from pydantic import Field

from datasets.notices import Notice
from datasets.planar import PLANAR
from tasks.clip_local import ClipState
from tasks.config import StageConfig
from tasks.ops.video.clip import ClipInfo, Colour
from tasks.ops.video.codecs import ContainerName, choose_codec, choose_pixel_format
from tasks.ops.video.colour import conversion_bytes
from tasks.ops.video.encoder_options import EncodeSettings
from tasks.ops.video.hdr import tonemapped
from tasks.ops.video.matrices import is_full_range, matrix_name
from tasks.view import ViewFacts

ENCODER_FRAMES = 80  # pictures that an encoder holds at most, to look ahead and to refer to
LOSSLESS = ("ffv1",)
TURNED_BY_PLAYERS = ("mp4", "mov", "mkv")  # containers that hold a display matrix


class EncodeConfig(StageConfig):
    """Write the clip as a file. ``auto`` takes what most players show; transparency and 10 bits are kept."""

    stage: Literal["encode"] = "encode"
    codec: Literal["auto", "h264", "hevc", "av1", "vp9", "prores4444", "ffv1", "gif", "webp"] = Field(
        default="auto", description="Codec of the pictures."
    )
    container: Literal["auto", "mp4", "mov", "mkv", "webm", "gif", "webp"] = Field(
        default="auto", description="File format."
    )
    quality: float | None = Field(default=None, ge=0, le=100, description="Constant quality on the encoder's scale.")
    preset: str | None = Field(
        default=None, pattern=r"^[a-z0-9]{1,12}$", description="Speed in the encoder's own words."
    )
    sound: Literal["keep", "drop"] = Field(default="keep", description="What becomes of the sound.")
    threads: int = Field(default=2, ge=1, le=16, description="Threads of one encoder; the bytes depend on it.")
    segment_frames: int = Field(default=240, ge=8, le=10_000, description="Frames encoded at a time.")


@dataclass(frozen=True)
class Target:
    """How a clip is to be written, worked out from what it is."""

    settings: EncodeSettings
    info: ClipInfo
    direct: bool
    notices: tuple[Notice, ...]


def choose_target(config: EncodeConfig, state: ClipState, facts: ViewFacts) -> Target:
    """Codec, container and pixel format of a clip, and whether its planes can be coded as they are kept.

    Raises:
        ClipFormatError: The container does not hold the codec.
    """
    clip, alpha = state.info, state.shape.channels == 4
    planar = facts.spec.planar
    depth = planar.depth if planar else np.dtype(state.dtype).itemsize * 8
    container = cast("ContainerName", _container(config, alpha=alpha, depth=depth))
    codec = choose_codec(config.codec, alpha=alpha, depth=depth, container=container)
    source = clip.pixel_format if planar else _planar_of(clip, depth, alpha=alpha)
    woven = facts.deinterlaced and codec not in LOSSLESS
    turned = clip.mirrored or (bool(clip.rotation) and container not in TURNED_BY_PLAYERS)
    height, width = clip.upright if turned or not planar else (clip.height, clip.width)
    coded, notices = choose_pixel_format(codec, source, height=height, width=width)
    direct = planar is not None and _same_samples(source, coded) and not (woven or turned or facts.tonemapped)
    settings = EncodeSettings(codec, container, coded, config.quality, config.preset, config.threads)
    info = _coded_as_kept(clip, coded) if direct else _coded_anew(state, facts, coded)
    return Target(settings, info, direct, notices)


def _container(config: EncodeConfig, *, alpha: bool, depth: int) -> str:
    if config.container != "auto":
        return config.container
    own = {"ffv1": "mkv", "prores4444": "mov", "vp9": "webm", "gif": "gif", "webp": "webp"}
    if config.codec != "auto":
        return own.get(config.codec, "mp4")
    return "mp4" if not alpha else "mov" if depth > 8 else "webm"


def _planar_of(clip: ClipInfo, depth: int, *, alpha: bool) -> str:
    """The planar format whose depth and chroma a clip in RGB came with, as far as is known; else 4:4:4."""
    before = PLANAR.get(clip.source_format)
    depth = before.depth if before is not None else depth
    subsampling = "420" if before is None or before.family != "rgb" else "444"
    if before is not None and before.family == "yuv":
        subsampling = {(1, 1): "420", (1, 0): "422", (0, 0): "444"}.get((before.shift_x, before.shift_y), "444")
    name = f"yuv{'a' if alpha else ''}{subsampling}p{'' if depth == 8 else f'{depth}le'}"
    return name if name in PLANAR else f"yuv{'a' if alpha else ''}444p{'' if depth == 8 else '16le'}"


def _same_samples(first: str, second: str) -> bool:
    return replace(PLANAR[first], name="") == replace(PLANAR[second], name="")


def _coded_as_kept(clip: ClipInfo, coded: str) -> ClipInfo:
    full = clip.pixel_format.startswith("yuvj")
    colour = replace(clip.colour, range="pc") if full else clip.colour
    return replace(clip, pixel_format=coded, colour=colour)


def _coded_anew(state: ClipState, facts: ViewFacts, coded: str) -> ClipInfo:
    clip, shape = state.info, state.shape
    clip = tonemapped(clip) if facts.tonemapped else clip
    colour = clip.colour
    planar = PLANAR[coded]
    if planar.family == "yuv" and colour.matrix == "gbr":
        colour = replace(colour, matrix="unspecified", range="tv")
    aspect = 1 / clip.sample_aspect if clip.rotation in (90, 270) else clip.sample_aspect
    made = replace(clip.with_pixels(coded, shape.height, shape.width), sample_aspect=aspect, colour=colour)
    return replace(made, colour=_spoken(made))


def expected_bytes(state: ClipState, target: Target) -> int:
    """What segments and the joined file may take, at most: lossless codecs about what is not compressed, twice."""
    height, width = state.shape.height, state.shape.width
    raw = PLANAR[target.settings.pixel_format].frame_bytes(height, width) * state.shape.frames
    return raw * 2 if target.settings.codec in LOSSLESS else raw // 4


def encode_bytes(target: Target, facts: ViewFacts) -> int:
    """Memory that encoding takes: the encoder's pictures, and a chunk on its way with what converting it takes."""
    one = PLANAR[target.settings.pixel_format].frame_bytes(target.info.height, target.info.width)
    frames = facts.spec.chunks[0]
    seen = 0 if target.direct else facts.bytes_of(frames) + frames * conversion_bytes(target.info)
    kept = frames * (facts.spec.frame_bytes + one)
    return one * ENCODER_FRAMES + kept * 2 + seen


def _spoken(info: ClipInfo) -> Colour:
    """The colour tags with what was taken for granted said: another size would make players guess otherwise."""
    planar = PLANAR[info.pixel_format]
    full = is_full_range(info, planar)
    return replace(info.colour, matrix=matrix_name(info, planar), range="pc" if full else "tv")
