"""XMem computes what its authors' code computes, also after its state went through a file, and takes no other file."""

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import model_blocks.xmem.tracker as subject
from datasets.errors import FrameShapeError, UsageError
from model_blocks.capabilities import Propagator
from model_blocks.registry import find_model
from model_blocks.weight_errors import WeightsDigestError, WeightsKeysError
from model_blocks.xmem.propagator import XMemPropagator, open_xmem
from model_blocks.xmem.settings import MemorySettings
from model_blocks.xmem.state import XMemState
from model_blocks.xmem.tracker import XMemTracker
from tests.model_blocks.parity import Arrays, assert_parity, golden, manifest, recipe
from tests.model_blocks.parity_xmem import NAME, SETTINGS, followed, outputs, tracker
from tests.model_blocks.xmem_opened import opened, through_a_file

FEW, LONG = 3, 9  # frames: enough to see another picture, and to read from long-term memory
SCENARIOS = pytest.mark.parametrize("scenario", sorted(SETTINGS))


def inputs(frames: int | None = None) -> Arrays:
    given = golden(NAME)[0]
    return {**given, "frames_u8": given["frames_u8"][:frames]}


def meets(scenario: str, made: np.ndarray[Any, Any]) -> tuple[bool, str]:
    """Whether the frames made so far are the reference's."""
    want = golden(NAME)[1][f"prob_{scenario}"][: len(made)]
    passed, words = recipe().check(f"prob_{scenario}", made, want, manifest(NAME)["tolerance"][f"prob_{scenario}"])
    return bool(passed), str(words)


def test_the_reference_is_met_with_long_term_memory_at_work() -> None:
    long: list[list[int]] = []

    def look(number: int, state: XMemState) -> XMemState:
        if number == 0:
            long.append([])
        long[-1].append(state.memory.long)
        return state

    assert_parity(NAME, outputs(opened(), inputs(), look))
    assert long[0] == [0] * 6 + [16] * 4 + [32] * 2
    assert long[1][:4] == [0, 0, 0, 16]
    assert max(long[1]) == SETTINGS["b"].most_elements
    assert long[2] == [0] * 4 + [16] * 3 + [32] * 3 + [48] * 2


@pytest.mark.parametrize("scenario", [*(pytest.param(each, marks=pytest.mark.slow) for each in "ab"), "c"])
def test_the_reference_is_met_with_the_state_in_a_file_after_every_frame(scenario: str) -> None:
    ok, said = meets(scenario, followed(tracker(opened(), scenario), inputs(), scenario, through_a_file))
    assert ok, said


@pytest.mark.slow
@SCENARIOS
def test_the_reference_is_met_with_the_state_in_a_file_once(scenario: str) -> None:
    def once(number: int, state: XMemState) -> XMemState:
        return through_a_file(number, state) if number == 6 else state

    whole = followed(tracker(opened(), scenario), inputs(), scenario)
    cut = followed(tracker(opened(), scenario), inputs(), scenario, once)
    assert meets(scenario, cut)[0]
    assert np.array_equal(whole, cut)


def test_masks_in_another_order_miss_the_reference_and_change_nothing_but_the_order() -> None:
    given = inputs(FEW)
    swapped = {**given, "mask_labels": np.choose(given["mask_labels"], [0, 2, 1]).astype(np.uint8)}
    made = followed(tracker(opened(), "a"), swapped, "a")
    assert not meets("a", made)[0]
    ok, said = meets("a", made[:, [0, 2, 1]])
    assert ok, said


def test_padding_on_one_side_misses_the_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "padding", lambda height, width: (0, -width % 16, 0, -height % 16))
    assert not meets("a", followed(tracker(opened(), "a"), inputs(FEW), "a"))[0]


def test_padding_puts_the_larger_half_at_the_right_and_the_bottom() -> None:
    assert subject.padding(70, 102) == (5, 5, 5, 5)
    assert subject.padding(33, 31) == (0, 1, 7, 8)
    assert subject.padding(16, 32) == (0, 0, 0, 0)


@pytest.mark.parametrize(("mean", "std"), [((0.0,) * 3, (1.0,) * 3), ((0.5,) * 3, (0.5,) * 3)])
def test_another_normalisation_misses_the_reference(
    mean: tuple[float, ...], std: tuple[float, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subject, "MEAN", mean)
    monkeypatch.setattr(subject, "STD", std)
    assert not meets("a", followed(tracker(opened(), "a"), inputs(FEW), "a"))[0]


def test_swapped_colours_miss_the_reference() -> None:
    given = inputs(FEW)
    swapped = {**given, "frames_u8": given["frames_u8"][..., ::-1].copy()}
    assert not meets("a", followed(tracker(opened(), "a"), swapped, "a"))[0]


def test_training_mode_misses_the_reference() -> None:
    training = copy.deepcopy(opened().tracker.network).train()
    made = followed(XMemTracker(training, SETTINGS["a"]), inputs(FEW), "a")
    assert not meets("a", made)[0]
    assert not opened().tracker.network.training
    assert not any(weight.requires_grad for weight in opened().tracker.network.parameters())


@pytest.mark.parametrize(
    "other",
    [
        {"long_term": False},
        {"top_k": 20},
        *(
            pytest.param(each, marks=pytest.mark.slow)
            for each in ({"top_k": 40}, {"every": 3}, {"reinforce_every": 1}, {"prototypes": 15})
        ),
    ],
    ids=str,
)
def test_another_memory_misses_the_reference(other: dict[str, Any]) -> None:
    settings = replace(SETTINGS["a"], **other)
    made = followed(XMemTracker(opened().tracker.network, settings), inputs(LONG), "a")
    assert not meets("a", made)[0]


def noise(height: int, width: int, seed: int = 1) -> Tensor:
    return torch.rand((3, height, width), generator=torch.Generator().manual_seed(seed))


def half_of(height: int, width: int) -> Tensor:
    mask = torch.zeros(1, height, width)
    mask[:, : (height + 1) // 2] = 1
    return mask


@pytest.mark.parametrize("size", [(1, 1), (1, 37), (19, 2), (16, 48)])
def test_frames_of_any_size_are_followed(size: tuple[int, int]) -> None:
    model = opened()
    state = model.begin(noise(*size), half_of(*size))
    for seed in (2, 3):
        mask, state = model.step(state, noise(*size, seed))
        assert mask.shape == (1, *size)
        assert mask.dtype == torch.float32
        assert bool(mask.isfinite().all())
        assert 0 <= float(mask.min()) <= float(mask.max()) <= 1


def test_one_object_is_what_the_tracker_makes_of_it() -> None:
    model, (height, width) = opened(), (40, 56)
    state = model.begin(noise(height, width), half_of(height, width))
    _, inner = model.tracker.step(None, noise(height, width), {0: half_of(height, width)[0]})
    mask, _ = model.step(state, noise(height, width, 2))
    found, _ = model.tracker.step(inner, noise(height, width, 2))
    assert torch.equal(mask, found[1:])
    assert torch.allclose(found.sum(dim=0), torch.ones(height, width))


def test_larger_frames_are_seen_at_the_working_size_and_smaller_ones_as_they_are() -> None:
    model = XMemPropagator(opened().tracker, working_side=32)
    state = model.begin(noise(64, 96), half_of(64, 96))
    assert state.hidden.shape[2:] == (2, 3)
    mask, _ = model.step(state, noise(64, 96, 2))
    assert mask.shape == (1, 64, 96)
    assert model.begin(noise(24, 40), half_of(24, 40)).hidden.shape[2:] == (2, 3)
    assert opened().working_side == 480


def test_a_soft_mask_counts_above_a_half() -> None:
    model, soft = opened(), torch.full((1, 32, 32), 0.5)
    soft[:, :8] = 0.51
    hard = (soft > 0.5).float()
    picture = noise(32, 32)
    assert torch.equal(model.begin(picture, soft).memory.values[0], model.begin(picture, hard).memory.values[0])


def test_an_earlier_state_stays_what_it_was() -> None:
    model = opened()
    state = model.begin(noise(32, 48), half_of(32, 48))
    before = {name: np.copy(value) for name, value in state.to_arrays().items()}
    first, _ = model.step(state, noise(32, 48, 2))
    second, _ = model.step(state, noise(32, 48, 2))
    assert torch.equal(first, second)
    assert all(np.array_equal(value, before[name]) for name, value in state.to_arrays().items())


def test_half_precision_stays_near_full() -> None:
    network = copy.deepcopy(opened().tracker.network)
    half = followed(XMemTracker(network, SETTINGS["a"], precision="bfloat16"), inputs(FEW), "a")
    full = followed(tracker(opened(), "a"), inputs(FEW), "a")
    assert half.dtype == np.float32
    assert 0 < float(np.abs(half - full).mean()) < 0.02


def test_what_does_not_belong_together_is_refused() -> None:
    model = opened()
    with pytest.raises(FrameShapeError, match="its mask"):
        model.begin(noise(32, 32), torch.zeros(1, 32, 31))
    state = model.begin(noise(32, 32), half_of(32, 32))
    with pytest.raises(FrameShapeError, match="the shot's size"):
        model.step(state, noise(32, 48))
    with pytest.raises(FrameShapeError, match="first one's size"):
        model.tracker.step(state, noise(32, 48))
    with pytest.raises(FrameShapeError, match="masks of the frame's size"):
        model.tracker.step(state, noise(32, 32), {1: torch.zeros(32, 48)})


@pytest.mark.parametrize("given", [{}, {1: torch.zeros(16, 16)}, {-1: torch.zeros(16, 16), 0: torch.zeros(16, 16)}])
def test_objects_are_numbered_without_gaps(given: dict[int, Tensor]) -> None:
    with pytest.raises(UsageError, match="numbered from 0"):
        opened().tracker.step(None, noise(16, 16), given)


@pytest.mark.parametrize(
    "wrong", [{"least_frames": 10}, {"least_frames": 0}, {"top_k": 0}, {"every": 0}, {"prototypes": 10_001}]
)
def test_a_memory_that_cannot_be_kept_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(UsageError):
        MemorySettings(**wrong)  # type: ignore[arg-type]


def test_the_registry_knows_it() -> None:
    facts = find_model(NAME, "propagate")
    assert isinstance(opened(), Propagator)
    assert sum(weight.numel() for weight in opened().tracker.network.parameters()) == 62_185_224
    assert len(opened().tracker.network.state_dict()) == 412
    assert (facts.licence, facts.sha256, facts.bytes) == ("MIT", None, None)


def saved(path: Path, changes: dict[str, Tensor | None]) -> Path:
    """The reference weights with some tensors replaced, or taken out."""
    state = {**opened().tracker.network.state_dict(), **changes}
    torch.save({key: value for key, value in state.items() if value is not None}, path)
    return path


def test_missing_and_unknown_keys_are_refused_by_name(tmp_path: Path) -> None:
    path = saved(tmp_path / "x.pth", {"decoder.pred.bias": None, "key_proj.f_proj.bias": torch.zeros(1)})
    with pytest.raises(WeightsKeysError, match=r"1 missing: decoder\.pred\.bias; 1 unknown: key_proj\.f_proj\.bias"):
        open_xmem(NAME, path)


def test_tensors_of_another_shape_and_another_digest_are_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "x.pth", {"value_encoder.conv1.weight": torch.zeros(64, 4, 7, 7)})
    with pytest.raises(WeightsKeysError, match=r"of another shape: value_encoder\.conv1\.weight"):
        open_xmem(NAME, path)
    with pytest.raises(WeightsDigestError):
        open_xmem(NAME, path, sha256="0" * 64)


def test_another_models_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.pth"
    recipe().save_checkpoint(path, manifest("realesr-animevideov3"), 1)
    with pytest.raises(WeightsKeysError):
        open_xmem(NAME, path)
