"""RIFE computes what its authors' code computes, through the interpolator's contract, and takes no other file."""

import zipfile
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import model_blocks.nets.rife as nets
import model_blocks.rife as subject
from datasets.errors import FrameShapeError
from model_blocks.capabilities import Interpolator
from model_blocks.rife import RifeInterpolator, is_still, open_rife, similarity
from model_blocks.weight_errors import WeightsDigestError, WeightsKeysError
from tests.model_blocks.parity import assert_parity, checkpoint, compared, golden, manifest, recipe
from tests.model_blocks.parity_rife import RUNS, through_the_contract, through_the_network

NAMES = tuple(RUNS)
EVERY = pytest.mark.parametrize("name", NAMES)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A file such as the authors publish, with the reference weights; made once."""
    return lru_cache(lambda name: checkpoint(name, tmp_path_factory.mktemp("rife") / "flownet.pkl"))


@pytest.fixture(scope="module")
def opened(file: Any) -> Any:
    return lru_cache(lambda name: open_rife(name, file(name)))


def frames(height: int, width: int, channels: int = 3) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(5)
    first, second = (torch.rand((channels, height, width), generator=random) for _ in range(2))
    return first, second


@EVERY
def test_the_authors_outputs_are_met(name: str, file: Any) -> None:
    assert_parity(name, RUNS[name].run(file(name), golden(name)[0]))


@EVERY
def test_it_keeps_the_contract(name: str, opened: Any) -> None:
    assert isinstance(opened(name), Interpolator)


def meets(name: str, made: dict[str, np.ndarray[Any, Any]]) -> bool:
    """Whether the outputs that were made are the reference's; others are not asked for."""
    return all(each.passed for each in compared(name, made) if each.output in made)


def broken_flow(monkeypatch: pytest.MonkeyPatch) -> None:
    moved = nets.warped
    monkeypatch.setattr(nets, "warped", lambda frame, flow: moved(frame, flow.flip(1)))


def broken_edges(monkeypatch: pytest.MonkeyPatch) -> None:
    sample = F.grid_sample
    monkeypatch.setattr(F, "grid_sample", lambda *a, **k: sample(*a, **(k | {"padding_mode": "zeros"})))


def broken_alignment(monkeypatch: pytest.MonkeyPatch) -> None:
    sample = F.grid_sample
    monkeypatch.setattr(F, "grid_sample", lambda *a, **k: sample(*a, **(k | {"align_corners": False})))


def broken_resizing(monkeypatch: pytest.MonkeyPatch) -> None:
    resize = F.interpolate
    monkeypatch.setattr(F, "interpolate", lambda *a, **k: resize(*a, **(k | {"align_corners": True})))


def broken_slope(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nets, "LEAK", 0.1)


@EVERY
@pytest.mark.parametrize("broken", [broken_flow, broken_edges, broken_alignment, broken_resizing, broken_slope])
def test_a_broken_network_misses_the_reference(
    name: str, broken: Any, opened: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = golden(name)[0]
    assert meets(name, through_the_network(opened(name), inputs))
    broken(monkeypatch)
    assert not meets(name, through_the_network(opened(name), inputs))


@EVERY
@pytest.mark.parametrize("broken", ["swapped frames", "blue first", "replicated", "multiple of 64", "another moment"])
def test_a_broken_procedure_misses_the_reference(
    name: str, broken: str, opened: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = dict(golden(name)[0])
    if broken == "swapped frames":
        inputs["frame0_u8"], inputs["frame1_u8"] = inputs["frame1_u8"], inputs["frame0_u8"]
    elif broken == "blue first":
        inputs |= {key: np.ascontiguousarray(inputs[key][..., ::-1]) for key in ("frame0_u8", "frame1_u8")}
    elif broken == "replicated":
        pad = F.pad
        monkeypatch.setattr(F, "pad", lambda values, by, **_: pad(values, by, mode="replicate"))
    elif broken == "multiple of 64":
        monkeypatch.setattr(subject, "MULTIPLE", 64)
    else:
        motion = nets.RifeNet.motion
        monkeypatch.setattr(nets.RifeNet, "motion", lambda net, a, b, at, scale: motion(net, a, b, 1 - at, scale))
    fraction = 0.3 if broken == "another moment" else 0.5
    made = through_the_contract(opened(name), inputs, 1.0, (fraction,))
    if broken == "blue first":
        made = {key: pixels[..., ::-1] for key, pixels in made.items()}
    assert not meets(name, made)


def test_the_mask_of_a_level_is_added_in_one_version_and_replaces_in_the_other(
    opened: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Told apart by what is carried: the other rule misses the reference."""
    net = opened("rife-4.25").network
    levels, told = net._level, list[Tensor]()

    def adding(number: int, seen: Tensor, flow: Tensor | None, scale: float) -> tuple[Any, ...]:
        more, mask, carried = levels(number, seen, flow, scale)
        told.append(mask + told[-1] if told else mask)
        return more, told[-1], carried

    monkeypatch.setattr(net, "_level", adding)
    inputs = golden("rife-4.25")[0]
    assert not meets("rife-4.25", through_the_network(opened("rife-4.25"), inputs))


@EVERY
def test_several_moments_at_once_are_the_moments_one_by_one(name: str, opened: Any) -> None:
    first, second = frames(50, 70)
    together = opened(name).interpolate(first, second, (0.2, 0.5, 0.8))
    apart = [opened(name).interpolate(first, second, (at,))[0] for at in (0.2, 0.5, 0.8)]
    assert torch.equal(together, torch.stack(apart))
    assert opened(name).interpolate(first, second, ()).shape == (0, 3, 50, 70)


@EVERY
@pytest.mark.parametrize("size", [(1, 1), (1, 40), (37, 1), (7, 9), (128, 129)])
@pytest.mark.parametrize("channels", [3, 4])
def test_any_size(name: str, size: tuple[int, int], channels: int, opened: Any) -> None:
    made = opened(name).interpolate(*frames(*size, channels), [0.5])
    assert made.shape == (1, channels, *size)
    assert made.dtype == torch.float32
    assert torch.isfinite(made).all()
    assert made.min() >= 0
    assert made.max() <= 1


@EVERY
def test_an_opaque_alpha_changes_no_colour(name: str, opened: Any) -> None:
    first, second = frames(40, 60)
    opaque = torch.ones(1, 40, 60)
    plain = opened(name).interpolate(first, second, (0.5,))
    made = opened(name).interpolate(torch.cat((first, opaque)), torch.cat((second, opaque)), (0.5,))
    inside = made[:, 3:] > 0.999  # beyond the edge of the frame there is nothing, and random flows look there
    assert torch.allclose(torch.where(inside, made[:, :3], 0), torch.where(inside, plain, 0), atol=2e-3)
    assert inside.float().mean() > 0.2


def test_the_colour_of_what_is_transparent_counts_nothing(opened: Any) -> None:
    first, second = frames(40, 60, 4)
    for each in (first, second):
        each[3] = 0
        each[3, 10:30, 20:40] = 1
    made = opened("rife-4.6").interpolate(first, second, (0.5,))
    for each in (first, second):
        each[:3] *= each[3:]
    assert torch.equal(made, opened("rife-4.6").interpolate(first, second, (0.5,)))


def test_a_pair_that_hardly_differs_is_blended_and_not_moved(opened: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nets.RifeNet, "motion", lambda *_: pytest.fail("the network was asked"))
    first = F.interpolate(frames(5, 8)[0][None], (50, 80), mode="bilinear")[0]
    second = (first + 0.01).clamp(0, 1)
    made = opened("rife-4.6").interpolate(first, second, (0.25,))[0]
    assert torch.allclose(made, 0.75 * first + 0.25 * second, atol=1e-6)


def test_a_small_thing_that_moves_is_no_still_pair() -> None:
    """In a copy of 32 by 32 it cannot be seen, which is all that the authors' script looks at."""
    ground = F.interpolate(frames(6, 10)[0][None] * 0.5, (480, 640), mode="bilinear")
    first, second = ground.clone(), ground.clone()
    first[..., 100:104, 100:104] = 1
    second[..., 100:104, 110:114] = 1
    small = [F.interpolate(each, (32, 32), mode="bilinear") for each in (first, second)]
    assert similarity(small[0], small[1]) > 0.996
    assert not is_still(first, second)
    assert is_still(ground, ground)


def test_similarity_is_one_for_the_same_and_low_for_another() -> None:
    first, second = (each[None] for each in frames(32, 32))
    assert similarity(first, first) == pytest.approx(1.0)
    assert similarity(first, second) < 0.3
    constant = torch.full((1, 3, 32, 32), 0.2), torch.full((1, 3, 32, 32), 0.6)
    assert similarity(*constant) == pytest.approx((2 * 0.12 + 1e-4) / (0.04 + 0.36 + 1e-4), rel=1e-3)


def test_large_frames_are_looked_at_in_half_size(opened: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[float, tuple[int, ...]]] = []

    def noted(net: object, first: Tensor, second: Tensor, at: float, scale: float) -> nets.Motion:
        asked.append((scale, tuple(first.shape[2:])))
        height, width = first.shape[2:]
        return nets.Motion(torch.zeros(1, 4, height, width), torch.ones(1, 1, height, width))

    monkeypatch.setattr(nets.RifeNet, "motion", noted)
    for size in ((20, 3840), (3839, 20)):
        opened("rife-4.6").interpolate(*frames(*size), (0.5,))
    assert asked == [(0.5, (256, 3840)), (1.0, (3840, 128))]


@EVERY
def test_half_precision_is_near_full(name: str, file: Any, opened: Any) -> None:
    inputs = golden(name)[0]
    half = through_the_contract(open_rife(name, file(name), precision="bfloat16"), inputs, 1.0, (0.5,))
    full = through_the_contract(opened(name), inputs, 1.0, (0.5,))
    apart = [np.abs(half[key].astype(int) - full[key]) for key in full]
    assert 0 < apart[0].mean() < 1.0


@EVERY
def test_threads_change_rounding_alone(name: str, opened: Any) -> None:
    before = torch.get_num_threads()
    made = []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            made.append(opened(name).interpolate(*frames(100, 120), (0.5,)))
    finally:
        torch.set_num_threads(before)
    assert torch.allclose(made[0], made[1], atol=1e-4)


@EVERY
def test_keys_with_and_without_prefix_and_the_archive_load(name: str, tmp_path: Path, file: Any, opened: Any) -> None:
    state = torch.load(file(name), weights_only=True)
    plain = tmp_path / "flownet.pkl"
    torch.save({key.removeprefix("module."): value for key, value in state.items()}, plain)
    archive = tmp_path / "train_log.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr("train_log/RIFE_HDv3.py", "raise SystemExit")
        packed.write(plain, "train_log/flownet.pkl")
    pair = frames(20, 30)
    wanted = opened(name).interpolate(*pair, (0.5,))
    for path in (plain, archive):
        assert torch.equal(open_rife(name, path).interpolate(*pair, (0.5,)), wanted)


@EVERY
def test_another_version_is_told_by_its_keys(name: str, file: Any) -> None:
    other = next(each for each in NAMES if each != name)
    with pytest.raises(WeightsKeysError, match=f"holds RIFE {other[5:]}, expected {name[5:]}; give it to {other}"):
        open_rife(name, file(other))


def test_missing_unknown_and_misshapen_tensors_are_named(tmp_path: Path) -> None:
    arrays = recipe().to_torch(recipe().make_arrays(manifest("rife-4.6"), 1))
    path = tmp_path / "flownet.pkl"

    def refused(changed: dict[str, Tensor], words: str) -> None:
        torch.save(changed, path)
        with pytest.raises(WeightsKeysError, match=words):
            open_rife("rife-4.6", path)

    key = "module.block2.convblock.3.beta"
    refused({name: value for name, value in arrays.items() if name != key}, r"1 missing: block2\.convblock\.3\.beta")
    refused(arrays | {"module.block9.beta": torch.zeros(1)}, r"1 unknown: block9\.beta")
    refused(arrays | {key: torch.zeros(1, 95, 1, 1)}, r"another shape: block2\.convblock\.3\.beta")
    refused({"conv.weight": torch.zeros(1)}, "missing")


def test_another_file_is_refused(file: Any) -> None:
    with pytest.raises(WeightsDigestError):
        open_rife("rife-4.6", file("rife-4.6"), sha256="0" * 64)


def test_frames_must_belong_together(opened: Any) -> None:
    model: RifeInterpolator = opened("rife-4.6")
    for first, second in (((3, 8, 8), (3, 8, 9)), ((2, 8, 8), (2, 8, 8)), ((1, 3, 8, 8), (1, 3, 8, 8))):
        with pytest.raises(FrameShapeError):
            model.interpolate(torch.zeros(first), torch.zeros(second), (0.5,))
