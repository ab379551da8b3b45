"""Encode: the frames of a clip as a file with the source's sound, subtitles and chapters.

Closed segments are encoded on the workers and kept as they are finished, then joined without encoding again.
"""

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from importlib.metadata import version as installed_version
from typing import Literal, cast

import numpy as np
from pydantic import Field

from datasets.assets import check_asset, local_asset
from datasets.frames import FrameReader
from datasets.identity import digest_file
from datasets.notices import Notice
from datasets.outputs import NOTES, OutputPlace, StoredFile
from datasets.planar import PLANAR, Planes
from tasks.clip_local import ClipState
from tasks.config import StageConfig
from tasks.context import current_run
from tasks.encoding import Published
from tasks.executor import peak_memory_bytes
from tasks.ops.video.carrying import CarryPlan, plan_carry
from tasks.ops.video.clip import ClipInfo, Colour
from tasks.ops.video.codecs import ContainerName, choose_codec, choose_pixel_format
from tasks.ops.video.colour import conversion_bytes, from_rgb
from tasks.ops.video.encoder_options import EncodeSettings
from tasks.ops.video.encoding import encode_segment
from tasks.ops.video.hdr import tonemapped
from tasks.ops.video.joining import join
from tasks.ops.video.matrices import is_full_range, matrix_name
from tasks.plan import refuse_disk
from tasks.prefect_stage import stage_task
from tasks.stage import Picture, StageKey, StageOutcome, StageWork, open_frames, run_stage
from tasks.view import ViewFacts, open_view

VERSION = 1
ANIMATION = "webp"
SEGMENTS = "segments"
STITCH = "stitch"
ENCODER_FRAMES = 80  # pictures that an encoder holds at most, to look ahead and to refer to
LOSSLESS = ("ffv1",)
TURNED_BY_PLAYERS = ("mp4", "mov", "mkv")  # containers that hold a display matrix
LIBRARIES = ("av", "numpy", "opencv-python-headless")


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


@dataclass(frozen=True)
class _SegmentTask:
    source: OutputPlace
    place: OutputPlace
    target: Target
    number: int
    start: int
    stop: int


@dataclass(frozen=True)
class _SegmentResult:
    name: str
    entry: StoredFile
    peak_bytes: int


def encode_key(source_fingerprint: str, config: EncodeConfig) -> StageKey:
    libraries = {name: installed_version(name) for name in LIBRARIES}
    return StageKey("encode", VERSION, config.parameters(), (("output", source_fingerprint),), libraries=libraries)


@stage_task("encode")
def encode_clip(item: str, source: Picture, config: EncodeConfig, asset: str) -> StageOutcome:
    """Encode one clip. The bytes depend on frames, sound and settings alone, never on item, time or workers."""
    key = encode_key(source.fingerprint, config)

    def compute(place: OutputPlace) -> StageWork:
        run = current_run()
        state = ClipState.of(source)
        facts = ViewFacts.of(open_frames(source).entry)
        target = choose_target(config, state, facts)
        todo, done = _segments(place, source, target, state, config.segment_frames)
        refuse_disk(run.storage, expected_bytes(state, target), run.limits.disk_reserve_bytes)
        peak, total = 0, len(todo) + len(done)
        for _, made in run.executor.run(_encode_segment, todo):
            done[made.name] = made.entry
            peak = max(peak, made.peak_bytes)
            run.chunk_done(item, "encode", len(done), total)
        name = f"clip.{target.settings.container}"
        run.progress.advanced(item, STITCH, 0, 1)
        entry, carried = _join(place, [(each, done[each]) for each in sorted(done)], asset, target, config, state, name)
        run.progress.advanced(item, STITCH, 1, 1)
        height, width = target.info.upright
        published: dict[str, object] = {
            "published": name,
            "container": target.settings.container,
            "codec": target.settings.codec,
            "pixel_format": target.settings.pixel_format,
            "shown": [width, height],
        }
        run.storage.remove_tree(place.inside(SEGMENTS))
        return StageWork(
            files={name: entry},
            facts=state.facts() | published,
            notices=(*target.notices, *carried),
            chunks=total,
            peak_bytes=peak,
        )

    return run_stage(item, key, source, compute)


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


def _segments(
    place: OutputPlace, source: Picture, target: Target, state: ClipState, frames: int
) -> tuple[list[_SegmentTask], dict[str, StoredFile]]:
    """The segments still to be encoded, and those that an interrupted run finished."""
    frames_place = OutputPlace(place.storage, source.frames)
    finished = _finished(place)
    todo: list[_SegmentTask] = []
    done: dict[str, StoredFile] = {}
    for number, start in enumerate(range(0, state.shape.frames, frames)):
        name = _name(number)
        if name in finished:
            done[name] = finished[name]
        else:
            stop = min(start + frames, state.shape.frames)
            todo.append(_SegmentTask(frames_place, place, target, number, start, stop))
    return todo, done


def _name(number: int) -> str:
    return f"{number:06d}.mkv"


def _finished(place: OutputPlace) -> dict[str, StoredFile]:
    sizes = place.storage.list_tree(place.inside(SEGMENTS))
    found: dict[str, StoredFile] = {}
    for mark in place.storage.list_names(place.inside(NOTES)):
        try:
            entry = StoredFile(**json.loads(place.storage.read_bytes(place.inside(f"{NOTES}/{mark}"))))
        except (ValueError, TypeError):
            continue  # half a mark is no mark
        name = mark.removesuffix(".json")
        if sizes.get(name) == entry.bytes:
            found[name] = entry
    return found


def _encode_segment(task: _SegmentTask) -> _SegmentResult:
    """Read, convert and encode one segment, chunk by chunk. Runs on a worker."""
    storage, name = task.place.storage, _name(task.number)
    reader = FrameReader(task.source)
    pts, durations = (values[task.start : task.stop] for values in reader.times())
    with storage.temporary_file() as part:
        encode_segment(
            _ahead(_chunks(task, reader.spec.chunks[0])),
            pts.tolist(),
            durations.tolist(),
            task.target.info,
            task.target.settings,
            part,
        )
        entry = StoredFile(digest_file(part), part.stat().st_size)
        storage.move_in(task.place.inside(f"{SEGMENTS}/{name}"), part)
    mark = json.dumps({"sha256": entry.sha256, "bytes": entry.bytes}).encode()
    storage.write_bytes(task.place.inside(f"{NOTES}/{name}.json"), mark, durable=False)
    return _SegmentResult(name, entry, peak_memory_bytes())


def _ahead(chunks: Iterator[Planes]) -> Iterator[Planes]:
    """The same chunks, the next one read and converted while the encoder works on this one."""
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="read") as pool:
        coming = pool.submit(next, chunks, None)
        while (chunk := coming.result()) is not None:
            coming = pool.submit(next, chunks, None)
            yield chunk


def _chunks(task: _SegmentTask, frames: int) -> Iterator[Planes]:
    view = None if task.target.direct else open_view(task.source)
    reader = FrameReader(task.source)
    for start in range(task.start, task.stop, frames):
        stop = min(start + frames, task.stop)
        if view is None:
            yield reader.read_planes(start, stop)
        else:
            _, height, width, _ = view.shape
            rgb = view.read((slice(start, stop), slice(0, height), slice(0, width)))
            yield from_rgb(rgb, task.target.info)


def _join(
    place: OutputPlace,
    segments: Sequence[tuple[str, StoredFile]],
    asset: str,
    target: Target,
    config: EncodeConfig,
    state: ClipState,
    name: str,
) -> tuple[StoredFile, tuple[Notice, ...]]:
    storage = place.storage
    check_asset(storage, asset)
    with local_asset(storage, asset) as source, storage.temporary_file() as part:
        plan = CarryPlan(stretch=state.stretch)
        if state.info.container != ANIMATION:  # which holds pictures alone, and which FFmpeg does not read
            keep = config.sound == "keep"
            plan = plan_carry(source, target.settings.container, stretch=state.stretch, keep_sound=keep)
        with place.local_files(SEGMENTS, segments) as files:
            lost = join(files, source, plan, target.info, target.settings, part)
        return place.adopt_file(name, part), (*plan.notices, *lost)


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


def published_clip(outcome: StageOutcome) -> Published:
    """The delivered file that an encode stage made."""
    facts = outcome.picture.facts
    name = str(facts["published"])
    entry = outcome.files[name]
    width, height = cast("list[int]", facts["shown"])
    extra = {each: facts[each] for each in ("codec", "pixel_format", "frames", "fps", "seconds")}
    return Published(
        role="clip",
        stored=name,
        sha256=entry.sha256,
        bytes=entry.bytes,
        width=width,
        height=height,
        format=str(facts["container"]),
        fingerprint=outcome.picture.fingerprint,
        extra=extra,
    )
