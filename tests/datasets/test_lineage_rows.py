"""Records and events in the ledger, on both kinds of database."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from datasets.ledger import Ledger
from datasets.ledger.lineage_rows import LineageRow, OutboxRow
from tests.datasets.ledger_rows import DIGEST, NOW, two_tenants

ROW = LineageRow(DIGEST, "c1" * 32, "5e" * 32, None, "run-1", "cd" * 32, "{}", NOW)


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ledger]:
    with two_tenants(request, tmp_path, "run-1") as opened:
        yield opened


def test_the_first_record_of_a_core_stays_and_another_core_has_its_own(ledger: Ledger) -> None:
    later = replace(ROW, sealed="6f" * 32, record='{"later": 1}', recorded_at=NOW + timedelta(days=1))
    other = replace(later, core="c2" * 32, unsigned_sha256="ef" * 32)
    with ledger.session("anna") as session:
        assert session.record_lineage(ROW) == ROW
        assert session.record_lineage(later) == ROW
        assert session.record_lineage(other) == other
    with ledger.session("anna", read_only=True) as session:
        assert session.lineage_of(DIGEST) == [other, ROW]
        assert session.signed_from("ef" * 32) == [other]
        assert session.lineage_of("00" * 32) == []
    with ledger.session("bert", read_only=True) as session:
        assert session.lineage_of(DIGEST) == []


def test_events_wait_in_order_until_they_are_delivered(ledger: Ledger) -> None:
    events = [OutboxRow(f"event-{number}", "run-1", f'{{"n": {number}}}') for number in range(4)]
    with ledger.session("anna") as session:
        session.post_events(events[:2])
    with ledger.session("anna") as session:
        session.post_events(events)  # two of them again
    with ledger.session("anna") as session:
        session.mark_undelivered("event-0", "away")
        session.mark_delivered("event-1")
        waiting = session.waiting_events(10)
        assert [(event.event_id, event.attempts) for event in waiting] == [
            ("event-0", 1),
            ("event-2", 0),
            ("event-3", 0),
        ]
        assert session.waiting_events(1, after=waiting[0].position) == [waiting[1]]
    with ledger.session("bert", read_only=True) as session:
        assert session.waiting_events(10) == []
