"""Propagate: a mask on the first frame of every shot, followed through the shot; the frames with it as their alpha.

What is known of the object after a chunk is kept beside it, so that a resumed run goes on to the last bit.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from datasets.errors import RecipeError
from datasets.frame_spec import FrameSpec, Pixels, chunk_key
from datasets.frames import create_frames, finished_chunks, frames_entry, write_chunk
from datasets.identity import digest_bytes
from datasets.notices import Notice
from datasets.outputs import NOTES, OutputPlace
from model_blocks.choice import ModelRef, gpu_of
from model_blocks.finite import refuse_not_finite
from model_blocks.runtime import propagator, segmenter
from tasks.clip_local import RGB_FORMATS, ClipState, inherited
from tasks.clip_measures import shots
from tasks.config import StageConfig
from tasks.context import current_run
from tasks.executor import peak_memory_bytes
from tasks.intake import photo_limits, read_source
from tasks.ops.cutting import working_copy
from tasks.ops.depth import to_float, to_uint8
from tasks.ops.photo import PhotoLimits, read_photo
from tasks.ops.seeding import mask_from_box, mask_from_points
from tasks.plan import refuse_disk, refuse_memory
from tasks.prefect_stage import stage_task
from tasks.stage import Picture, StageKey, StageOutcome, StageWork, run_stage
from tasks.view import CLIP, open_view

VERSION = 1
NO_OBJECT_CONFIDENCE = 0.5  # by the segmenter's contract
Mask = NDArray[np.float32]


class PropagateConfig(StageConfig):
    """Give every frame a mask as its alpha. Without a mask, a box or points, the object is found by the segmenter.

    What is given holds for the first shot; objects of later shots are found.
    """

    stage: Literal["propagate"] = "propagate"
    mask: str | None = Field(default=None, description="Path of a PNG for the first frame: white is the object.")
    box: tuple[float, float, float, float] | None = Field(
        default=None, description="Left, top, right, bottom around the object in the first frame, in pixels."
    )
    points: tuple[tuple[float, float, int], ...] = Field(
        default=(), description="Points (x, y, 1) on the object in the first frame and (x, y, 0) beside it."
    )
    follow: bool = Field(default=True, description="Follow the object; otherwise the mask stays where it is.")

    @model_validator(mode="after")
    def _one_of_them(self) -> "PropagateConfig":
        if sum((self.mask is not None, self.box is not None, bool(self.points))) > 1:
            raise ValueError("give one of 'mask', 'box' and 'points'")
        if self.points and not any(on for _, _, on in self.points):
            raise ValueError("give at least one point on the object, (x, y, 1)")
        if self.box and not (self.box[0] < self.box[2] and self.box[1] < self.box[3]):
            raise ValueError("a box is left, top, right, bottom")
        return self

    @property
    def given(self) -> bool:
        return self.mask is not None or self.box is not None or bool(self.points)


@dataclass(frozen=True)
class _Task:
    source: OutputPlace
    place: OutputPlace
    spec: FrameSpec
    number: int
    starts: tuple[int, ...]
    config: PropagateConfig
    mask: bytes
    limits: PhotoLimits
    segment: ModelRef
    propagate: ModelRef


@dataclass(frozen=True)
class _Result:
    crc: int
    objects: int
    peak_bytes: int


def propagate_key(
    source_fingerprint: str, config: PropagateConfig, models: tuple[ModelRef, ModelRef], max_bytes: int
) -> StageKey:
    """The key; a given mask counts by its content, not by its path.

    Raises:
        NotFoundError, UnreadableError: The mask's file is not there, or cannot be read.
    """
    inputs = [("output", source_fingerprint)]
    if config.mask is not None:
        inputs.append(("mask", digest_bytes(read_source(Path(config.mask), max_bytes))))
    parameters = {name: value for name, value in config.parameters().items() if name != "mask"}
    return StageKey("propagate", VERSION, parameters, tuple(inputs), models)


@stage_task("propagate")
def propagate_clip(item: str, source: Picture, config: PropagateConfig) -> StageOutcome:
    """Follow an object through one clip, shot by shot."""
    run = current_run()
    models = (run.models["segment"], run.models["propagate"])
    limits = photo_limits(run.settings)
    key = propagate_key(source.fingerprint, config, models, limits.max_bytes)

    def compute(place: OutputPlace) -> StageWork:
        state, spec = propagated(ClipState.of(source))
        frames = OutputPlace(run.storage, source.frames)
        refuse_memory(propagate_bytes(spec, models), run.limits.memory_bytes, "following an object")
        refuse_disk(run.storage, spec.raw_bytes, run.limits.disk_reserve_bytes)
        spec = create_frames(place, spec, (state.timing.pts, state.timing.durations))
        checksums = finished_chunks(place, spec)
        mask = read_source(Path(config.mask), limits.max_bytes) if config.mask else b""
        starts = tuple(start for start, _ in shots(state.cuts, state.shape.frames))
        peak, objects, total = 0, 0, spec.grid[0]
        resources = gpu_of(*models)
        for number in range(_first_missing(place, spec, checksums), total):
            task = _Task(frames, place, spec, number, starts, config, mask, limits, *models)
            ((_, made),) = run.executor.run(_make_chunk, [task], resources=resources)
            checksums[chunk_key((number, 0, 0))] = made.crc
            peak, objects = max(peak, made.peak_bytes), max(objects, made.objects)
            run.chunk_done(item, "propagate", number + 1, total)
        missing = _without_object(place, starts)
        return StageWork(
            frames=frames_entry(spec, checksums),
            facts=inherited(source.facts) | state.facts() | {"object_found": len(missing) < len(starts)},
            notices=missing,
            chunks=total,
            peak_bytes=peak,
        )

    return run_stage(item, key, source, compute)


def propagated(state: ClipState) -> tuple[ClipState, FrameSpec]:
    """What a clip is when its frames have a mask, and its store."""
    shape = replace(state.shape, channels=4)
    info = state.info.with_pixels(RGB_FORMATS[state.dtype, 4], shape.height, shape.width)
    if state.info.rotation in (90, 270):
        info = replace(info, sample_aspect=1 / info.sample_aspect)
    after = replace(state, shape=shape, info=info, tonemapped=False)
    return after, after.spec(**{CLIP: info.to_json()})


def propagate_bytes(spec: FrameSpec, models: Sequence[ModelRef]) -> int:
    """Memory for a chunk, its frames in float, what is remembered of the object, and the hungriest of the models."""
    values = spec.shape[1] * spec.shape[2] * 3
    by_model = [model.facts.working_bytes(values) for model in models if not model.facts.embedded]
    return spec.frame_bytes * (spec.chunks[0] * 3 + 24) + max(by_model, default=0)


def _first_missing(place: OutputPlace, spec: FrameSpec, checksums: dict[str, int]) -> int:
    """The first chunk to make: what was remembered before it must be there, too."""
    number = 0
    while chunk_key((number, 0, 0)) in checksums and number < spec.grid[0]:
        number += 1
    while number and not place.storage.exists(place.inside(_state_name(number - 1))) and number < spec.grid[0]:
        number -= 1
    return number


def _state_name(number: int) -> str:
    return f"{NOTES}/state-{number:06d}.npz"


def _no_object_name(start: int) -> str:
    return f"{NOTES}/no-object-{start:08d}"


def _without_object(place: OutputPlace, starts: Sequence[int]) -> tuple[Notice, ...]:
    names = set(place.storage.list_names(place.inside(NOTES)))
    return tuple(
        Notice(
            "no_object",
            f"No object was found in shot {number} (from frame {start} on), so it is delivered uncut.",
            {"shot": number, "frame": start},
        )
        for number, start in enumerate(starts, start=1)
        if _no_object_name(start).rsplit("/", 1)[1] in names
    )


def _make_chunk(task: _Task) -> _Result:
    """Follow the object through one chunk and keep what is known after it. Runs on a worker."""
    view = open_view(task.source)
    frames, rows, columns = task.spec.box((task.number, 0, 0))
    pixels = view.read((frames, rows, columns))[..., :3]
    following = _Following(task)
    made = np.empty((*pixels.shape[:3], 4), dtype=pixels.dtype)
    top = np.iinfo(pixels.dtype).max
    for offset, frame in enumerate(pixels):
        mask = following.next(frame, frames.start + offset)
        made[offset, ..., :3] = frame
        made[offset, ..., 3] = np.rint(mask * np.float32(top)).astype(pixels.dtype)
    following.save()
    crc = write_chunk(task.place, task.spec, (task.number, 0, 0), made)
    task.place.storage.remove_tree(task.place.inside(_state_name(task.number - 2)))
    return _Result(crc, following.objects, peak_memory_bytes())


class _Following:
    """The object of the current shot, taken up where the chunk before left it."""

    def __init__(self, task: _Task) -> None:
        self._task = task
        self._model = propagator(task.propagate)
        self._state: Any = None
        self._still: Mask | None = None
        self.objects = 0
        if task.number:
            self._load(task.place.storage.read_bytes(task.place.inside(_state_name(task.number - 1))))

    def next(self, frame: Pixels, index: int) -> Mask:
        """The mask (H, W), 0..1, of the next frame (H, W, 3)."""
        import torch

        image = torch.from_numpy(to_float(frame)).permute(2, 0, 1)
        if index in self._task.starts:
            return self._begin(frame, image, index)
        if self._still is not None:
            return self._still
        with torch.inference_mode():
            mask, self._state = self._model.step(self._state, image)
        model = self._task.propagate
        refuse_not_finite(bool(mask.sum().isfinite()), model.name, model.device)
        return np.asarray(mask[0].clamp(0, 1).cpu().numpy(), dtype=np.float32)

    def _begin(self, frame: Pixels, image: Any, index: int) -> Mask:
        import torch

        config, first = self._task.config, index == 0
        mask = self._given(frame) if first and config.given else self._found(frame, index)
        self._state, self._still = None, None
        if mask is None or (first and config.given and not config.follow):
            self._still = np.ones(frame.shape[:2], np.float32) if mask is None else mask
            return self._still
        self.objects += 1
        with torch.inference_mode():
            self._state = self._model.begin(image, torch.from_numpy(mask)[None], frames=self._frames_from(index))
        return mask

    def _frames_from(self, start: int) -> int:
        """How many frames the shot has that begins there."""
        return min((each for each in self._task.starts if each > start), default=self._task.spec.shape[0]) - start

    def _given(self, frame: Pixels) -> Mask:
        task, height, width = self._task, *frame.shape[:2]
        config = task.config
        if config.box is not None:
            return mask_from_box(to_uint8(frame), config.box)
        if config.points:
            return mask_from_points(to_uint8(frame), config.points)
        picture = to_uint8(read_photo(task.mask, task.limits).pixels)
        if picture.shape[:2] != (height, width):
            raise RecipeError(
                f"the mask is {picture.shape[1]}×{picture.shape[0]} and the clip is seen as {width}×{height}; make the "
                "mask of the clip's first frame",
                width=width,
                height=height,
            )
        grey = picture[..., :3].mean(axis=-1)
        return np.asarray((grey > 127), dtype=np.float32)

    def _found(self, frame: Pixels, index: int) -> Mask | None:
        import torch

        model = segmenter(self._task.segment)
        small = working_copy(frame, model.working_side)
        with torch.inference_mode():
            found = model.segment(torch.from_numpy(small).permute(2, 0, 1)[None])
        if found.confidence[0] < NO_OBJECT_CONFIDENCE:
            self._task.place.storage.write_bytes(self._task.place.inside(_no_object_name(index)), b"", durable=False)
            return None
        height, width = frame.shape[:2]
        probability = np.asarray(found.probability[0, 0].numpy(), dtype=np.float32)
        made = cv2.resize(probability, (width, height), interpolation=cv2.INTER_LINEAR)
        return np.asarray(np.clip(made, 0, 1), dtype=np.float32)

    def save(self) -> None:
        arrays: dict[str, Any] = {} if self._state is None else self._state.to_arrays()
        if self._still is not None:
            arrays = {"still": self._still}
        stream = io.BytesIO()
        np.savez(stream, **arrays)
        name = self._task.place.inside(_state_name(self._task.number))
        self._task.place.storage.write_bytes(name, stream.getvalue(), durable=False)

    def _load(self, data: bytes) -> None:
        with np.load(io.BytesIO(data)) as held:
            arrays = {name: held[name] for name in held.files}
        if "still" in arrays:
            self._still = arrays["still"]
        elif arrays:
            self._state = self._model.restore(arrays)
