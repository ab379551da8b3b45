"""Encode: the frames of a clip as a file with the source's sound, subtitles and chapters.

Closed segments are encoded on the workers and kept as they are finished, then joined without encoding again.
"""

from collections.abc import Sequence
from importlib.metadata import version as installed_version
from typing import cast

from datasets.assets import check_asset, local_asset
from datasets.notices import Notice
from datasets.outputs import OutputPlace, StoredFile
from tasks.clip_local import ClipState
from tasks.clip_segments import SEGMENTS, encode_segments, finished_segments, ready_segments, segments
from tasks.clip_target import EncodeConfig, Target, choose_target, expected_bytes
from tasks.context import current_run
from tasks.encoding import Published
from tasks.growing import Growing
from tasks.ops.video.carrying import CarryPlan, plan_carry
from tasks.ops.video.joining import join
from tasks.plan import refuse_disk
from tasks.prefect_stage import stage_task
from tasks.stage import Picture, StageKey, StageOutcome, StageWork, begin_stage, open_frames, run_stage
from tasks.view import ViewFacts

VERSION = 1
ANIMATION = "webp"
STITCH = "stitch"
LIBRARIES = ("av", "numpy", "opencv-python-headless")


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
        refuse_disk(run.storage, expected_bytes(state, target), run.limits.disk_reserve_bytes)
        frames = OutputPlace(run.storage, source.frames)
        wanted = segments(frames, place, target, state, facts, config.segment_frames)
        done = finished_segments(place, wanted)
        peak = encode_segments(item, [each for each in wanted if each.name not in done], done, len(wanted))
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
            chunks=len(wanted),
            peak_bytes=peak,
        )

    return run_stage(item, key, source, compute)


def begin_encode(item: str, key: StageKey, source: Growing, config: EncodeConfig) -> None:
    """Encode segments of frames that are still being made; ``encode_clip`` goes on behind them."""

    def begin(place: OutputPlace) -> None:
        known = source.begun()
        if known is None:
            return
        frames, spec, state = known
        run, facts = current_run(), ViewFacts(spec, state.info)
        target = choose_target(config, state, facts)
        wanted = segments(frames, place, target, state, facts, config.segment_frames)
        done = finished_segments(place, wanted)
        todo = (each for each in wanted if each.name not in done)
        encode_segments(item, ready_segments(todo, source, in_process=run.executor.in_process), done, len(wanted))

    begin_stage(item, key, source, begin)


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
