"""Decode: a clip's bytes become an asset and a frame store in the decoder's own planes, or a clear refusal.

Frames are written chunk by chunk while the decoder goes on; chunks that an interrupted run finished stay as they are.
"""

import os
import stat
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field

from datasets.assets import check_asset, opened_asset, put_asset_file
from datasets.errors import NotFoundError
from datasets.frame_spec import FrameSpec, planar_spec
from datasets.frames import create_frames
from datasets.identity import digest_file
from datasets.notices import Notice
from datasets.outputs import OutputPlace
from datasets.planar import PLANAR
from tasks.clip_local import ClipState
from tasks.clip_measures import MEASURES
from tasks.config import StageConfig
from tasks.context import RunContext, current_run
from tasks.decode_writing import AHEAD, DecodedFrames
from tasks.executor import peak_memory_bytes
from tasks.intake import UnreadableError
from tasks.ops.geometry import Shape
from tasks.ops.video.cadence import Timing, durations_of
from tasks.ops.video.clip import ClipInfo
from tasks.ops.video.damage import DamageFact
from tasks.ops.video.reading import Clip, open_clip
from tasks.ops.video.scanning import Scan
from tasks.ops.video.video_errors import ClipDamagedError, ClipError, NoFramesError
from tasks.plan import refuse_disk, refuse_memory
from tasks.prefect_stage import stage_task
from tasks.stage import StageKey, StageOutcome, StageWork, run_stage
from tasks.view import CLIP, DEINTERLACE, TONEMAP

VERSION = 1
STAGE = "decode"
DECODERS = ("av", "pillow", "numpy", "opencv-python-headless")
DECODER_FRAMES = 24  # pictures that a decoder with its threads holds at most


class DecodeConfig(StageConfig):
    """How clips are read."""

    stage: Literal["decode"] = "decode"
    damage: Literal["refuse", "warn"] = Field(
        default="refuse", description="What to do with a clip that is damaged: refuse it, or deliver it with a warning."
    )
    deinterlace: bool = Field(default=True, description="Make whole frames of woven fields before stages see them.")
    hdr: Literal["keep", "tonemap"] = Field(
        default="keep", description="Keep a high dynamic range, or show it as an ordinary one to stages and viewers."
    )


@dataclass(frozen=True)
class Probe:
    """What is known about a clip before a frame of it is decoded for good.

    Attributes:
        asset: Digest of its bytes.
        state: What it will be; its times are those that its packets promise.
        scan: What its packets say.
    """

    asset: str
    state: ClipState
    scan: Scan


def probe_clip(source: str, reading: DecodeConfig) -> Probe:
    """Look at a clip and keep its bytes. Its identity is its content: the path and the name decide nothing.

    Raises:
        NotFoundError, UnreadableError: Nothing is there, or it is no file that may be read.
        ClipError: It cannot become a clip.
    """
    path = Path(source)
    _refuse_no_file(path)
    run = current_run()
    try:
        with open_clip(path, max_pixels=int(run.settings.max_megapixels * 1e6)) as clip:
            probe = _probe(clip, reading)
        asset = digest_file(path) if run.dry else put_asset_file(run.storage, path)
    except OSError as error:
        raise UnreadableError(f"{source!r} cannot be read: {error.strerror}", path=source) from error
    return replace(probe, asset=asset)


def _probe(clip: Clip, reading: DecodeConfig) -> Probe:
    scan, info = clip.scan(), clip.info
    if not len(scan.pts):
        raise NoFramesError(f"{info.container} without one time stamp holds no frames; export the clip again")
    pts = np.unique(np.asarray(scan.pts, dtype=np.int64))
    timing = Timing(pts, durations_of(pts, scan.last_duration), info.time_base)
    planar = PLANAR[info.pixel_format]
    shape = Shape(len(pts), *info.upright, planar.channels)
    return Probe("", ClipState(info, shape, planar.dtype, timing, tonemapped=_tonemaps(info, reading)), scan)


def _tonemaps(info: ClipInfo, reading: DecodeConfig) -> bool:
    return reading.hdr == "tonemap" and info.colour.hdr


def _refuse_no_file(path: Path) -> None:
    try:
        mode = path.stat().st_mode
    except FileNotFoundError as error:
        raise NotFoundError(f"there is no file {str(path)!r}; check the path", path=str(path)) from error
    except OSError as error:
        raise UnreadableError(f"{str(path)!r} cannot be read: {error.strerror}", path=str(path)) from error
    if not stat.S_ISREG(mode):
        raise UnreadableError(f"{path.name} is not a regular file; give the clip itself", path=str(path))
    if not os.access(path, os.R_OK):
        raise UnreadableError(f"{str(path)!r} may not be read; check its rights", path=str(path))


def decode_key(asset: str, reading: DecodeConfig) -> StageKey:
    libraries = {name: installed_version(name) for name in DECODERS}
    return StageKey(STAGE, VERSION, reading.parameters(), (("asset", asset),), libraries=libraries)


@stage_task(STAGE)
def decode(item: str, source: str, probe: Probe, reading: DecodeConfig) -> StageOutcome:
    """Decode one clip into its own planes."""
    key = decode_key(probe.asset, reading)

    def compute(place: OutputPlace) -> StageWork:
        run = current_run()
        check_asset(run.storage, probe.asset)
        pixels, name = int(run.settings.max_megapixels * 1e6), Path(source).name
        with (
            opened_asset(run.storage, probe.asset) as file,
            open_clip(file, name, max_pixels=pixels, scan=probe.scan) as clip,
        ):
            try:
                return _decode(run, item, place, clip, probe, reading)
            except ClipError:  # another try would find the same
                place.discard()
                raise

    return run_stage(item, key, None, compute)


def chunk_frames(info: ClipInfo, limit_bytes: int) -> int:
    """Frames of a chunk: as many as usual, fewer where memory is short.

    Raises:
        PlanTooLargeError: Not even single frames fit.
    """
    frames = planar_spec(1 << 30, info.height, info.width, PLANAR[info.pixel_format]).chunks[0]
    while frames > 1 and decode_bytes(info, frames) > limit_bytes:
        frames //= 2
    refuse_memory(decode_bytes(info, frames), limit_bytes, f"decoding frames of {info.width}×{info.height}")
    return frames


def decode_bytes(info: ClipInfo, frames: int) -> int:
    """Memory that decoding in chunks of so many frames takes: the decoder's pictures, and chunks on their way."""
    one = PLANAR[info.pixel_format].frame_bytes(info.height, info.width)
    return one * (DECODER_FRAMES + frames * (AHEAD + 2))


def clip_spec(probe: Probe, reading: DecodeConfig, frames: int) -> FrameSpec:
    """The store of a clip's planes in chunks of so many frames."""
    info = probe.state.info
    spec = planar_spec(
        probe.state.shape.frames,
        info.height,
        info.width,
        PLANAR[info.pixel_format],
        **{
            CLIP: info.to_json(),
            DEINTERLACE: reading.deinterlace,
            TONEMAP: probe.state.tonemapped,
            "time_base": str(info.time_base),
            "source_digest": probe.asset,
        },
    )
    return replace(spec, chunks=(min(spec.shape[0], frames), *spec.chunks[1:]))


def _decode(
    run: RunContext, item: str, place: OutputPlace, clip: Clip, probe: Probe, reading: DecodeConfig
) -> StageWork:
    spec = clip_spec(probe, reading, chunk_frames(clip.info, run.limits.memory_bytes))
    refuse_disk(run.storage, spec.raw_bytes, run.limits.disk_reserve_bytes)
    spec = _laid_out(place, spec)
    growing, report = run.growing_of(item, place.fingerprint), partial(run.chunk_done, item, STAGE)
    growing.begin(place, spec, probe.state, decided=0)
    with DecodedFrames(place, spec, probe.state.timing, clip, growing, report) as frames:
        frames.take()
        if not frames.count:
            raise NoFramesError(f"not one frame of {item} could be decoded; export the clip again")
        damage = clip.damage()
        _refuse_damage(item, damage, reading)
        entry, timing = frames.done()
    measures = frames.measures(timing)
    state = replace(
        probe.state,
        shape=replace(probe.state.shape, frames=entry.shape[0]),
        timing=timing,
        cuts=measures.cuts,
    )
    facts = {**state.facts(), "asset": probe.asset, "measures": place.fingerprint, "source": _source_facts(clip)}
    return StageWork(
        frames=entry,
        files={MEASURES: measures.save(place)},
        facts=facts,
        notices=(*clip.notices, *(Notice(each.code, each.message, each.facts) for each in damage)),
        chunks=len(entry.checksums),
        peak_bytes=peak_memory_bytes(),
    )


def _laid_out(place: OutputPlace, spec: FrameSpec) -> FrameSpec:
    """The store to write into: the one that an interrupted run began, unless its chunks are more than fits now."""
    begun = create_frames(place, spec)
    if begun.chunks[0] > spec.chunks[0]:
        place.discard()
        begun = create_frames(place, spec)
    return begun


def _refuse_damage(item: str, damage: tuple[DamageFact, ...], reading: DecodeConfig) -> None:
    if damage and reading.damage == "refuse":
        found = "; ".join(each.message for each in damage)
        raise ClipDamagedError(
            f"{item} is damaged: {found}; export it again, or let it pass with a warning by "
            '{"stage": "decode", "damage": "warn"} as the first stage of a recipe',
            damage=[{"code": each.code, **each.facts} for each in damage],
        )


def _source_facts(clip: Clip) -> dict[str, object]:
    info = clip.info
    return {
        "container": info.container,
        "codec": info.codec,
        "pixel_format": info.source_format,
        "width": info.width,
        "height": info.height,
        "fps": None if info.average_rate is None else round(float(info.average_rate), 6),
        "colour": vars(info.colour),
        "streams": [{"kind": each.kind, "codec": each.codec} for each in clip.scan().streams],
    }
