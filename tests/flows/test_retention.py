"""Retention: what is held is left, what is not goes; compared with reachability worked out on the world itself."""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import datasets.condemned
from datasets.ledger import Ledger
from datasets.storage import Storage, open_storage
from flows.retention import Retention
from tests.datasets.ledger_rows import new_ledger
from tests.flows import retention_world as made
from tests.flows.retention_world import RULES, Item, Output, Run, World

COUNT = itertools.count()
AGES = st.sampled_from([0, 2, 9, 12, 19, 25, 39, 45, 55, 99, 105, 400])
FULL = World(
    outputs=(
        Output(assets=(0,)),  # 0: intake of what was delivered
        Output(sources=(0,)),  # 1: its cutout
        Output(sources=(1,), assets=(2,), frames=False),  # 2: delivered
        Output(sources=(0,)),  # 3: nobody's
        Output(finished=False),  # 4: nobody's, and never finished
        Output(sources=(3,), assets=(1,), frames=False),  # 5: delivered by a run long past
        Output(assets=(3,)),  # 6: in quarantine
        Output(age=0),  # 7: nobody's, and new
    ),
    assets=(400, 400, 400, 400, 400, 400, 0),  # 4: an answer; 5: nobody's; 6: new
    runs=(
        Run(ended=60, items=(Item(stages=(0, 1, 2), delivered=(2,), original=0),)),
        Run(ended=300, items=(Item(stages=(3, 5), delivered=(5,), original=1),)),
        Run(ended=300, items=(Item(status="failed"),)),
    ),
    held=((6, 3, None),),
    bought=((4, 2, 0, "settled"),),
)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[tuple[Storage, Ledger]]:
    ledger = new_ledger(tmp_path / "ledger.db")
    yield open_storage(str(tmp_path / "store"), "anna"), ledger
    ledger.close()


def numbers(size: int, most: int = 3) -> st.SearchStrategy[tuple[int, ...]]:
    chosen = st.lists(st.integers(0, size - 1), max_size=most, unique=True) if size else st.just([])
    return chosen.map(tuple)


@st.composite
def worlds(draw: st.DrawFn) -> World:
    assets = tuple(draw(st.lists(AGES, min_size=1, max_size=4)))
    outputs: list[Output] = []
    for number in range(draw(st.integers(1, 6))):
        finished = draw(st.booleans()) or draw(st.booleans())
        outputs.append(
            Output(draw(numbers(number)), draw(numbers(len(assets), 2)), draw(AGES), draw(st.booleans()), finished)
        )
    many = numbers(len(outputs))
    an_asset = st.integers(0, len(assets) - 1)
    status = st.sampled_from(["delivered", "failed", "stopped", None])
    item = st.builds(Item, status, many, many, st.none() | an_asset, numbers(len(assets), 1))
    run = st.builds(Run, st.none() | AGES, st.lists(item, min_size=1, max_size=2).map(tuple), st.booleans())
    runs = tuple(draw(st.lists(run, min_size=1, max_size=3)))
    held = st.tuples(st.integers(0, len(outputs) - 1), an_asset, st.none() | AGES)
    state = st.sampled_from(["settled", "unknown", "void"])
    bought = st.tuples(st.none() | an_asset, st.integers(0, len(runs) - 1), st.just(0), state)
    return World(
        tuple(outputs), assets, runs, tuple(draw(st.lists(held, max_size=2))), tuple(draw(st.lists(bought, max_size=2)))
    )


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(world=worlds())
def test_what_is_left_is_what_can_be_reached(world: World, tmp_path: Path) -> None:
    folder = tmp_path / str(next(COUNT))
    folder.mkdir()
    ledger, storage, now = (
        new_ledger(folder / "ledger.db"),
        open_storage(str(folder / "store"), "anna"),
        made.a_moment(),
    )
    made.build(world, storage, ledger, now)
    before, expected = made.found(world, storage), made.left(world)
    retention = Retention(storage, ledger, RULES, clock=lambda: now)
    planned = retention.plan()
    assert made.found(world, storage) == before
    removed = retention.run()
    assert made.found(world, storage) == expected
    is_open = any(run.ended is None for run in world.runs)
    if is_open:  # it may have found what is out of sight now
        assert removed.things.total() + removed.waiting == planned.things.total()
    else:
        assert (removed.things, removed.bytes, removed.waiting) == (planned.things, planned.bytes, 0)
        assert not made.rubbish(storage)
    assert retention.run().things.total() == 0
    assert made.found(world, storage) == expected
    ledger.close()


def test_every_kind_goes_or_stays_for_its_reason(place: tuple[Storage, Ledger]) -> None:
    storage, ledger = place
    now = made.a_moment()
    made.build(FULL, storage, ledger, now)
    removed = Retention(storage, ledger, RULES, clock=lambda: now).run()
    left = made.found(FULL, storage)
    assert (left.outputs, left.framed, left.assets) == ({0, 1, 2, 6, 7}, {6, 7}, {0, 2, 3, 4, 6})
    assert removed.things == {"frames": 2, "steps": 2, "outputs": 1, "originals": 1, "assets": 1}
    assert removed.bytes["originals"] == len(b"asset 1")


class Killed(BaseException):
    """As if the process were gone."""


def _dying(monkeypatch: pytest.MonkeyPatch, after: int) -> Callable[[], int]:
    """Whatever changes the storage counts; at one of these moments the process dies: before, amid or behind it."""
    steps = itertools.count()
    counted = [0]

    def dying(work: Callable[..., Any], amid: Callable[..., None] | None = None) -> Callable[..., Any]:
        def step(*arguments: Any, **named: Any) -> Any:
            for moment in ("before", "amid", "behind"):
                counted[0] = number = next(steps)
                if moment == "amid" and number == after and amid is not None:
                    amid(*arguments)
                if moment == "behind":
                    result = work(*arguments, **named)
                if number == after:
                    raise Killed
            return result

        return step

    for name, amid in (("write_bytes", None), ("create_bytes", None), ("remove_tree", _half_removed)):
        monkeypatch.setattr(Storage, name, dying(getattr(Storage, name), amid))
    monkeypatch.setattr(datasets.condemned, "_move", dying(datasets.condemned._move))
    return lambda: counted[0]


def _half_removed(storage: Storage, relative: str) -> None:
    path = storage.local_path(relative)
    files = sorted(each for each in path.rglob("*") if each.is_file()) if path is not None and path.is_dir() else []
    for each in files[: len(files) // 2]:
        each.unlink()


def test_killed_at_any_step_nothing_is_lost_and_nothing_half_gone_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = made.left(FULL)
    after, reached = 0, 1
    while after <= reached:
        folder = tmp_path / str(after)
        folder.mkdir()
        ledger, now = new_ledger(folder / "ledger.db"), made.a_moment()
        storage = open_storage(str(folder / "store"), "anna")
        made.build(FULL, storage, ledger, now)
        retention = Retention(storage, ledger, RULES, lease_s=1.0, clock=lambda now=now: now)  # type: ignore[misc]
        with monkeypatch.context() as patched:
            count = _dying(patched, after)
            try:
                retention.run()
            except Killed:
                pass
            else:
                assert after > count()
            reached = max(reached, count())
        midway = made.found(FULL, storage)
        assert midway.outputs >= expected.outputs
        assert midway.framed >= expected.framed
        assert midway.assets >= expected.assets
        retention.run()
        assert made.found(FULL, storage) == expected, after
        retention.run()
        assert not made.rubbish(storage)
        ledger.close()
        after += 1
    assert after > 60  # there was something to kill
