"""Every official model by its name: a file such as its authors publish, with weights by the recipe, and work to do."""

import fcntl
import os
import tempfile
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from model_blocks.registry import ModelFacts, find_model, known_models
from tests.model_blocks.parity import checkpoint, runs
from tests.shared_data import shared

SHARING = {  # models whose file has the layout of another one's
    **{f"sam2.1-{size}-video": f"sam2.1-{size}" for size in ("tiny", "small", "base-plus", "large")},
    "realesr-general-wdn-x4v3": "realesr-general-x4v3",
    "modnet-webcam": "modnet-photographic",
}
REAL = {"yunet": "weights/yunet_n_640_640.onnx"}
WITHOUT_GOLDEN = {"bmv2-resnet101": "bmv2-resnet101"}
Work = Callable[[], Any]


def official_models() -> tuple[str, ...]:
    """All models with weights, in the registry's order."""
    return tuple(facts.name for facts in known_models() if not facts.embedded)


def manifest_of(name: str) -> str:
    """The manifest with the layout of a model's file."""
    by_model = {run.model: manifest for manifest, run in runs().items()} | WITHOUT_GOLDEN
    return by_model[SHARING.get(name, name)]


def weights_of(name: str) -> Path:
    """A file for a model, made once for all processes of a test run; some are hundreds of megabytes."""
    if name in REAL:
        return shared(REAL[name])
    manifest = manifest_of(name)
    folder = Path(tempfile.gettempdir()) / f"stillmotion-tests-{os.environ.get('STILLMOTION_TESTS_RUN', 'bench')}"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{manifest}.pth"
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            checkpoint(manifest, path.with_suffix(".part")).replace(path)
    return path


def open_model(facts: ModelFacts, path: Path, precision: str = "float32") -> Any:
    """The model as a worker opens it."""
    module, factory = facts.factory.split(":")
    opener = getattr(import_module(module), factory)
    return opener(facts.name, path, sha256=None, device="cpu", precision=precision)


def noise(*shape: int, seed: int = 5) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def work_for(name: str, model: Any, height: int, width: int) -> Work:
    """One piece of what a model does, on a picture or a pair of frames of that size."""
    images, other = noise(1, 3, height, width), noise(1, 3, height, width, seed=6)
    middle = torch.zeros(1, 1, height, width)
    middle[..., height // 4 : height // 2 + 1, width // 4 : width // 2 + 1] = 1
    capability = find_model(name).capability
    if capability == "propagate":
        state = model.begin(images[0], middle[0])
        return lambda: model.step(state, other[0])
    works: dict[str, Work] = {
        "segment": lambda: model.segment(images),
        "matte": lambda: model.find_alpha(images, other if model.needs_background else None),
        "inpaint": lambda: model.inpaint(images, middle, slice(0, 1)),
        "interpolate": lambda: model.interpolate(images[0], other[0], (0.5,)),
        "upscale": lambda: model.upscale(images),
        "upscale_blend": lambda: model.upscale(images),
        "detect_faces": lambda: model.detect(images[0]),
        "restore_faces": lambda: model.restore(noise(1, 3, model.side, model.side)),
        "estimate_depth": lambda: model.estimate_depth(images),
    }
    return works[capability]
