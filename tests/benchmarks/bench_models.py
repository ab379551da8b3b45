"""What a stage costs on top of its model: the stage's array function on bytes, beside the model's own forward passes.

For every model the stage is run a few times while its networks' calls are written down; then the stage and a loop of
nothing but those calls take turns. Where the machine's own swing is larger than what a stage costs, the share of the
stage's time that passes outside of its networks, measured inside of one run, says more than the ratio. At the sizes of
the reference data, on the CPU, with weights by the recipe. Finding faces is part of the stage that restores them.
"""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from statistics import median
from typing import Any

import numpy as np
import torch

from datasets.errors import PipelineError
from datasets.frame_spec import Pixels
from model_blocks import runtime
from model_blocks.choice import ModelRef
from model_blocks.registry import find_model
from model_blocks.weight_files import file_digest
from tasks.clip_masks import InpaintPass
from tasks.faces import FacesConfig, FacesPass
from tasks.found_alpha import found_in
from tasks.interpolate import InterpolatePass
from tasks.ops.cutting import working_copy
from tasks.ops.depth import to_float
from tasks.ops.geometry import Region, Shape
from tasks.upscale import UpscaleConfig, UpscaleStage
from tests.model_blocks.driving import official_models, weights_of
from tests.shared_data import SHARED

Call = Callable[[], object]
REPEATS = 15
SECONDS = 50.0  # for one model, unless that is fewer than LEAST times
LEAST = 5  # one long run among others says nothing
WATCHED = 3  # runs in which the networks' share of the time is measured
SIZES = {  # rows and columns of the reference inputs
    "upscale": (35, 47),
    "upscale_blend": (35, 47),
    "segment": (157, 201),
    "propagate": (110, 142),
    "matte": (156, 188),
    "inpaint": (101, 131),
    "interpolate": (107, 149),
    "restore_faces": (512, 512),
    "estimate_depth": (143, 107),
}
FUNCTIONS = {  # of modules, where a network is called by functions
    "model_blocks.sam2.predictor": ("encode_image", "decode", "salient_box"),
    "model_blocks.sam2.propagator": ("encode_image", "found_by_memory"),
}
METHODS = {  # of models, where a network is called by other names than its own
    "interpolate": ("_between",),
}
NETWORK_METHODS = {"xmem": ("encode_key", "encode_value", "segment")}


def run(names: tuple[str, ...] = (), repeats: int = REPEATS) -> list[str]:
    """Print, and return, a line per model."""
    lines = [f"{'model':<28}{'size':>10}{'stage ms':>10}{'bare ms':>10}{'ratio':>8}{'outside':>9}   spread, times"]
    print(lines[0])
    for name in names or [name for name in official_models() if find_model(name).capability != "detect_faces"]:
        try:
            lines.append(_line(name, repeats))
        except PipelineError as error:
            lines.append(f"{name:<28} not measured: {error.message}")
        print(lines[-1], flush=True)
    return lines


def _line(name: str, repeats: int) -> str:
    runtime.SHELF.release("cpu")
    model = _ref(name)
    height, width = SIZES[find_model(name).capability]
    stage = _stage(model, height, width)
    stage()  # what is made once is made now
    outside, once = [], 0.0
    with _written_down(model) as inside:
        for _ in range(min(WATCHED, repeats)):
            inside.calls.clear()
            inside.seconds = 0.0
            once = _timed([stage])
            outside.append(1 - inside.seconds / once)
        calls = list(inside.calls)
    times = max(min(LEAST, repeats), min(repeats, int(SECONDS / (2 * once))))
    own, bare = [], []
    for _ in range(times):
        own.append(_timed([stage]))
        bare.append(_timed(calls))
    ratios = sorted(first / second for first, second in zip(own, bare, strict=True))
    ratio = min(own) / min(bare)  # what others do on the machine only ever adds
    return (
        f"{name:<28}{f'{height}x{width}':>10}{min(own) * 1000:>10.1f}"
        f"{min(bare) * 1000:>10.1f}{ratio:>8.3f}{median(outside):>9.1%}   {ratios[0]:.3f}-{ratios[-1]:.3f}, {times}"
    )


def _timed(calls: list[Call]) -> float:
    with torch.inference_mode():
        begun = time.perf_counter()
        for call in calls:
            call()
        return time.perf_counter() - begun


@dataclass
class _Inside:
    """What was called of a model's networks, and how long that took."""

    calls: list[Call] = field(default_factory=list)
    seconds: float = 0.0


@contextmanager
def _written_down(model: ModelRef) -> Iterator[_Inside]:
    """While the block runs, every call of the model's networks; outermost ones alone."""
    inside = _Inside()
    busy = [False]

    def noted(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            if busy[0]:
                return function(*arguments, **named)
            busy[0] = True
            inside.calls.append(partial(function, *arguments, **named))
            begun = time.perf_counter()
            try:
                return function(*arguments, **named)
            finally:
                inside.seconds += time.perf_counter() - begun
                busy[0] = False

        return call

    changed = [(owner, name, getattr(owner, name)) for owner, name in _entries(model)]
    try:
        for owner, name, function in changed:
            setattr(owner, name, noted(function))
        yield inside
    finally:
        for owner, name, function in changed:
            setattr(owner, name, function)


def _entries(model: ModelRef) -> list[tuple[Any, str]]:
    """Where a model's networks are called: an object and the name of its function."""
    facts = model.facts
    module = facts.factory.split(":")[0]
    if module in FUNCTIONS:
        return [(import_module(module), name) for name in FUNCTIONS[module]]
    held = _held(model)
    found: list[tuple[Any, str]] = []
    if facts.capability == "restore_faces":
        found += [(_held(_detector()), "_finds")]
    if model.name in NETWORK_METHODS:
        network = _network_of(held)
        return [(network, name) for name in NETWORK_METHODS[model.name]]
    if facts.capability in METHODS:
        return [(held, name) for name in METHODS[facts.capability]]
    return [*found, (_network_of(held), "forward")]


def _held(model: ModelRef) -> Any:
    accessors: dict[str, Callable[[ModelRef], object]] = {
        "segment": runtime.segmenter,
        "matte": runtime.matter,
        "propagate": runtime.propagator,
        "inpaint": runtime.inpainter,
        "interpolate": runtime.interpolator,
        "detect_faces": runtime.face_detector,
        "restore_faces": runtime.face_restorer,
        "estimate_depth": runtime.depth_estimator,
    }
    if model.facts.scale is not None:
        return runtime.upscaler(model, model.facts.scale)
    return accessors[model.facts.capability](model)


def _network_of(held: Any) -> Any:
    return held.network if hasattr(held, "network") else held.tracker.network


def _detector() -> ModelRef:
    return _ref("yunet")


def _ref(name: str) -> ModelRef:
    weights = weights_of(name)
    return ModelRef(name, file_digest(weights), "cpu", path=str(weights), published=False)


def _stage(model: ModelRef, height: int, width: int) -> Call:
    """The stage's array function, from bytes to bytes."""
    capability = model.facts.capability
    frames = _frames(4, height, width, faces="faces" in capability)
    if capability == "segment":
        return lambda: _segmented(model, frames[0])
    if capability == "matte":
        background = frames[1] if model.facts.needs_background else None
        return lambda: found_in(frames[0], model, background)
    if capability == "propagate":
        follow = runtime.propagator(model)
        mask = torch.zeros(1, height, width)
        mask[:, height // 4 : height // 2, width // 4 : width // 2] = 1
        state = follow.begin(_tensor(frames[0]), mask)
        return lambda: follow.step(state, _tensor(frames[1]))[0].clamp(0, 1).numpy()
    if capability == "estimate_depth":
        return lambda: runtime.depth_estimator(model).estimate_depth(_tensor(frames[0])[None])
    return _passed(model, frames)


def _passed(model: ModelRef, frames: Pixels) -> Call:
    count, height, width, _ = frames.shape
    capability = model.facts.capability
    if capability == "inpaint":
        mask = np.zeros((count, height, width, 1), np.uint8)
        mask[:, 20:60, 30:90] = 255
        frames = np.concatenate([frames, mask], axis=-1)
        work: Any = InpaintPass(model, (), 3)
    elif capability == "interpolate":
        first = np.repeat(np.arange(count - 1, dtype=np.int32), 2)
        work = InterpolatePass(model, first, np.tile(np.array([0, 0.5], np.float32), count - 1))
    elif capability == "restore_faces":
        frames = frames[:1]
        work = FacesPass(_detector(), model, FacesConfig())
    else:
        (work,) = UpscaleStage(UpscaleConfig(factor=4), model).passes(Shape(*frames.shape))
    shape = Shape(*frames.shape)
    made = work.output_shape(shape)
    region = Region(0, made.frames, 0, made.height, 0, made.width)
    return lambda: work.apply(frames, read=work.read_region(region, shape), region=region, shape=shape)


def _segmented(model: ModelRef, frame: Pixels) -> object:
    found = runtime.segmenter(model)
    return found.segment(torch.from_numpy(working_copy(frame, found.working_side)).permute(2, 0, 1)[None])


def _tensor(frame: Pixels) -> torch.Tensor:
    return torch.from_numpy(to_float(frame)).permute(2, 0, 1)


def _frames(count: int, height: int, width: int, *, faces: bool) -> Pixels:
    """Views of a photograph, or of noise where there is none, that a camera passes over."""
    import cv2

    path = SHARED / "fixtures" / "images" / ("astronaut.png" if faces else "coffee.png")
    image = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB) if path.exists() else None
    if image is None:
        image = np.random.default_rng(1).integers(0, 256, (400, 600, 3), dtype=np.uint8)
    large = cv2.resize(image, (width + 2 * count, height + count), interpolation=cv2.INTER_AREA)
    views = [large[number : number + height, 2 * number : 2 * number + width] for number in range(count)]
    return np.ascontiguousarray(np.stack(views), dtype=np.uint8)


if __name__ == "__main__":
    from tests.benchmarks.__main__ import machine

    print(machine())
    run(tuple(sys.argv[1:]))
