"""``stillmotion stats``, called as a user does."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from deployments.cli.main import stillmotion
from tests.datasets import made_ledger
from tests.datasets.ledger_rows import new_ledger


@pytest.fixture(autouse=True)
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made_ledger.fill(new_ledger(tmp_path / "ledger.db"))
    monkeypatch.setenv("STILLMOTION_LEDGER_URL", f"sqlite:///{tmp_path / 'ledger.db'}")


def stats(*options: str) -> Result:
    return CliRunner().invoke(stillmotion, ["stats", "--tenant", "anna", *options])


def test_a_table_with_points_below_each_other() -> None:
    lines = [line.rstrip() for line in stats().output.splitlines()]
    assert lines == [
        "day         items  delivered  frames  seconds  cost (USD)  errors  p50 s  p95 s  p99 s",
        "2026-05-04      3          2       2    14.50    0.079999       1   4.00   9.40   9.88",
        "2026-05-05      2          2      49    20.50    0.000000       0  10.25  19.02  19.80",
    ]


def test_the_document_says_the_same() -> None:
    document = json.loads(stats("--by", "month", "--json").output)
    (month,) = document["periods"]
    assert (document["tenant"], document["by"], month["period"]) == ("anna", "month", "2026-05-01T00:00:00+00:00")
    assert (month["items"], month["frames"], month["seconds"], month["cost_usd"]) == (5, 51, 35.0, "0.079999")


def test_since_and_nothing() -> None:
    assert len(stats("--since", "2026-05-05").output.splitlines()) == 2
    assert "nothing was done" in stats("--since", "2027-01-01").output
    wrong = stats("--since", "yesterday")
    assert "ISO 8601" in str(wrong.exception)
