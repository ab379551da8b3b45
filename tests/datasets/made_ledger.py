"""A small ledger made for sums: every number that its tests expect was added up by hand from the rows below."""

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import text

from datasets.ledger import Avoided, GateRecord, Ledger, RunRecord
from datasets.ledger.lineage_rows import LineageRow
from datasets.ledger.tables import stage_runs
from datasets.ledger.transactions import transaction
from tests.datasets.ledger_rows import a_run, a_stage, an_error, an_item, an_output
from tests.datasets.spend_facts import ANSWER, Clock, key_of, wish, yours

TENANT = "anna"
MONDAY = datetime(2026, 5, 4, 9, 30, tzinfo=UTC)
TUESDAY = MONDAY + timedelta(days=1)

# run, item, stage, seconds, cached, minutes after the run's start, error
STAGES: list[tuple[str, str, str, float, bool, int, str | None]] = [
    ("mon", "shoe", "intake", 1.0, False, 0, None),
    ("mon", "shoe", "cutout", 3.0, False, 1, None),
    ("mon", "vase", "intake", 2.0, False, 2, None),
    ("mon", "vase", "cutout", 8.0, False, 40, None),  # 10:10, the next hour
    ("mon", "sock", "intake", 0.5, False, 3, "unreadable"),
    ("tue", "shoe", "intake", 0.25, True, 0, None),
    ("tue", "shoe", "cutout", 0.25, True, 1, None),
    ("tue", "clip", "decode", 20.0, False, 5, None),
]


def run_of(name: str, at: datetime, seconds: float | None, **facts: Any) -> RunRecord:
    ended = None if seconds is None else at + timedelta(seconds=seconds)
    return a_run(name, recipe="packshot", started_at=at, finished_at=ended, heartbeat_at=at, **facts)


def fill(ledger: Ledger, tenant: str = TENANT) -> None:
    """Monday: shoe and vase delivered, sock failed, one purchase. Tuesday: shoe again, a clip of 48 frames."""
    with ledger.session(tenant) as session:
        session.start_run(run_of("mon", MONDAY, 2400.0, status="failed"))
        session.start_run(run_of("tue", TUESDAY, None))
        for run, names in (("mon", ("shoe", "vase", "sock")), ("tue", ("shoe", "clip"))):
            session.save_items(run, [an_item(name, at, run) for at, name in enumerate(names)])
        for run, name, status in (
            ("mon", "shoe", "delivered"), ("mon", "vase", "delivered"), ("mon", "sock", "failed"),
            ("tue", "shoe", "delivered"), ("tue", "clip", "delivered"),
        ):  # fmt: skip
            session.finish_item(run, name, status, [])
        for number, (run, item, stage, seconds, cached, minutes, error) in enumerate(STAGES):
            started = (MONDAY if run == "mon" else TUESDAY) + timedelta(minutes=minutes)
            session.record_stage(
                a_stage(f"stage-{number}", run, item=item, stage=stage, seconds=seconds, cached=cached,
                        started_at=started, error_code=error, position=number)
            )  # fmt: skip
        session.record_output(an_output("/out/shoe-cutout.png", "mon", item="shoe"))
        session.record_output(
            an_output("/out/shoe-packshot.png", "mon", item="shoe", role="packshot", sha256="0a" * 32)
        )
        session.record_output(an_output("/out/vase-cutout.png", "mon", item="vase", sha256="0b" * 32))
        session.record_output(an_output("/out/shoe-cutout.png", "tue", item="shoe"))
        session.record_output(
            an_output("/out/clip.mp4", "tue", item="clip", role="clip", sha256="0c" * 32, extra={"frames": 48})
        )
        session.record_error(an_error("error-1", "mon", item="sock", stage="intake", code="unreadable", at=MONDAY))
        session.record_gate(
            GateRecord("mon", "shoe", "gate", "spend", "ef" * 32, "pass", False,
                       {"sharpness": 12.5, "width": 640, "format": "png"}, [], MONDAY)
        )  # fmt: skip
        session.record_gate(
            GateRecord("mon", "vase", "gate", "spend", "fe" * 32, "warn", False, {"sharpness": 3.5}, [], MONDAY)
        )
        session.record_lineage(LineageRow("ab" * 32, "11" * 32, "22" * 32, None, "mon", "cd" * 32, '{"a": 1}', MONDAY))
        session.record_inputs("cd" * 32, [("asset", "99" * 32)])
    _buy(ledger, tenant)


def _buy(ledger: Ledger, tenant: str) -> None:
    """Monday: 0.040000 US dollars for the shoe, 0.039999 for a guard's look at the vase. Tuesday: 0.04 avoided."""
    for name, price, guard in (("shoe", 40_000, False), ("vase", 39_999, True)):
        with ledger.spending(tenant, clock=Clock(MONDAY)) as spending:
            wanted = wish(name, run_id="mon", price_micro_usd=price, guard=guard, purchase_key=key_of(name, tenant))
            sent = spending.sent(yours(spending.claim(wanted)))
            spending.settle(sent, charged_micro_usd=price, reference=f"ref-{name}", response=ANSWER)
    with ledger.spending(tenant, clock=Clock(TUESDAY)) as spending:
        key = key_of("shoe", tenant)
        spending.avoid(Avoided("tue", "shoe", key, "cache_hit", 40_000, {"purchase": key}))


def add_stages(ledger: Ledger, tenant: str, run: str, count: int) -> None:
    """Many rows of stages of one run, made by the database itself out of one."""
    with ledger.session(tenant) as session:
        session.record_stage(a_stage(f"{run}-0", run, item="item-0"))
    columns = [column.name for column in stage_runs.columns]
    made = {"stage_run_id": f"'{run}-' || n", "item": "'item-' || n % 1000", "seconds": "n % 7 + 0.5"}
    values = ", ".join(made.get(name, name) for name in columns)
    numbers = f"WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {count - 1})"
    rows = f"SELECT {values} FROM numbers, stage_runs WHERE stage_run_id = '{run}-0'"
    with transaction(ledger.engine, tenant) as connection:
        connection.execute(text(f"INSERT INTO stage_runs ({', '.join(columns)}) {numbers} {rows}"))
