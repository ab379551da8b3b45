"""Sessions of the ledger: what is written comes back, to the tenant that wrote it and to nobody else."""

import json
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError, StatementError

from datasets.errors import NotFoundError, StorageUnavailableError, UsageError
from datasets.ledger import Ledger, LedgerSession, open_ledger
from datasets.ledger.approval_rows import ApprovalRows
from datasets.ledger.catalogue_rows import CatalogueRows
from datasets.ledger.gate_rows import GateRows
from datasets.ledger.lineage_rows import LineageRows
from datasets.ledger.model_rows import ModelRows
from datasets.ledger.routing_rows import RoutingRows
from datasets.ledger.run_sums import RunSums
from datasets.ledger.tables import json_ready, tenant_tables
from datasets.ledger.transactions import transaction
from tests.datasets.ledger_rows import (
    DIGEST,
    NOW,
    a_run,
    a_stage,
    an_error,
    an_item,
    an_output,
    new_ledger,
    new_ledger_url,
)

FIVE_MINUTES = timedelta(minutes=5)


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ledger]:
    opened = open_ledger(new_ledger_url(request, request.param, tmp_path))
    yield opened
    opened.close()


@pytest.fixture
def session(ledger: Ledger) -> Iterator[LedgerSession]:
    with ledger.session("default") as opened:
        yield opened


@pytest.fixture
def begun(session: LedgerSession) -> LedgerSession:
    session.start_run(a_run())
    return session


# what is written comes back


def test_a_run_comes_back_as_written(session: LedgerSession) -> None:
    run = a_run(flow_run_id="flow-1", parameters={"ä": [1, 2.5, None, True, {"deep": "✓"}]}, summary={"items": {}})
    session.start_run(run)
    assert session.find_run("run-1") == run
    assert session.runs() == [run]


def test_a_time_of_another_zone_comes_back_as_the_same_moment_in_utc(session: LedgerSession) -> None:
    session.start_run(a_run(started_at=NOW.astimezone(timezone(timedelta(hours=-9, minutes=-30)))))
    found = session.find_run("run-1").started_at
    assert (found, found.tzinfo) == (datetime(2026, 5, 4, 12, 0, 0, 123456, tzinfo=UTC), UTC)


def test_a_run_is_linked_beats_and_finishes(begun: LedgerSession) -> None:
    begun.start_run(a_run("run-2"))
    before = datetime.now(UTC)
    begun.link_flow_run("run-1", "flow-9")
    begun.beat("run-1")
    begun.finish_run("run-1", "delivered", {"items": {"delivered": 2}})
    after = datetime.now(UTC)
    found = begun.find_run("run-1")
    assert found.finished_at is not None
    assert before <= found.heartbeat_at <= found.finished_at <= after
    changed = replace(
        a_run(),
        flow_run_id="flow-9",
        heartbeat_at=found.heartbeat_at,
        finished_at=found.finished_at,
        status="delivered",
        summary={"items": {"delivered": 2}},
    )
    assert found == changed
    assert begun.find_run("run-2") == a_run("run-2")


def test_a_run_begun_again_keeps_when_it_first_began(begun: LedgerSession) -> None:
    begun.save_items("run-1", [an_item()])
    begun.finish_run("run-1", "crashed", {"message": "gone"})
    later = NOW + timedelta(hours=1)
    again = a_run(started_at=later, heartbeat_at=later, pid=77, version="0.2.0")
    begun.start_run(again)
    assert begun.runs() == [replace(again, started_at=NOW)]
    assert begun.items("run-1") == [an_item()]


def test_items_come_back_in_their_order_and_known_ones_stay(begun: LedgerSession) -> None:
    begun.save_items("run-1", [an_item("b", 0), an_item("a", 1)])
    begun.finish_item("run-1", "a", "stopped", [{"code": "blurred", "facts": {"sharpness": 0.5}}], DIGEST)
    begun.save_items("run-1", [an_item("c", 2), an_item("a", 1), an_item("b", 0)])
    begun.save_items("run-1", [])
    stopped = an_item(
        "a", 1, status="stopped", reasons=[{"code": "blurred", "facts": {"sharpness": 0.5}}], asset_digest=DIGEST
    )
    assert begun.items("run-1") == [an_item("b", 0), stopped, an_item("c", 2)]


def test_stages_come_back_by_time_and_position(begun: LedgerSession) -> None:
    late = a_stage("s1", started_at=NOW + timedelta(seconds=9), position=0)
    second, first = a_stage("s2", position=2), a_stage("s3", position=1)
    for stage in (late, second, first):
        begun.record_stage(stage)
    assert begun.stages("run-1") == [first, second, late]


def test_an_output_delivered_again_replaces_its_row(begun: LedgerSession) -> None:
    begun.record_output(an_output("/out/b.png"))
    begun.record_output(an_output("/out/a.png"))
    again = an_output("/out/b.png", sha256="ef" * 32, bytes=1, extra={"new": True}, role="packshot")
    begun.record_output(again)
    assert begun.outputs("run-1") == [an_output("/out/a.png"), again]


def test_how_far_an_item_is_can_be_polled(begun: LedgerSession) -> None:
    begun.save_items("run-1", [an_item("boot"), an_item("shoe", 1)])
    begun.note_percent("run-1", "shoe", 41.5)
    assert [item.percent for item in begun.items("run-1")] == [None, 41.5]


def test_errors_come_back_in_time(begun: LedgerSession) -> None:
    late, early = an_error("e1", at=NOW + timedelta(days=1)), an_error("e2", item=None, stage=None, facts={})
    begun.record_error(late)
    begun.record_error(early)
    assert begun.errors("run-1") == [early, late]


def test_inputs_come_back_in_their_order_and_stay_as_first_written(session: LedgerSession) -> None:
    inputs = [("asset", "ff" * 32), ("weights", "00" * 32), ("asset", "ff" * 32)]
    session.record_inputs(DIGEST, inputs)
    session.record_inputs(DIGEST, [("asset", "11" * 32)])
    session.record_inputs("cd" * 32, [])
    assert session.inputs_of(DIGEST) == inputs
    assert session.inputs_of("cd" * 32) == []


def test_executions_count_what_was_computed_to_its_end(begun: LedgerSession) -> None:
    stages = [
        a_stage("computed"),
        a_stage("computed again"),
        a_stage("cached", cached=True),
        a_stage("failed", error_code="x"),
        a_stage("skipped", skipped="large enough"),
        a_stage("another", fingerprint="cd" * 32),
    ]
    for stage in stages:
        begun.record_stage(stage)
    assert (begun.executions(DIGEST), begun.executions("cd" * 32), begun.executions("ef" * 32)) == (2, 1, 0)


def test_text_that_no_database_can_hold_is_spelled_out(begun: LedgerSession) -> None:
    name = os.fsdecode(b"/in/sch\xf6n.jpg")  # a Latin-1 name on a UTF-8 system
    begun.save_items("run-1", [an_item(source=name)])
    begun.record_output(an_output(name))
    begun.record_output(an_output(name, bytes=7))
    begun.record_error(an_error(message="a\0b", facts={"path": name, "\0": 1}))
    assert begun.items("run-1")[0].source == r"/in/sch\udcf6n.jpg"
    assert [(output.path, output.bytes) for output in begun.outputs("run-1")] == [(r"/in/sch\udcf6n.jpg", 7)]
    assert begun.errors("run-1")[0].message == r"a\x00b"
    assert begun.errors("run-1")[0].facts == {"path": r"/in/sch\udcf6n.jpg", r"\x00": 1}


def test_facts_become_what_json_can_hold() -> None:
    facts = {1: (Path("/a"), {2.5}), "n": [float("nan"), float("-inf"), 1.5, np.float64(0.25)], "none": None}
    ready = json_ready(facts)
    assert ready == {"1": ["/a", "{2.5}"], "n": ["nan", "-inf", 1.5, 0.25], "none": None}
    assert json.loads(json.dumps(ready, allow_nan=False)) == ready


@pytest.mark.parametrize("field", ["started_at", "heartbeat_at", "finished_at"])
def test_a_time_without_a_zone_is_refused(ledger: Ledger, field: str) -> None:
    naive: Any = NOW.replace(tzinfo=None)
    with pytest.raises(StatementError, match="times with a zone"), ledger.session("default") as session:
        session.start_run(replace(a_run(), **{field: naive}))
    with ledger.session("default") as session:
        assert session.runs() == []


@pytest.mark.parametrize(
    "write",
    [
        lambda session: session.save_items("nowhere", [an_item(run_id="nowhere")]),
        lambda session: session.record_stage(a_stage(run_id="nowhere")),
        lambda session: session.record_output(an_output(run_id="nowhere")),
        lambda session: session.record_error(an_error(run_id="nowhere")),
    ],
)
def test_nothing_is_written_for_a_run_that_is_not_there(ledger: Ledger, write: Callable[[LedgerSession], None]) -> None:
    with pytest.raises(IntegrityError), ledger.session("default") as session:
        write(session)


def test_a_session_that_fails_leaves_nothing(ledger: Ledger) -> None:
    def fail(session: LedgerSession) -> None:
        session.start_run(a_run())
        session.save_items("run-1", [an_item()])
        assert session.items("run-1") == [an_item()]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), ledger.session("default") as session:
        fail(session)
    with ledger.session("default") as session:
        assert session.runs() == []
        assert session.items("run-1") == []


# finding a run


def test_the_latest_runs_come_first(session: LedgerSession) -> None:
    for number, hours in enumerate((2, 3, 1)):
        session.start_run(a_run(f"run-{number}", started_at=NOW + timedelta(hours=hours)))
    session.finish_run("run-1", "delivered")
    assert [run.run_id for run in session.runs()] == ["run-1", "run-0", "run-2"]
    assert [run.run_id for run in session.runs(limit=2)] == ["run-1", "run-0"]
    assert [run.run_id for run in session.runs(limit=1, status="running")] == ["run-0"]
    assert session.find_run("latest").run_id == "run-1"


def test_a_run_is_found_by_the_beginning_of_its_id(session: LedgerSession) -> None:
    for run_id in ("abc-1", "abd-2", "abc-10", "ABC-3"):
        session.start_run(a_run(run_id))
    assert session.find_run("abd").run_id == "abd-2"
    assert session.find_run("abc-10").run_id == "abc-10"
    assert session.find_run("abc-1").run_id == "abc-1"  # the whole id, though another one begins so
    assert session.find_run("A").run_id == "ABC-3"
    with pytest.raises(UsageError, match="several runs begin with 'abc'; give more") as caught:
        session.find_run("abc")
    assert caught.value.facts == {"run": "abc"}


@pytest.mark.parametrize("name", ["x", "bc", "%", "a%", "_", "ab_", "ab\\", "'", "abc-11", "latest", "\udcff", "\0"])
def test_a_run_that_is_not_there_is_not_found(session: LedgerSession, name: str) -> None:
    if name != "latest":
        session.start_run(a_run("abc-1"))
    with pytest.raises(NotFoundError, match="stillmotion runs") as caught:
        session.find_run(name)
    assert caught.value.facts == {"run": name}


@pytest.mark.parametrize("name", ["a%c", "a_c", "a\\c"])
def test_signs_of_a_pattern_stand_for_themselves(session: LedgerSession, name: str) -> None:
    session.start_run(a_run("abc"))
    session.start_run(a_run(name))
    assert session.find_run(name[:2]).run_id == name


# orphans


def dead_pid() -> int:
    process = subprocess.Popen(["true"])
    process.wait(10)
    return process.pid


@pytest.fixture
def neighbour() -> Iterator[int]:
    """The number of another process that lives."""
    with subprocess.Popen(["sleep", "60"]) as process:
        yield process.pid
        process.kill()


def test_a_run_whose_process_is_gone_is_closed_at_once(session: LedgerSession, neighbour: int) -> None:
    now = datetime.now(UTC)
    session.start_run(a_run("gone", pid=dead_pid(), heartbeat_at=now))
    session.start_run(a_run("mine", heartbeat_at=now))
    session.start_run(a_run("neighbour", pid=neighbour, heartbeat_at=now))
    session.start_run(a_run("ended", pid=dead_pid(), status="delivered"))
    assert session.close_orphans(FIVE_MINUTES) == ["gone"]
    gone = session.find_run("gone")
    assert (gone.status, gone.summary) == ("crashed", {"message": "its process is gone"})
    assert gone.finished_at is not None
    assert gone.finished_at >= now
    assert {run.run_id: run.status for run in session.runs()} == {
        "gone": "crashed",
        "mine": "running",
        "neighbour": "running",
        "ended": "delivered",
    }
    assert session.close_orphans(FIVE_MINUTES) == []


def test_a_run_of_another_host_is_closed_after_its_silence(session: LedgerSession) -> None:
    now = datetime.now(UTC)
    session.start_run(a_run("silent", host="elsewhere", heartbeat_at=now - timedelta(minutes=6)))
    session.start_run(a_run("heard", host="elsewhere", heartbeat_at=now - timedelta(minutes=4), pid=dead_pid()))
    assert session.close_orphans(FIVE_MINUTES) == ["silent"]


def test_a_number_used_again_does_not_keep_a_run_alive(session: LedgerSession) -> None:
    """In a container every start has the same number: the run was last heard of before this process began."""
    session.start_run(a_run(heartbeat_at=datetime(2001, 1, 1, tzinfo=UTC), started_at=datetime(2001, 1, 1, tzinfo=UTC)))
    assert session.close_orphans(FIVE_MINUTES) == ["run-1"]


def test_a_run_begun_again_by_a_later_process_lives(session: LedgerSession) -> None:
    session.start_run(a_run(started_at=datetime(2001, 1, 1, tzinfo=UTC), pid=dead_pid()))
    session.start_run(a_run(heartbeat_at=datetime.now(UTC)))
    assert session.find_run("run-1").started_at.year == 2001
    assert session.close_orphans(FIVE_MINUTES) == []


# tenants

Call = Callable[[LedgerSession], object]
# For every public method: what a stranger tries with another tenant's ids, and what comes of it. A reader of rows
# finds none; a writer that needs a run fails for want of one; any other writer writes rows of the stranger's own.
FOUND_NOTHING: dict[str, Call] = {
    "runs": lambda s: s.runs(limit=100),
    "runs_in": lambda s: s.runs_in(["running", "delivered"]),
    "items": lambda s: s.items("run-1"),
    "stages": lambda s: s.stages("run-1"),
    "outputs": lambda s: s.outputs("run-1"),
    "errors": lambda s: s.errors("run-1"),
    "inputs_of": lambda s: s.inputs_of(DIGEST),
    "executions": lambda s: s.executions(DIGEST),
    "close_orphans": lambda s: s.close_orphans(timedelta(0)),
}
REFUSED: dict[str, tuple[type[Exception], Call]] = {
    "find_run": (NotFoundError, lambda s: s.find_run("run-1")),
    "save_items": (IntegrityError, lambda s: s.save_items("run-1", [an_item("boot", 1)])),
    "record_stage": (IntegrityError, lambda s: s.record_stage(a_stage("stage-2"))),
    "record_output": (IntegrityError, lambda s: s.record_output(an_output(bytes=1))),
    "record_error": (IntegrityError, lambda s: s.record_error(an_error("error-2"))),
}
CHANGED_NOTHING_OF_OTHERS: dict[str, Call] = {
    "note_run": lambda s: s.note_run(a_run(status="late", recipe="theirs")),
    "pause_run": lambda s: s.pause_run("run-1", "paused", {}),
    "adopt_run": lambda s: s.adopt_run(a_run()),
    "start_run": lambda s: s.start_run(a_run(status="delivered", recipe="theirs")),
    "link_flow_run": lambda s: s.link_flow_run("run-1", "theirs"),
    "beat": lambda s: s.beat("run-1"),
    "finish_run": lambda s: s.finish_run("run-1", "failed"),
    "finish_item": lambda s: s.finish_item("run-1", "shoe", "failed", []),
    "note_percent": lambda s: s.note_percent("run-1", "shoe", 99.0),
    "record_inputs": lambda s: s.record_inputs(DIGEST, [("asset", "99" * 32)]),
}


def fill(session: LedgerSession) -> None:
    session.start_run(a_run(pid=dead_pid(), heartbeat_at=datetime(2001, 1, 1, tzinfo=UTC)))
    session.save_items("run-1", [an_item()])
    session.record_stage(a_stage())
    session.record_inputs(DIGEST, [("asset", "ff" * 32)])
    session.record_output(an_output())
    session.record_error(an_error())


def rows_of(ledger: Ledger, tenant: str) -> dict[str, list[Any]]:
    with transaction(ledger.engine, tenant) as connection:
        return {
            table.name: [tuple(row) for row in connection.execute(select(table).where(table.c.tenant_id == tenant))]
            for table in tenant_tables()
        }


@pytest.fixture
def filled(ledger: Ledger) -> Ledger:
    with ledger.session("anna") as session:
        fill(session)
    own_tests = {"leases", "purchases", "budgets", "avoided", "circuits", "secret_reads", "lineage_records", "outbox"}
    own_tests |= {"gate_results", "quarantine", "looks", "routing_decisions"}
    own_tests |= {"model_states", "model_processes", "model_events"}
    own_tests |= {"catalogues", "catalogue_rows", "catalogue_changes", "approvals", "approval_purchases"}
    assert {name for name, rows in rows_of(ledger, "anna").items() if not rows} == own_tests
    return ledger


def test_every_public_method_is_tried_by_a_stranger() -> None:
    public = {name for name in dir(LedgerSession) if not name.startswith("_")} - {
        *dir(LineageRows),
        *dir(GateRows),
        *dir(ModelRows),
        *dir(RoutingRows),
        *dir(CatalogueRows),
        *dir(ApprovalRows),
        *dir(RunSums),
        "save_notes",
    }  # which have their own
    assert public == {*FOUND_NOTHING, *REFUSED, *CHANGED_NOTHING_OF_OTHERS}


@pytest.mark.parametrize("name", FOUND_NOTHING)
def test_a_stranger_finds_nothing(filled: Ledger, name: str) -> None:
    before = rows_of(filled, "anna")
    with filled.session("bert") as stranger:
        assert FOUND_NOTHING[name](stranger) in ([], 0)
    assert rows_of(filled, "anna") == before
    with filled.session("anna") as owner:
        assert FOUND_NOTHING[name](owner) not in ([], 0)


@pytest.mark.parametrize("name", REFUSED)
def test_a_stranger_is_refused(filled: Ledger, name: str) -> None:
    before, (error, call) = rows_of(filled, "anna"), REFUSED[name]
    with pytest.raises(error), filled.session("bert") as stranger:
        call(stranger)
    assert rows_of(filled, "anna") == before
    with filled.session("anna") as owner:
        call(owner)


@pytest.mark.parametrize("name", CHANGED_NOTHING_OF_OTHERS)
def test_a_stranger_changes_nothing(filled: Ledger, name: str) -> None:
    before = rows_of(filled, "anna")
    with filled.session("bert") as stranger:
        CHANGED_NOTHING_OF_OTHERS[name](stranger)
    assert rows_of(filled, "anna") == before


def test_two_tenants_may_use_the_same_names(filled: Ledger) -> None:
    with filled.session("bert") as session:
        fill(session)
        session.finish_item("run-1", "shoe", "failed", [])
        session.finish_run("run-1", "failed")
    with filled.session("anna") as session:
        assert session.find_run("run-1").status == "running"
        assert session.items("run-1") == [an_item()]
    with filled.session("bert") as session:
        assert session.find_run("run-1").status == "failed"


@pytest.mark.parametrize("tenant", ["", "Anna", "a/b", "..", "a" * 64, "a\n", "é"])
def test_a_session_belongs_to_a_valid_tenant(ledger: Ledger, tenant: str) -> None:
    with pytest.raises(UsageError, match="not a valid name"), ledger.session(tenant):
        pytest.fail("opened")


# many at once


@pytest.mark.parametrize("place", ["file", "memory"])
def test_many_threads_lose_nothing(ledger: Ledger, place: str) -> None:
    books = ledger if place == "file" else open_ledger("sqlite:///:memory:")
    with books.session("default") as session:
        session.start_run(a_run())
    failures: list[BaseException] = []

    def write(thread: int) -> None:
        try:
            for number in range(50):
                with books.session("default") as session:
                    session.record_stage(a_stage(f"{thread}-{number}", position=thread * 50 + number))
        except BaseException as error:  # looked at below: an error in a thread is nobody's
            failures.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
    with books.session("default") as session:
        assert [stage.position for stage in session.stages("run-1")] == list(range(400))


def test_a_reader_does_not_wait_for_a_writer_and_cannot_write(tmp_path: Path) -> None:
    new_ledger(tmp_path / "ledger.db")
    books = open_ledger(f"sqlite:///{tmp_path / 'ledger.db'}")
    with books.session("default") as writer:
        writer.start_run(a_run())
        with books.session("default", read_only=True) as reader:  # at once, though the writer holds its lock
            assert reader.runs() == []
    with pytest.raises(StorageUnavailableError, match="readonly"), books.session("default", read_only=True) as reader:
        reader.finish_run("run-1", "delivered")
    with books.session("default") as session:
        assert session.find_run("run-1").status == "running"
    books.close()
