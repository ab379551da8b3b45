"""What was used, against sums that were worked out by hand from the made ledger."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from datasets.facts import Facts
from datasets.ledger import open_ledger
from datasets.storage import open_storage
from flows.usage import PERIODS, usage
from tests.datasets import made_ledger
from tests.datasets.ledger_rows import an_item, new_ledger, new_ledger_url
from tests.datasets.made_ledger import MONDAY, TENANT, TUESDAY


@pytest.fixture(params=["sqlite", "postgresql"])
def facts(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Facts]:
    ledger = open_ledger(new_ledger_url(request, request.param, tmp_path))
    made_ledger.fill(ledger)
    made_ledger.fill(ledger, "berta")
    yield Facts(ledger, open_storage(str(tmp_path / "store"), TENANT))
    ledger.close()


def test_days_and_hours_add_up(facts: Facts) -> None:
    monday, tuesday = usage(facts, "day").to_dicts()
    # Monday's items took 4 (shoe), 10 (vase) and 0.5 s (sock): the median is 4; 95 of 100 is 0.9 of the way from
    # 4 to 10, so 9.4; 99 of 100 is 0.98 of it, so 9.88.
    assert monday == {
        "tenant": "anna", "period": datetime(2026, 5, 4, tzinfo=UTC), "items": 3, "delivered": 2, "frames": 2,
        "stages": 5, "cached": 0, "errors": 1, "seconds": 14.5, "cost_usd": Decimal("0.079999"), "p50_s": 4.0,
        "p95_s": pytest.approx(9.4), "p99_s": pytest.approx(9.88),
    }  # fmt: skip
    # Tuesday's took 0.5 (shoe) and 20 s (a clip of 48 frames): half way 10.25.
    assert tuesday == {
        "tenant": "anna", "period": datetime(2026, 5, 5, tzinfo=UTC), "items": 2, "delivered": 2, "frames": 49,
        "stages": 3, "cached": 2, "errors": 0, "seconds": 20.5, "cost_usd": Decimal("0.000000"), "p50_s": 10.25,
        "p95_s": pytest.approx(19.025), "p99_s": pytest.approx(19.805),
    }  # fmt: skip
    hours = usage(facts, "hour")
    assert hours["period"].dt.hour().to_list() == [9, 10, 9]
    assert hours["items"].to_list() == [2, 1, 2]  # the vase's last stage began at 10:10
    assert hours["seconds"].to_list() == [6.5, 8.0, 20.5]
    assert [str(each) for each in hours["cost_usd"]] == ["0.079999", "0.000000", "0.000000"]


@pytest.fixture
def small(tmp_path: Path) -> Facts:
    ledger = new_ledger(tmp_path / "ledger.db")
    made_ledger.fill(ledger)
    return Facts(ledger, open_storage(str(tmp_path / "store"), TENANT))


def test_a_week_begins_on_monday_and_a_month_on_its_first(small: Facts) -> None:
    assert usage(small, "week").select("period", "items").rows() == [(datetime(2026, 5, 4, tzinfo=UTC), 5)]
    assert usage(small, "month").select("period", "items").rows() == [(datetime(2026, 5, 1, tzinfo=UTC), 5)]


def test_only_what_came_since_counts(small: Facts) -> None:
    found = usage(small, "day", since=TUESDAY)
    assert found.select("period", "items", "stages").rows() == [(datetime(2026, 5, 5, tzinfo=UTC), 2, 3)]
    late = usage(small, "day", since=MONDAY + timedelta(minutes=30))  # the vase's cutout and all that came after
    assert late.select("items", "stages", "errors").rows() == [(1, 1, 0), (2, 3, 0)]
    assert usage(small, "day", since=TUESDAY + timedelta(days=1)).is_empty()


def test_an_item_without_a_stage_counts_where_its_run_began(small: Facts) -> None:
    with small.ledger.session(TENANT) as session:
        session.save_items("mon", [an_item("gone", 9, "mon")])
        session.finish_item("mon", "gone", "failed", [])
    assert usage(small, "day")["items"].to_list() == [4, 2]
    assert usage(small, "day")["p50_s"][0] == 4.0  # of it nobody knows how long it took


@pytest.mark.parametrize("period", PERIODS)
def test_nothing_is_nothing(period: str, tmp_path: Path) -> None:
    facts = Facts(new_ledger(tmp_path / "ledger.db"), open_storage(str(tmp_path), TENANT))
    assert usage(facts, period).is_empty()  # type: ignore[arg-type]
