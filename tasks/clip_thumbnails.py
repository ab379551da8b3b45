"""Pictures of a clip: a poster, a contact sheet, sprites for scrubbing with their track, a short animated preview."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal, cast

import numpy as np
from pydantic import Field

from datasets.frame_spec import Pixels
from datasets.outputs import OutputPlace, StoredFile, read_manifest
from tasks.clip_local import ClipState
from tasks.clip_measures import ClipMeasures, shots
from tasks.config import StageConfig
from tasks.context import current_run
from tasks.encoding import Published, encoder_versions
from tasks.executor import peak_memory_bytes
from tasks.ops.depth import to_uint8
from tasks.ops.encode import encode_picture
from tasks.ops.video.cadence import Timing
from tasks.ops.video.moving import BOX, preview_indices, write_preview
from tasks.ops.video.posters import choose_poster
from tasks.ops.video.sheets import contact_sheet, contact_times
from tasks.ops.video.sprites import sprite_cell, sprite_plan, sprite_sheet, sprite_track
from tasks.ops.video.tiles import Size, shape_seen, small_copy
from tasks.plan import refuse_memory
from tasks.prefect_stage import stage_task
from tasks.stage import Picture, StageKey, StageOutcome, StageWork, run_stage
from tasks.view import View, open_view

VERSION = 1
FRAMES_ON_SHEET = 20
PICTURES_FRAMES = 24  # what is held at most, in frames
SHEET_WIDTH = 1600  # px
FORMATS = {"jpg": "jpeg", "webp": "webp", "vtt": "vtt"}


class ClipThumbnailsConfig(StageConfig):
    """Pictures to publish beside a clip."""

    stage: Literal["thumbnails"] = "thumbnails"
    poster: bool = Field(default=True, description="The sharpest frame near a third of the clip, whole size.")
    contact_sheet: bool = Field(default=True, description="Frames of the whole clip in a grid, with their times.")
    sprites_every_s: float | None = Field(
        default=5.0, gt=0, le=3600, description="Seconds between pictures shown while scrubbing; empty for none."
    )
    preview: bool = Field(default=True, description="A few seconds of the clip as an animated WebP.")
    quality: int = Field(default=88, ge=1, le=100, description="Quality of the pictures.")


@dataclass(frozen=True)
class _Task:
    source: OutputPlace
    place: OutputPlace
    measures: OutputPlace
    state: ClipState
    config: ClipThumbnailsConfig


@dataclass(frozen=True)
class _Made:
    files: dict[str, StoredFile]
    shapes: dict[str, list[int]]
    peak_bytes: int


def thumbnails_key(source_fingerprint: str, config: ClipThumbnailsConfig) -> StageKey:
    inputs, parameters = (("output", source_fingerprint),), config.parameters() | {"medium": "clip"}
    return StageKey("thumbnails", VERSION, parameters, inputs, libraries=encoder_versions())


@stage_task("thumbnails")
def clip_thumbnails(item: str, source: Picture, config: ClipThumbnailsConfig) -> StageOutcome:
    """Make all pictures of one clip."""
    key = thumbnails_key(source.fingerprint, config)

    def compute(place: OutputPlace) -> StageWork:
        run = current_run()
        state = ClipState.of(source)
        one = state.shape.height * state.shape.width * state.shape.channels * np.dtype(state.dtype).itemsize
        size = f"{state.shape.width}×{state.shape.height}"
        refuse_memory(one * PICTURES_FRAMES, run.limits.memory_bytes, f"pictures of frames of {size}")
        task = _Task(
            OutputPlace(run.storage, source.frames),
            place,
            OutputPlace(run.storage, str(source.facts["measures"])),
            state,
            config,
        )
        ((_, made),) = run.executor.run(_make, [task])
        return StageWork(files=made.files, facts={"pictures": made.shapes}, peak_bytes=made.peak_bytes)

    return run_stage(item, key, source, compute)


class _Frames:
    """Single frames of a clip, at another size; the chunk read last is kept."""

    def __init__(self, view: View) -> None:
        self._view = view

    def get(self, index: int) -> Pixels:
        _, height, width, _ = self._view.shape
        frame: Pixels = self._view.read((slice(index, index + 1), slice(0, height), slice(0, width)))[0]
        return frame

    def small(self, indices: Sequence[int], size: Size) -> list[Pixels]:
        held: dict[int, Pixels] = {}
        for index in indices:
            if index not in held:
                held[index] = small_copy(self.get(index), size)
        return [held[index] for index in indices]


def _make(task: _Task) -> _Made:
    """Choose, read, draw, keep. Runs on a worker."""
    making = _Making(task)
    config = task.config
    steps: list[tuple[bool, Callable[[], None]]] = [
        (config.poster, making.poster),
        (config.contact_sheet, making.sheet),
        (config.sprites_every_s is not None, making.sprites),
        (config.preview, making.preview),
    ]
    for wanted, step in steps:
        if wanted:
            step()
    return _Made(making.files, making.shapes, peak_memory_bytes())


class _Making:
    def __init__(self, task: _Task) -> None:
        self._place, self._state, self._config = task.place, task.state, task.config
        self._frames = _Frames(open_view(task.source))
        self._measures = ClipMeasures.load(task.measures, read_manifest(task.measures).files)
        self._aspect = task.state.info.sample_aspect
        self._shots = shots(task.state.cuts, task.state.shape.frames)
        self.files: dict[str, StoredFile] = {}
        self.shapes: dict[str, list[int]] = {}

    def poster(self) -> None:
        """The poster shows square pixels, as the clip is seen."""
        frame = self._frames.get(poster_index(self._measures, self._state.timing, self._state.stretch))
        height, width = frame.shape[:2]
        seen = (height, max(1, round(width * float(self._aspect))))
        self._picture("poster.jpg", to_uint8(small_copy(frame, seen) if seen != (height, width) else frame))

    def sheet(self) -> None:
        timing = self._state.timing
        indices = contact_times(self._state.shape.frames, self._shots, FRAMES_ON_SHEET)
        times = [float((timing.pts[index] - timing.pts[0]) * timing.time_base) for index in indices]
        frames = self._frames.small(indices, self._fitting(SHEET_WIDTH // 2))
        self._picture("contact_sheet.jpg", contact_sheet(frames, times, SHEET_WIDTH))

    def sprites(self) -> None:
        timing, every = self._state.timing, self._config.sprites_every_s
        assert every is not None
        plan = sprite_plan(
            self._state.shape.frames, timing.pts, timing.time_base, every, last_duration=int(timing.durations[-1])
        )
        cell = sprite_cell(self._state.shape.height, self._state.shape.width, sample_aspect=self._aspect)
        names = []
        for number, indices in enumerate(plan.sheets(), start=1):
            names.append(f"sprites-{number}.jpg")
            self._picture(names[-1], sprite_sheet(self._frames.small(indices, self._fitting(max(cell))), cell))
        self.files["sprites.vtt"] = self._place.write_file("sprites.vtt", sprite_track(plan, cell, names).encode())
        self.shapes["sprites.vtt"] = [cell[1], cell[0]]

    def preview(self) -> None:
        indices, durations = preview_indices(self._state.timing.pts, self._state.timing.time_base, self._shots)
        size = self._fitting(max(BOX))
        data = write_preview(self._frames.small(indices, size), durations)
        self.files["preview.webp"] = self._place.write_file("preview.webp", data)
        self.shapes["preview.webp"] = [size[1], size[0]]

    def _fitting(self, side: int) -> Size:
        """The size at which frames are seen, at most so large along the longer side."""
        height, width = self._state.shape.height, self._state.shape.width
        seen = height * shape_seen(height, width, self._aspect)
        ratio = min(1.0, side / max(height, seen))
        return max(1, round(height * ratio)), max(1, round(seen * ratio))

    def _picture(self, name: str, image: Pixels) -> None:
        data = encode_picture(np.ascontiguousarray(image), format="jpeg", quality=self._config.quality)
        self.files[name] = self._place.write_file(name, data)
        self.shapes[name] = [image.shape[1], image.shape[0]]


def poster_index(measures: ClipMeasures, timing: Timing, stretch: Fraction) -> int:
    """The poster among frames in another cadence than the measured ones: the one shown at the same moment."""
    moment = measures.times_s[choose_poster(measures.frames)] * float(stretch)
    times = (timing.pts - timing.pts[0]) * float(timing.time_base)
    return int(np.abs(times - moment).argmin())


def published_clip_thumbnails(outcome: StageOutcome) -> Iterator[Published]:
    """The delivered files."""
    shapes = cast("dict[str, list[int]]", outcome.picture.facts["pictures"])
    for name, (width, height) in shapes.items():
        stem, extension = name.rsplit(".", 1)
        role = stem.partition("-")[0]
        entry = outcome.files[name]
        yield Published(
            role=role,
            stored=name,
            sha256=entry.sha256,
            bytes=entry.bytes,
            width=width,
            height=height,
            format=FORMATS[extension],
            fingerprint=outcome.picture.fingerprint,
            suffix=f"/{stem}" if role == "sprites" else "",  # a folder of their own: the track names the sheets
        )
