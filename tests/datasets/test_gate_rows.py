"""What gates said and what is in quarantine, on both kinds of database."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from datasets.errors import NotFoundError
from datasets.ledger import GateRecord, Ledger, QuarantineRecord
from tests.datasets.ledger_rows import DIGEST, NOW, two_tenants

SAID = GateRecord(
    run_id="run-1",
    item="cup",
    step="stage_1",
    gate="intake",
    picture=DIGEST,
    decision="stop",
    released=False,
    measures={"sharpness": 3.5, "short_side": 640},
    expectations=[{"expectation": "sharp", "measure": "sharpness", "observed": 3.5, "success": False}],
    at=NOW,
)
REASON = {"code": "sharp", "message": "sharp: sharpness is 3.5", "facts": {"observed": 3.5}, "level": "error"}
HELD = QuarantineRecord("ab" * 32, "run-1", "cup", "/photos/cup.png", DIGEST, "intake", DIGEST, [REASON], NOW)


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ledger]:
    with two_tenants(request, tmp_path, "run-1", "run-2") as opened:
        yield opened


def test_what_a_gate_said_comes_back_and_the_last_word_of_a_run_counts(ledger: Ledger) -> None:
    later = replace(SAID, step="stage_4", gate="spend", at=NOW + timedelta(seconds=1))
    passed = replace(SAID, decision="stop", released=True)
    with ledger.session("anna") as session:
        for record in (SAID, later, passed, replace(SAID, run_id="run-2")):
            session.record_gate(record)
    with ledger.session("anna", read_only=True) as session:
        assert session.gate_records("run-1") == [passed, later]
    with ledger.session("bert", read_only=True) as session:
        assert session.gate_records("run-1") == []


def test_what_is_stopped_again_is_held_once_with_its_newest_reasons(ledger: Ledger) -> None:
    again = replace(HELD, run_id="run-2", reasons=[], stopped_at=NOW + timedelta(days=1))
    other = replace(HELD, hold_key="cd" * 32, item="mug")
    with ledger.session("anna") as session:
        for record in (HELD, other, again):
            session.put_in_quarantine(record)
    with ledger.session("anna", read_only=True) as session:
        assert session.quarantined() == [again, other]
        assert session.held(item="mug") == [other]
        assert not session.is_released(HELD.hold_key)
    with ledger.session("bert", read_only=True) as session:
        assert session.held() == []


def test_what_is_released_stays_so_and_says_who_first_did_it(ledger: Ledger) -> None:
    with ledger.session("anna") as session:
        session.put_in_quarantine(HELD)
    before = datetime.now(UTC)
    with ledger.session("anna") as session:
        released = session.release(HELD.hold_key, by="eva", why="it is a matt product")
        assert session.release(HELD.hold_key, by="otto", why="me too") == released
        session.put_in_quarantine(replace(HELD, run_id="run-2", reasons=[]))
    assert released.released_at is not None
    assert before <= released.released_at <= datetime.now(UTC)
    with ledger.session("anna", read_only=True) as session:
        assert session.held() == [released]
        assert (released.released_by, released.why) == ("eva", "it is a matt product")
        assert session.is_released(HELD.hold_key)
        assert session.quarantined() == []


def test_a_stranger_releases_nothing(ledger: Ledger) -> None:
    with ledger.session("anna") as session:
        session.put_in_quarantine(HELD)
    with ledger.session("bert") as session, pytest.raises(NotFoundError):
        session.release(HELD.hold_key, by="bert", why="mine")
    with ledger.session("anna", read_only=True) as session:
        assert session.quarantined() == [HELD]
