"""The shelf of models: what is loaded, when, and what has to go, with real memory where memory is meant."""

import multiprocessing
import random
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.errors import UsageError
from datasets.thermal import Wanted
from model_blocks import runtime
from model_blocks.choice import ModelRef
from model_blocks.residency import held_bytes, tensor_bytes
from model_blocks.shelf import ModelShelf
from model_blocks.shelf_facts import ModelKey, ShelfRules

MEBIBYTE = 1 << 20
WEIGHT = 32 * MEBIBYTE  # so large that the C library maps each for itself
NAMES = "abcdef"
START = datetime(2026, 5, 4, tzinfo=UTC).timestamp()


class Net:
    """A model with real weights."""

    def __init__(self, size: int = WEIGHT) -> None:
        self.network = torch.nn.ParameterList([torch.ones(size // 4)])


class Light:
    """A model without any."""


class Clock:
    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        return self.now


def key(name: str) -> ModelKey:
    return ModelKey(name, "cpu")


def least_recently_used(requests: str, room: int) -> tuple[int, list[str]]:
    """An independent answer: how many loads a sequence takes, and what is there in the end."""
    there: OrderedDict[str, None] = OrderedDict()
    loads = 0
    for name in requests:
        if name in there:
            there.move_to_end(name)
            continue
        loads += 1
        there[name] = None
        if len(there) > room:
            there.popitem(last=False)
    return loads, sorted(there)


def loaded(shelf: ModelShelf) -> list[str]:
    return [counts.model for counts in shelf.statistics().models if counts.loaded_at is not None]


def loads(shelf: ModelShelf) -> dict[str, int]:
    return {counts.model: counts.loads for counts in shelf.statistics().models}


def by_size(
    size: int, rules: ShelfRules, clock: Callable[[], float] = time.time
) -> tuple[ModelShelf, Callable[..., Any]]:
    """A shelf on which every load takes as much, without taking it."""
    taken = [0]
    shelf = ModelShelf(rules, clock, held=lambda _: taken[0], free=lambda: None)

    def load() -> Light:
        taken[0] += size
        return Light()

    return shelf, lambda name: shelf.get(key(name), load)


# how often is loaded


@pytest.mark.slow
def test_fifty_requests_over_six_models_with_room_for_two() -> None:
    """Real tensors, measured: 32 MiB each, 80 MiB for all of them."""
    fixed = "abababcacbacdcdabefefefeafbfcfdfeaaaabbbccddeeffab"
    assert len(fixed) == 50
    assert least_recently_used(fixed, 2) == (26, ["a", "b"])  # counted by hand:
    # asked: ab abab c a c b a c d cd a b e f efefe a f b f c f d f e a aaa b bb c c d d e e f f a b
    # loads: ab      c a   b a c d    a b e f       a f b   c   d   e a     b    c   d   e   f   a b
    shelf = ModelShelf(ShelfRules(memory_bytes=80 * MEBIBYTE))
    before = held_bytes("cpu")
    for name in fixed:
        shelf.get(key(name), Net)
    assert sum(loads(shelf).values()) == 26
    assert loaded(shelf) == ["a", "b"]
    statistics = shelf.statistics()
    assert sum(counts.hits for counts in statistics.models) == 50 - 26
    assert sum(counts.evictions for counts in statistics.models) == 26 - 2
    assert all(WEIGHT <= counts.bytes < 1.25 * WEIGHT for counts in statistics.models)
    assert held_bytes("cpu") - before < 2.5 * WEIGHT


@settings(max_examples=60)
@given(st.text(NAMES, min_size=1, max_size=50), st.integers(1, 6))
def test_loads_are_those_of_the_least_recently_used_order(requests: str, room: int) -> None:
    shelf, ask = by_size(10, ShelfRules(memory_bytes=10 * room))
    for name in requests:
        ask(name)
    assert (sum(loads(shelf).values()), loaded(shelf)) == least_recently_used(requests, room)


def test_threads_that_ask_first_at_the_same_time_load_once() -> None:
    shelf, barrier, made = ModelShelf(), threading.Barrier(8), []
    got: list[object] = []

    def load() -> Light:
        time.sleep(0.05)
        made.append(1)
        return Light()

    def ask() -> None:
        barrier.wait()
        got.append(shelf.get(key("a"), load))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(made), len({id(model) for model in got}), len(got)) == (1, 1, 8)


def test_a_model_that_is_there_is_handed_out_while_another_is_loaded() -> None:
    shelf, begun, go = ModelShelf(), threading.Event(), threading.Event()
    there = shelf.get(key("a"), Light)

    def slow() -> Light:
        begun.set()
        assert go.wait(10)
        return Light()

    thread = threading.Thread(target=shelf.get, args=(key("b"), slow))
    thread.start()
    assert begun.wait(10)
    assert shelf.get(key("a"), Light) is there
    go.set()
    thread.join()


def test_a_load_that_fails_is_not_kept_and_is_told() -> None:
    shelf, tries = ModelShelf(), iter([ValueError("no such key"), None])

    def load() -> Light:
        if error := next(tries):
            raise error
        return Light()

    with pytest.raises(ValueError):
        shelf.get(key("a"), load)
    assert loaded(shelf) == []
    assert shelf.get(key("a"), load) is shelf.get(key("a"), load)
    events = [(event.kind, event.detail) for event in shelf.statistics(tell=True).events]
    assert events == [("load_failed", "ValueError: no such key"), ("load", None)]
    assert shelf.statistics().events == ()  # told


def test_a_caller_who_asks_for_nonsense_does_not_speak_against_the_model() -> None:
    shelf = ModelShelf()

    def refuse() -> Light:
        raise UsageError("expected a strength of 0 to 1")

    with pytest.raises(UsageError):
        shelf.get(key("a"), refuse)
    assert shelf.statistics().events == ()


def test_a_model_made_of_another_gets_it_off_the_same_shelf() -> None:
    shelf = ModelShelf()
    shelf.get(key("outer"), lambda: [shelf.get(key("inner"), Light)])
    assert loaded(shelf) == ["inner", "outer"]


# what may go


def test_a_model_in_use_stays_though_it_is_the_oldest() -> None:
    shelf, ask = by_size(10, ShelfRules(memory_bytes=20))
    held = ask("a")
    ask("b")
    ask("c")
    assert loaded(shelf) == ["a", "c"]
    del held
    ask("b")
    assert loaded(shelf) == ["b", "c"]


def test_a_model_that_refers_to_itself_is_not_taken_for_used() -> None:
    class Knot:
        def __init__(self) -> None:
            self.call = self.act

        def act(self) -> None: ...

    shelf = ModelShelf()
    shelf.get(key("a"), Knot)
    shelf.want("a", Wanted("cold"))
    assert loaded(shelf) == []


def test_hot_stays_warm_stays_until_its_time_and_cold_goes_first() -> None:
    clock = Clock()
    until = datetime.fromtimestamp(START + 100, UTC)
    wanted = {"a": Wanted("hot"), "b": Wanted("warm", until), "e": Wanted("cold")}
    shelf, ask = by_size(10, ShelfRules(memory_bytes=40, wanted=wanted), clock)
    for name in "abcde":
        ask(name)
    assert loaded(shelf) == ["a", "b", "d", "e"]
    ask("c")
    assert loaded(shelf) == ["a", "b", "c", "d"]  # cold before the older d
    clock.now += 101
    ask("f")
    assert loaded(shelf) == ["a", "c", "d", "f"]  # not warm any more
    for name in "bcde":
        ask(name)
    assert "a" in loaded(shelf)


def test_more_hot_models_than_fit_are_kept_and_it_is_told() -> None:
    shelf, ask = by_size(10, ShelfRules(memory_bytes=10, wanted={"a": Wanted("hot"), "b": Wanted("hot")}))
    ask("a")
    ask("b")
    assert loaded(shelf) == ["a", "b"]
    assert [(event.kind, event.bytes) for event in shelf.statistics().events][-1] == ("over_budget", 10)


def test_an_automatic_model_is_kept_while_it_is_asked_for() -> None:
    """Ten requests in ten minutes are one a minute, so the pause of six minutes is borne; one request is not."""
    clock = Clock()
    rules = ShelfRules(idle_s=300, busy_per_minute=1.0, window_s=600, wanted={"c": Wanted("cold")})
    shelf, ask = by_size(10, rules, clock)
    for _ in range(10):
        ask("a")
    ask("b")
    ask("c")
    clock.now += 31
    shelf.sweep()
    assert loaded(shelf) == ["a", "b"]
    clock.now += 330
    shelf.sweep()
    assert loaded(shelf) == ["a"]
    clock.now += 250  # the requests are more than ten minutes ago
    shelf.sweep()
    assert loaded(shelf) == []
    assert [event.detail for event in shelf.statistics().events if event.kind == "evict"] == ["idle"] * 3


def test_the_rate_is_told_per_minute() -> None:
    clock = Clock()
    shelf, ask = by_size(1, ShelfRules(), clock)
    for _ in range(30):
        ask("a")
        clock.now += 10
    assert shelf.statistics().counts("a").requests_per_minute == 6.0


def test_cooling_lets_go_at_once() -> None:
    shelf, ask = by_size(1, ShelfRules(wanted={"a": Wanted("hot")}))
    ask("a")
    shelf.want("a", Wanted("off"))
    assert loaded(shelf) == []


# what is measured


def measured_and_freed() -> tuple[int, int, int]:
    """Bytes of a model as the shelf counts them, by how much the process grew, and what it kept of them afterwards."""
    shelf = ModelShelf()
    before = held_bytes("cpu")
    shelf.get(key("a"), Net)
    grown = held_bytes("cpu") - before
    counted = shelf.statistics().counts("a").bytes
    shelf.want("a", Wanted("cold"))
    return counted, grown, held_bytes("cpu") - before


def counted_without_tensors() -> int:
    """Bytes that the shelf counts for a model that is no tensor."""
    shelf = ModelShelf()
    shelf.get(key("a"), lambda: [bytearray(b"x") * WEIGHT])
    return shelf.statistics().counts("a").bytes


def test_memory_is_measured_and_freed_also_of_what_is_no_tensor() -> None:
    """In a process of its own: one that has freed memory to give need not grow."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as apart:
        counted, grown, kept = apart.submit(measured_and_freed).result(timeout=120)
        without_tensors = apart.submit(counted_without_tensors).result(timeout=120)
    assert abs(counted - grown) < MEBIBYTE
    assert 0.99 * WEIGHT <= grown < 1.1 * WEIGHT  # a page or two were there already
    assert kept < 0.1 * WEIGHT
    assert 0.99 * WEIGHT <= without_tensors < 1.1 * WEIGHT


def test_a_storage_that_is_shared_counts_once() -> None:
    class Twins:
        def __init__(self) -> None:
            weights = torch.ones(1000)
            self.nets = {"one": torch.nn.ParameterList([weights]), "other": [weights[:10], torch.ones(5)]}

    assert tensor_bytes(Twins()) == 4000 + 20


def test_libraries_are_not_taken_for_the_model() -> None:
    taken = [0]
    shelf = ModelShelf(held=lambda _: taken[0])

    def libraries() -> None:
        taken[0] += 1000

    shelf.get(key("a"), Light, libraries)
    assert shelf.statistics().counts("a").bytes == 0


# the accessors


@pytest.fixture
def own_shelf(monkeypatch: pytest.MonkeyPatch) -> ModelShelf:
    shelf = ModelShelf()
    monkeypatch.setattr(runtime, "SHELF", shelf)
    return shelf


def test_the_accessors_take_from_the_shelf(own_shelf: ModelShelf) -> None:
    ref = ModelRef("embedded-upscaler", "", "cpu")
    twice, again, thrice = runtime.upscaler(ref, 2), runtime.upscaler(ref, 2), runtime.upscaler(ref, 3)
    assert twice is again
    assert thrice is not twice
    counts = own_shelf.statistics().counts("embedded-upscaler")
    assert (counts.loads, counts.hits, counts.requests) == (2, 1, 3)


def test_a_model_that_is_brought_was_not_asked_for(own_shelf: ModelShelf) -> None:
    ref = ModelRef("embedded-upscaler", "", "cpu")
    runtime.bring(ref)
    assert (own_shelf.statistics().counts(ref.name).loads, own_shelf.statistics().new_requests) == (1, {})
    runtime.upscaler(ref, 2)
    assert own_shelf.statistics(tell=True).new_requests == {ref.name: 1}
    assert own_shelf.statistics().new_requests == {}
    assert own_shelf.statistics().counts(ref.name).loads == 1


def test_handing_out_a_model_takes_microseconds(own_shelf: ModelShelf) -> None:
    ref = ModelRef("embedded-segmenter", "", "cpu")
    best = 1.0
    for _ in range(50):
        begun = time.perf_counter()
        for _ in range(100):
            runtime.segmenter(ref)
        best = min(best, (time.perf_counter() - begun) / 100)
    assert best < 20e-6


def test_many_threads_with_little_room_never_get_a_model_of_another_name() -> None:
    class Named:
        def __init__(self, name: str) -> None:
            self.name = name

    taken = [0]
    shelf = ModelShelf(ShelfRules(memory_bytes=2), held=lambda _: taken[0], free=lambda: None)
    wrong: list[str] = []

    def load(name: str) -> Named:
        taken[0] += 1
        return Named(name)

    def ask(seed: int) -> None:
        names = random.Random(seed).choices(NAMES, k=30)
        wrong.extend(each for each in names if shelf.get(key(each), lambda each=each: load(each)).name != each)  # type: ignore[misc]

    threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert sum(counts.hits + counts.loads for counts in shelf.statistics().models) == 120
    shelf.obey(ShelfRules(memory_bytes=2, wanted={name: Wanted("cold") for name in NAMES}))
    assert len(loaded(shelf)) <= 2


def test_obeying_other_rules_changes_what_is_wanted() -> None:
    clock = Clock()
    shelf, ask = by_size(1, ShelfRules(), clock)
    ask("a")
    clock.now += timedelta(days=1).total_seconds()
    shelf.obey(ShelfRules(wanted={"a": Wanted("hot")}))
    assert loaded(shelf) == ["a"]
    shelf.obey(ShelfRules())
    assert loaded(shelf) == []
