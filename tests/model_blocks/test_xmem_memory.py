"""XMem's memory: what is like what, who makes room for whom, and that it goes on from a file to the last bit."""

import math
from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from torch import Tensor

from model_blocks.xmem.memory import Memory, similarity, strongest
from model_blocks.xmem.settings import MemorySettings
from model_blocks.xmem.state import XMemState
from model_blocks.xmem.tracker import XMemTracker
from tests.model_blocks.xmem_opened import opened, through_a_file

ONE = 6  # elements of a frame
SMALL = MemorySettings(every=1, top_k=4, most_frames=4, least_frames=2, prototypes=5, most_elements=18)


def drawn(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def frame(seed: int, objects: int = 1) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Key, shrinkage, selection and value of a frame."""
    return (
        drawn(seed, ONE, 64),
        1 + drawn(seed + 1, ONE).square(),
        drawn(seed + 2, ONE, 64).sigmoid(),
        drawn(seed + 3, ONE, objects, 512),
    )


def remembering(frames: int, kept: MemorySettings = SMALL) -> Memory:
    """A memory that was read before every frame but the first."""
    memory = Memory.of_frame(*frame(0))
    for number in range(1, frames):
        key, _, selection, _ = seen = frame(10 * number)
        _, memory = memory.read(key, selection, kept.top_k)
        memory = memory.with_frame(*seen).bounded(kept)
    return memory


def test_likeness_is_minus_the_selected_distance_times_the_shrinkage() -> None:
    key, query, selection = drawn(1, 5, 64), drawn(2, 7, 64), drawn(3, 7, 64).sigmoid()
    shrinkage = 1 + drawn(4, 5).square()
    apart = (selection[:, None] * (key[None] - query[:, None]).square()).sum(dim=2)
    torch.testing.assert_close(
        similarity(key, shrinkage, query, selection), -apart * shrinkage / 8, rtol=1e-5, atol=1e-5
    )


def test_the_strongest_share_all_weight() -> None:
    weights, places = strongest(torch.tensor([[0.0, math.log(3), -50.0, -60.0]]), 2)
    assert places.tolist() == [[1, 0]]
    torch.testing.assert_close(weights, torch.tensor([[0.75, 0.25]]))


@pytest.mark.parametrize("level", [-1e4, -200.0])
def test_places_that_are_like_nothing_have_weights_too(level: float) -> None:
    """exp(-200) is 0 in float32, so that a plain quotient would be 0/0."""
    weights, _ = strongest(torch.tensor([[level, level + math.log(3), level - 1]]), 2)
    torch.testing.assert_close(weights, torch.tensor([[0.75, 0.25]]), rtol=1e-3, atol=0)


def test_fewer_elements_than_asked_for_are_all_read() -> None:
    weights, places = strongest(torch.zeros(2, 3), 30)
    assert sorted(places[0].tolist()) == [0, 1, 2]
    torch.testing.assert_close(weights, torch.full((2, 3), 1 / 3))


def test_what_is_read_is_the_weighted_mean_and_counts_as_used() -> None:
    memory = Memory.of_frame(*frame(0, 2))
    query, _, selection, _ = frame(50)
    read, after = memory.read(query, selection, 3)
    weights, places = strongest(similarity(memory.key, memory.shrinkage, query, selection), 3)
    dense = torch.zeros(ONE, ONE).scatter_(1, places, weights)
    torch.testing.assert_close(read, torch.einsum("nt,tkc->nkc", dense, memory.values[0]))
    torch.testing.assert_close(after.uses, dense.sum(dim=0))
    assert after.ages.tolist() == pytest.approx([1.0] * ONE)
    assert not memory.uses.any()


def test_consolidation_keeps_the_first_frame_and_the_last_ones() -> None:
    kept = replace(SMALL, most_frames=100)
    before = remembering(4, kept)
    after = before.bounded(SMALL)
    assert (before.long, before.working, after.long, after.working) == (0, 4 * ONE, 5, 2 * ONE)
    assert torch.equal(after.key[5:], torch.cat((before.key[:ONE], before.key[-ONE:])))
    assert torch.equal(after.values[0][5:], torch.cat((before.values[0][:ONE], before.values[0][-ONE:])))
    assert torch.equal(after.selection, torch.cat((before.selection[:ONE], before.selection[-ONE:])))


def test_prototypes_are_the_most_used_with_what_is_like_them() -> None:
    before = remembering(4, replace(SMALL, most_frames=100))
    after = before.bounded(SMALL)
    middle = slice(ONE, 3 * ONE)
    usage = (before.uses / before.ages)[middle]
    chosen = sorted(range(2 * ONE), key=lambda each: -float(usage[each]))[:5]
    assert torch.equal(after.key[:5], before.key[middle][chosen])
    alike = similarity(
        before.key[middle], before.shrinkage[middle], before.key[middle][chosen], before.selection[middle][chosen]
    )
    weights = torch.softmax(alike, dim=1)
    torch.testing.assert_close(after.shrinkage[:5], weights @ before.shrinkage[middle])
    torch.testing.assert_close(after.values[0][:5, 0], weights @ before.values[0][middle, 0])
    assert not after.uses[:5].any()


def test_the_least_used_for_their_age_make_room() -> None:
    memory = remembering(8)
    assert memory.long > 6
    uses = torch.arange(memory.key.shape[0]).float().flip(0) + 1
    ages = torch.ones_like(uses)
    ages[0] = 1e4  # much used, but in how long a time
    memory = replace(memory, uses=uses, ages=ages)
    after = memory.forgetting(memory.long - 3)
    gone = [0, memory.long - 1, memory.long - 2]
    stays = [each for each in range(memory.key.shape[0]) if each not in gone]
    assert after.long == memory.long - 3
    for name in ("key", "shrinkage", "uses", "ages"):
        assert torch.equal(getattr(after, name), getattr(memory, name)[stays])
    assert torch.equal(after.values[0], memory.values[0][stays])
    assert after.working == memory.working


def test_memory_without_too_much_in_it_forgets_nothing() -> None:
    memory = remembering(8)
    assert memory.forgetting(memory.long) is memory


@given(
    every=st.integers(1, 3),
    least=st.integers(1, 3),
    more=st.integers(1, 3),
    prototypes=st.integers(1, 20),
    room=st.integers(0, 30),
)
@settings(max_examples=25)
def test_memory_stays_within_its_limits(every: int, least: int, more: int, prototypes: int, room: int) -> None:
    kept = replace(
        SMALL, least_frames=least, most_frames=least + more, prototypes=prototypes, most_elements=prototypes + room
    )
    memory, consolidations = Memory.of_frame(*frame(0)), 0
    for number in range(1, 30):
        key, _, selection, _ = seen = frame(number)
        _, memory = memory.read(key, selection, kept.top_k)
        if number % every == 0:
            before = memory.working
            memory = memory.with_frame(*seen).bounded(kept)
            consolidations += memory.working <= before
        assert memory.long <= kept.most_elements
        assert memory.working < kept.most_frames * ONE
        assert memory.key.shape[0] == memory.values[0].shape[0] == memory.long + memory.working
        assert memory.long_values == (memory.long,)
        assert memory.selection.shape[0] == memory.working
    assert consolidations > 0


def test_a_group_that_appears_later_is_read_from_its_own_frames_on() -> None:
    memory = Memory.of_frame(*frame(0))
    memory = memory.with_frame(*frame(10, 2))
    assert [tuple(values.shape) for values in memory.values] == [(2 * ONE, 1, 512), (ONE, 1, 512)]
    query, _, selection, _ = frame(20)
    read, _ = memory.read(query, selection, 30)
    own = similarity(memory.key[ONE:], memory.shrinkage[ONE:], query, selection)
    torch.testing.assert_close(read[:, 1], torch.softmax(own, dim=1) @ memory.values[1][:, 0])


def test_groups_stay_within_the_same_limits() -> None:
    memory = Memory.of_frame(*frame(0))
    for number in range(1, 40):
        key, _, selection, _ = frame(number)
        read, memory = memory.read(key, selection, 4)
        assert read.shape == (ONE, 1 + (number > 3) + (number > 9), 512)
        assert bool(read.isfinite().all())
        memory = memory.with_frame(*frame(number, 1 + (number >= 3) + (number >= 9))).bounded(SMALL)
        assert memory.long <= SMALL.most_elements
        for values, long in zip(memory.values, memory.long_values, strict=True):
            assert long <= memory.long
            assert values.shape[0] - long <= memory.working
    assert memory.long_values[2] > 0


FRAMES, HEIGHT, WIDTH = 11, 32, 48


def shown(number: int) -> Tensor:
    return torch.rand((3, HEIGHT, WIDTH), generator=torch.Generator().manual_seed(number))


def going_through_files(cuts: frozenset[int]) -> tuple[list[Tensor], XMemState]:
    """Masks of a shot and its last state, with the state through a file after some frames."""
    model = small_tracker()
    mask = torch.zeros(HEIGHT, WIDTH)
    mask[:16, :24] = 1
    found, state = model.step(None, shown(0), {0: mask})
    made = [found]
    for number in range(1, FRAMES):
        if number - 1 in cuts:
            state = through_a_file(0, state)
        found, state = model.step(state, shown(number))
        made.append(found)
    return made, state


@lru_cache
def small_tracker() -> XMemTracker:
    return XMemTracker(opened().tracker.network, SMALL)


@lru_cache
def uninterrupted() -> tuple[list[Tensor], XMemState]:
    return going_through_files(frozenset())


@given(cuts=st.frozensets(st.integers(0, FRAMES - 2), min_size=1))
@settings(max_examples=4, phases=(Phase.generate,))  # a failure says enough; making it smaller takes minutes
def test_a_saved_state_goes_on_to_the_last_bit_wherever_it_is_cut(cuts: frozenset[int]) -> None:
    whole, last = uninterrupted()
    made, state = going_through_files(cuts)
    assert last.memory.long > 0
    assert all(torch.equal(first, second) for first, second in zip(whole, made, strict=True))
    arrays = last.to_arrays()
    assert all(np.array_equal(value, arrays[name]) for name, value in state.to_arrays().items())


def test_arrays_are_plain_and_take_no_more_than_the_memory_may() -> None:
    _, state = uninterrupted()
    arrays = state.to_arrays()
    assert all(isinstance(value, np.ndarray) and value.dtype in (np.float32, np.int64) for value in arrays.values())
    elements = SMALL.most_elements + SMALL.most_frames * ONE
    per_element = 4 * (64 + 64 + 1 + 1 + 1 + 512)
    assert sum(value.nbytes for value in arrays.values()) <= elements * per_element + state.hidden.numel() * 4 + 200
