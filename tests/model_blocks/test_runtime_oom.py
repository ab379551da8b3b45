"""Out of memory: smaller plans make the same, and the next time begins with the one that worked."""

import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from model_blocks import oom, registry, runtime
from model_blocks.choice import ModelRef
from model_blocks.model_errors import ModelOutputError
from model_blocks.oom import Work, forget_plans, halvings, is_out_of_memory, with_smaller_plans
from model_blocks.shelf import ModelShelf
from model_blocks.weight_files import file_digest
from tasks.ops.geometry import Shape
from tasks.passes import LocalPass
from tasks.upscale import UpscaleConfig, UpscaleStage, _Enlarge, _Plan
from tests.shared_data import shared

WORK = Work("net", "cpu", (8, 10, 10, 3))


@pytest.fixture(autouse=True)
def shelf(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModelShelf]:
    own = ModelShelf(free=lambda: None)
    monkeypatch.setattr(runtime, "SHELF", own)
    monkeypatch.setattr(oom, "free_caches", lambda: None)
    forget_plans()
    yield own
    forget_plans()


def kinds(shelf: ModelShelf) -> list[str]:
    return [event.kind for event in shelf.statistics().events if event.kind not in ("load", "evict")]


@dataclass
class Failing:
    """Fails while the plan is larger than what fits, and counts."""

    fits: int
    error: Exception = field(default_factory=lambda: torch.OutOfMemoryError("CUDA out of memory. Tried to allocate"))
    tried: list[int] = field(default_factory=list)

    def __call__(self, plan: int) -> str:
        self.tried.append(plan)
        if plan > self.fits:
            raise self.error
        return "made"


# plans


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("x"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:121] . DefaultCPUAllocator: can't allocate memory: you tried to"),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    ],
)
def test_smaller_plans_are_tried_until_one_fits_and_it_is_remembered(shelf: ModelShelf, error: Exception) -> None:
    assert is_out_of_memory(error)
    first, second, other = Failing(3, error), Failing(3, error), Failing(3, error)
    assert with_smaller_plans(first, [8, 4, 2, 1], WORK) == "made"
    assert with_smaller_plans(second, [8, 4, 2, 1], WORK) == "made"
    assert with_smaller_plans(other, [8, 4, 2, 1], WORK._replace(shape=(1,))) == "made"
    assert (first.tried, second.tried, other.tried) == ([8, 4, 2], [2], [8, 4, 2])
    assert kinds(shelf) == ["out_of_memory"] * 4


def test_the_real_allocators_error_is_recognised() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 60, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)


def test_when_the_smallest_does_not_fit_the_error_comes_out_and_is_told(shelf: ModelShelf) -> None:
    with pytest.raises(torch.OutOfMemoryError):
        with_smaller_plans(Failing(0), [2, 1], WORK)
    assert kinds(shelf) == ["out_of_memory", "gave_up"]


def test_other_errors_are_nobodys_business_here(shelf: ModelShelf) -> None:
    failing = Failing(1, RuntimeError("expected a tensor of 3 channels"))
    with pytest.raises(RuntimeError, match="3 channels"):
        with_smaller_plans(failing, [2, 1], WORK)
    assert (failing.tried, kinds(shelf)) == ([2], [])


def test_models_that_nobody_uses_make_room(shelf: ModelShelf) -> None:
    runtime.bring(ModelRef("embedded-upscaler", "", "cpu"))
    with_smaller_plans(Failing(1), [2, 1], WORK)
    assert shelf.statistics().counts("embedded-upscaler").loaded_at is None


def test_what_a_failed_try_held_is_free_before_the_next() -> None:
    """The error's frames hold what was computed so far; kept alive, they would leave no room for the smaller plan."""
    alive: list[Any] = []

    class Large: ...

    def run(plan: int) -> bool:
        if plan == 2:
            large = Large()
            alive.append(weakref.ref(large))
            raise MemoryError
        return alive[0]() is None

    assert with_smaller_plans(run, [2, 1], WORK)


def test_halvings() -> None:
    assert (halvings(8), halvings(5), halvings(1)) == ([8, 4, 2, 1], [5, 3, 2, 1], [1])
    assert halvings(300, 64) == [300, 150, 75, 64]


# enlarging


@dataclass
class Small:
    """An upscaler with room for so many input pixels."""

    inner: Any
    room: float
    sizes: list[int] = field(default_factory=list)

    @property
    def halo(self) -> int:
        return int(self.inner.halo)

    @property
    def scale(self) -> int:
        return int(self.inner.scale)

    def upscale(self, images: torch.Tensor) -> torch.Tensor:
        self.sizes.append(images.shape[0] * images.shape[2] * images.shape[3])
        if self.sizes[-1] > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        made: torch.Tensor = self.inner.upscale(images)
        return made


def compact() -> ModelRef:
    path = shared("weights/realesr-animevideov3.pth")
    return ModelRef("realesr-animevideo-v3", file_digest(path), "cpu", path=str(path), published=False)


def embedded() -> ModelRef:
    return ModelRef("embedded-upscaler", "", "cpu")


def noise(count: int, height: int, width: int, channels: int) -> NDArray[np.uint8]:
    return np.random.default_rng(5).integers(0, 256, (count, height, width, channels), dtype=np.uint8)


@pytest.mark.parametrize(("model", "most"), [(compact, 1), (embedded, 0)])
def test_fewer_frames_at_once_make_the_same_up_to_rounding(
    monkeypatch: pytest.MonkeyPatch, shelf: ModelShelf, model: Callable[[], ModelRef], most: int
) -> None:
    """Convolutions round by the size of what they are given, in the last bit of float32; the embedded one does not."""
    ref, frames = model(), noise(3, 40, 70, 4)
    enlarge = _Enlarge(ref, 4)
    expected = enlarge(frames)
    small = Small(runtime.upscaler(ref, 4), room=2800)
    monkeypatch.setattr("tasks.upscale.upscaler", lambda *_: small)
    assert np.abs(enlarge(frames).astype(int) - expected).max() <= most
    assert small.sizes == [3 * 2800, 2 * 2800] + [2800] * 6  # colours and alpha apart
    small.sizes.clear()
    assert np.abs(enlarge(frames).astype(int) - expected).max() <= most
    assert small.sizes == [2800] * 6  # remembered
    assert kinds(shelf) == ["out_of_memory"] * 2


@pytest.mark.parametrize(("model", "most"), [(compact, 1), (embedded, 0)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_enlarging_in_parts_makes_the_same_up_to_rounding(
    monkeypatch: pytest.MonkeyPatch,
    shelf: ModelShelf,
    model: Callable[[], ModelRef],
    most: int,
    dtype: type[np.uint8 | np.uint16],
) -> None:
    """The room is less than one frame."""
    ref, frames = model(), (noise(2, 90, 150, 3) * np.float64(257 if dtype is np.uint16 else 1)).astype(dtype)
    enlarge = _Enlarge(ref, 4)
    expected = enlarge(frames)
    small = Small(runtime.upscaler(ref, 4), room=90 * 150 - 1)
    monkeypatch.setattr("tasks.upscale.upscaler", lambda *_: small)
    for _ in range(2):
        difference = np.abs(enlarge(frames).astype(int) - expected)
        assert difference.max() <= most
        assert (difference > 0).mean() < 0.02
    assert kinds(shelf) == ["out_of_memory"] * 2
    assert [size for size in small.sizes if size > small.room] == [2 * 13500, 13500]  # in the first round


def test_a_halo_that_is_too_small_would_show(monkeypatch: pytest.MonkeyPatch) -> None:
    ref, frames = compact(), noise(1, 90, 150, 3)
    expected = _Enlarge(ref, 4)(frames)
    small = Small(runtime.upscaler(ref, 4), room=90 * 150 - 1)
    small.inner.halo -= 10
    monkeypatch.setattr("tasks.upscale.upscaler", lambda *_: small)
    monkeypatch.setattr(_Enlarge, "_plans", lambda *_: [_Plan(1, 75)])
    assert np.abs(_Enlarge(ref, 4)(frames).astype(int) - expected).max() > 2


@pytest.mark.parametrize(
    "changes",
    [{"tile_pixels": 256}, {"receptive_radius": 349}],
    ids=["tiles decide the pixels", "sees beyond its halo"],
)
def test_where_tiles_would_change_pixels_only_the_batch_is_halved(
    monkeypatch: pytest.MonkeyPatch, shelf: ModelShelf, changes: dict[str, int]
) -> None:
    ref = embedded()
    facts = replace(ref.facts, **changes)  # type: ignore[arg-type]
    monkeypatch.setattr(registry, "MODELS", (facts,))
    small = Small(runtime.upscaler(ref, 4), room=90 * 150 - 1)
    monkeypatch.setattr("tasks.upscale.upscaler", lambda *_: small)
    with pytest.raises(torch.OutOfMemoryError):
        _Enlarge(ref, 4)(noise(2, 90, 150, 3))
    assert small.sizes == [2 * 13500, 13500]
    assert kinds(shelf) == ["out_of_memory", "gave_up"]


def test_the_stage_bears_running_out_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    (enlarge,) = UpscaleStage(UpscaleConfig(factor=2), embedded()).passes(Shape(2, 90, 150, 3))
    assert isinstance(enlarge, LocalPass)
    frames = noise(2, 90, 150, 3)
    expected = enlarge.function(frames)
    small = Small(runtime.upscaler(embedded(), 2), room=8000)
    monkeypatch.setattr("tasks.upscale.upscaler", lambda *_: small)
    assert np.array_equal(enlarge.function(frames), expected)


def test_an_output_of_no_numbers_is_the_models_failure(monkeypatch: pytest.MonkeyPatch, shelf: ModelShelf) -> None:
    class Broken(Small):
        def upscale(self, images: torch.Tensor) -> torch.Tensor:
            made = super().upscale(images)
            made[..., 0, 0] = torch.nan
            return made

    broken = Broken(runtime.upscaler(embedded(), 2), room=np.inf)
    monkeypatch.setattr("tasks.upscale.upscaler", lambda *_: broken)
    with pytest.raises(ModelOutputError, match="embedded-upscaler on cpu made values that are not finite"):
        _Enlarge(embedded(), 2)(noise(1, 9, 9, 3))
    assert kinds(shelf) == ["not_finite"]
