"""Retention: what is held is left, what is not goes; compared with reachability worked out on the world itself."""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sqlalchemy import Column, MetaData, String, Table, Text

import datasets.condemned
from datasets.assets import put_asset, put_asset_file
from datasets.errors import LeaseBusyError
from datasets.ledger import Ledger
from datasets.ledger.retention_rows import catalogue_tables
from datasets.object_store import object_store_options
from datasets.settings import read_settings
from datasets.storage import Storage, open_storage
from flows.retention import Retention
from tests.datasets.ledger_rows import a_stage, an_output, new_ledger
from tests.flows import retention_world as made
from tests.flows.retention_world import RULES, Item, Output, Run, World
from tests.s3_server import S3Server

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


@settings(
    max_examples=25,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
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


def _die(monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    """Whatever changes the storage counts; at one of these moments the process dies: before, amid or behind it."""
    steps = itertools.count()

    def dying(work: Callable[..., Any], amid: Callable[..., None] | None = None) -> Callable[..., Any]:
        def step(*arguments: Any, **named: Any) -> Any:
            for moment in ("before", "amid", "behind"):
                number = next(steps)
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


def _half_removed(storage: Storage, relative: str) -> None:
    path = storage.local_path(relative)
    files = sorted(each for each in path.rglob("*") if each.is_file()) if path is not None and path.is_dir() else []
    for each in files[: len(files) // 2]:
        each.unlink()


@pytest.mark.parametrize("stride", [11, pytest.param(1, marks=pytest.mark.slow)])
def test_killed_at_any_step_nothing_is_lost_and_nothing_half_gone_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stride: int
) -> None:
    expected = made.left(FULL)
    for after in itertools.count(0, stride):
        folder = tmp_path / str(after)
        folder.mkdir()
        ledger, now = new_ledger(folder / "ledger.db"), made.a_moment()
        storage = open_storage(str(folder / "store"), "anna")
        made.build(FULL, storage, ledger, now)
        retention = Retention(storage, ledger, RULES, clock=partial(datetime.fromtimestamp, now.timestamp(), UTC))
        is_killed = _killed_at(after, retention, monkeypatch)
        midway = made.found(FULL, storage)
        assert midway.outputs >= expected.outputs, after
        assert midway.framed >= expected.framed
        assert midway.assets >= expected.assets
        retention.run()
        assert made.found(FULL, storage) == expected, after
        assert not made.rubbish(storage)
        ledger.close()
        if not is_killed:
            break
    assert after > 60  # there was something to kill


def _killed_at(after: int, retention: Retention, monkeypatch: pytest.MonkeyPatch) -> bool:
    with monkeypatch.context() as patched:
        _die(patched, after)
        try:
            retention.run()
        except Killed:
            return True
    return False


# beside runs


def test_what_a_run_beside_it_may_have_found_waits_for_its_end(place: tuple[Storage, Ledger]) -> None:
    storage, ledger = place
    now = made.a_moment()
    world = replace(FULL, runs=(*FULL.runs, Run(ended=None, items=(Item(status=None),))))
    made.build(world, storage, ledger, now)
    retention = Retention(storage, ledger, RULES, clock=lambda: now)
    assert (retention.run().waiting, retention.run().waiting) == (5, 5)
    gone = made.found(world, storage)
    assert gone.outputs == {0, 1, 2, 6, 7}
    assert made.rubbish(storage)
    with ledger.session("anna") as session:
        session.finish_run("run-3", "delivered")
    assert retention.run().things == {"steps": 2, "outputs": 1, "originals": 1, "assets": 1}
    assert not made.rubbish(storage)


def test_what_somebody_holds_again_is_put_back(place: tuple[Storage, Ledger]) -> None:
    storage, ledger = place
    now = made.a_moment()
    world = replace(FULL, runs=(*FULL.runs, Run(ended=None, items=(Item(status=None),))))
    made.build(world, storage, ledger, now)
    retention = Retention(storage, ledger, RULES, clock=lambda: now)
    retention.run()
    with ledger.session("anna") as session:  # it had found them just before
        session.record_stage(a_stage("late", "run-3", item="item-0", fingerprint=made.fingerprint(5), started_at=now))
    assert retention.run().restored == 3
    left = made.found(world, storage)
    assert (left.outputs, left.assets) == ({0, 1, 2, 3, 5, 6, 7}, {0, 1, 2, 3, 4, 6})


def test_an_output_that_is_being_made_is_left_alone(place: tuple[Storage, Ledger]) -> None:
    storage, ledger = place
    now = made.a_moment()
    made.build(FULL, storage, ledger, now)
    with ledger.lease("anna", made.fingerprint(4)):
        removed = Retention(storage, ledger, RULES, clock=lambda: now).run()
    assert (removed.busy, removed.things["steps"]) == (1, 1)
    assert 4 in made.found(FULL, storage).outputs


def test_an_output_made_anew_meanwhile_stays(place: tuple[Storage, Ledger]) -> None:
    storage, ledger = place
    now = made.a_moment()
    world = replace(FULL, runs=(*FULL.runs, Run(ended=None, items=(Item(status=None),))))
    made.build(world, storage, ledger, now)
    retention = Retention(storage, ledger, RULES, clock=lambda: now)
    retention.run()
    made.make(storage, 5, Output(frames=False, age=0), now)
    with ledger.session("anna") as session:
        session.finish_run("run-3", "failed")
    retention.run()
    assert 5 in made.found(world, storage).outputs


def test_an_original_that_is_put_again_counts_as_new(place: tuple[Storage, Ledger]) -> None:
    storage, ledger = place
    now = made.a_moment()
    made.build(FULL, storage, ledger, now)
    put_asset(storage, made.content(5))
    file = Path("one.jpg")
    file.write_bytes(made.content(1))
    put_asset_file(storage, file)
    Retention(storage, ledger, RULES, clock=lambda: now).run()
    assert made.found(FULL, storage).assets == {0, 1, 2, 3, 4, 5, 6}


def test_only_one_pass_at_a_time(place: tuple[Storage, Ledger]) -> None:
    storage, ledger = place
    with ledger.lease("anna", "retention"), pytest.raises(LeaseBusyError, match="another upkeep"):
        Retention(storage, ledger, RULES).run()


def test_live_rows_of_a_catalogue_hold_what_they_name() -> None:
    own = MetaData()
    row = [Column("sku", Text), Column("retired_at", Text), Column("asset_digest", String(64)), Column("run_id", Text)]
    table = Table("catalogue_items", own, *row)
    Table("catalogue_runs", own, Column("run_id", Text))
    Table("runs", own, Column("run_id", Text))
    assert catalogue_tables(own) == [table]


# elsewhere


def test_the_same_in_an_object_store(s3_root: S3Server, tmp_path: Path) -> None:
    """Where files cannot be made old, the clock is set on: everything there is 200 days old."""
    storage = open_storage(s3_root.url, "anna", object_store_options(read_settings()))
    ledger, later = new_ledger(tmp_path / "ledger.db"), made.a_moment() + timedelta(days=200)
    aged = replace(
        FULL,
        outputs=tuple(replace(each, age=200) for each in FULL.outputs),
        assets=tuple(200 for _ in FULL.assets),
        runs=(*FULL.runs, Run(ended=None, items=(Item(status=None),))),
    )
    made.build(aged, storage, ledger, later)
    retention = Retention(storage, ledger, RULES, clock=lambda: later)
    assert retention.run().waiting == 7
    with ledger.session("anna") as session:
        session.record_stage(a_stage("late", "run-3", item="item-0", fingerprint=made.fingerprint(5), started_at=later))
    assert retention.run().restored == 3
    with ledger.session("anna") as session:
        run = replace(session.find_run("run-3"), status="failed", finished_at=later)
        session.start_run(run)
        session.record_output(an_output("/out/x", "run-3", item="item-0", fingerprint=made.fingerprint(5)))
    retention.run()
    expected = made.left(replace(aged, runs=(*FULL.runs, Run(0, (Item("failed", (5,), (5,)),)))))
    assert made.found(aged, storage) == expected
    assert not made.rubbish(storage)
    ledger.close()
