"""``stillmotion spend``: sums that add up, caps that hold, what is not known yet."""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from datasets.errors import NotFoundError, UsageError
from datasets.ledger import Avoided, Ledger, OverBudget, Yours, open_ledger
from datasets.money import dollars
from datasets.settings import read_settings
from deployments.cli.spending import EMPTY, spend
from flows.spending import micro_usd_of
from tests.datasets.spend_facts import ANSWER, Clock, die, key_of, wish, yours

ROOT = Path(__file__).parents[2]
TENANT = "anna"
EVIDENCE = {"purchase": "ab" * 32}


@pytest.fixture(autouse=True)
def _tenant(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STILLMOTION_TENANT", TENANT)


@pytest.fixture
def ledger() -> Ledger:
    return open_ledger(read_settings().ledger)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(spend, arguments, standalone_mode=False)


def document(*arguments: str) -> Any:
    done = run(*arguments, "--json")
    assert (done.exception, done.return_value) == (None, 0)
    return json.loads(done.stdout)


def lines(*arguments: str) -> str:
    done = run(*arguments)
    assert (done.exception, done.return_value) == (None, 0)
    return done.stdout


def fill(ledger: Ledger) -> None:
    """Two runs on two days: charges of 13 and 39 000, one of them a guardrail's; 25 held, 7 unknown; 190 avoided."""
    clock = Clock()
    with ledger.spending(TENANT, clock=clock) as session:
        for name, amount, guard in (("a", 10, False), ("check", 3, True)):
            sent = session.sent(yours(session.claim(wish(name, price_micro_usd=amount, guard=guard))))
            session.settle(sent, charged_micro_usd=amount, reference=f"ref-{name}", response=ANSWER)
        session.claim(wish("b", price_micro_usd=25))
        session.avoid(saved("d", 100, "cache_hit"))
    clock.advance(days=1)
    with ledger.spending(TENANT, clock=clock) as session:
        lost = session.sent(yours(session.claim(wish("e", "run-2", price_micro_usd=7))))
        session.let_go(session.unknown(lost, "timeout"))
        sent = session.sent(yours(session.claim(wish("a2", "run-2", price_micro_usd=39_000, item="a"))))
        session.settle(sent, charged_micro_usd=39_000, reference="ref-a2", response=ANSWER)
        session.avoid(saved("f", 50, "guardrail_stop", "run-2"))
        session.avoid(saved("g", 40, "duplicate", "run-2"))
        session.reverse_avoided("run-2", "f", key_of("f"), {"released": True})


def saved(item: str, micro_usd: int, reason: Any, run_id: str = "run-1") -> Avoided:
    return Avoided(run_id, item, key_of(item), reason, micro_usd, EVIDENCE)


def short(sums: dict[str, Any]) -> tuple[int, ...]:
    names = ("spent", "avoided_gross", "reversed", "guard_cost", "net", "held", "unknown")
    return tuple(sums[f"{name}_micro_usd"] for name in names)


def test_an_empty_ledger_has_zeros_and_a_sentence(ledger: Ledger) -> None:
    assert short(document()["total"]) == (0,) * 7
    text = lines()
    assert text.startswith(EMPTY)
    assert text.splitlines()[3].split() == ["total", *["0.00"] * 9]
    assert document("--by", "run")["groups"] == []


def test_the_sums_add_up_whatever_they_are_by(ledger: Ledger) -> None:
    fill(ledger)
    whole = (39_013, 190, 50, 3, 137, 25, 7)
    found = document()
    assert short(found["total"]) == whole
    assert found["total"]["spent_usd"] == 0.039013
    by_reason = {reason: each["avoided_micro_usd"] for reason, each in found["total"]["avoided"].items()}
    assert by_reason == {"cache_hit": 100, "duplicate": 40, "guardrail_stop": 50}
    first, second = (13, 100, 0, 3, 97, 25, 0), (39_000, 90, 50, 0, 40, 0, 7)
    for by, names in (("run", ("run-1", "run-2")), ("day", ("2026-05-04", "2026-05-05"))):
        groups = {each[by]: short(each) for each in document("--by", by)["groups"]}
        assert groups == dict(zip(names, (first, second), strict=True))
    groups = {each["item"]: short(each) for each in document("--by", "item")["groups"]}
    assert groups["a"] == (39_010, 0, 0, 0, 0, 0, 0)
    assert tuple(map(sum, zip(*groups.values(), strict=True))) == whole
    groups = {each["reason"]: short(each) for each in document("--by", "reason")["groups"]}
    assert groups == {
        "cache_hit": (0, 100, 0, 0, 100, 0, 0),
        "duplicate": (0, 40, 0, 0, 40, 0, 0),
        "guardrail_stop": (0, 50, 50, 0, 0, 0, 0),
    }
    assert short(document("--since", "2026-05-05")["total"]) == second
    assert short(document("--until", "2026-05-04", "--by", "item")["total"]) == first
    assert document("--run", "run-2", "--by", "day")["groups"][0]["day"] == "2026-05-05"
    assert short(document("--run", "run-2", "--until", "2026-05-04")["total"]) == (0,) * 7
    assert short(document("--tenant", "bert")["total"]) == (0,) * 7


def test_a_table_loses_no_digit(ledger: Ledger) -> None:
    fill(ledger)
    rows = [line.split() for line in lines("--by", "run").splitlines()]
    assert rows[2] == ["run-1", "0.000013", "0.000100", "0.000000", "0.000000", "0.000000", "0.000003", "0.000097",
                       "0.000025", "0.000000"]  # fmt: skip
    assert rows[4][:2] == ["total", "0.039013"]
    starts = {line.index("0.0") for line in lines("--by", "run").splitlines()[2:5]}
    assert len(starts) == 1


def test_a_run_has_its_purchases_and_its_evidence(ledger: Ledger) -> None:
    fill(ledger)
    found = document("--run", "run-2")
    assert {one["item"]: (one["state"], one["charged_micro_usd"]) for one in found["purchases"]} == {
        "a": ("settled", 39_000),
        "e": ("unknown", None),
    }
    assert sorted((one["item"], one["entry"], one["micro_usd"], str(one["evidence"])) for one in
                  found["avoided_entries"]) == [
        ("f", "avoided", 50, str(EVIDENCE)),
        ("f", "reversal", -50, "{'released': True}"),
        ("g", "avoided", 40, str(EVIDENCE)),
    ]  # fmt: skip
    assert "purchases" not in document()
    done = run("--run", "run-7")
    assert isinstance(done.exception, NotFoundError)
    assert isinstance(run("--run", "run-").exception, UsageError)


def test_what_is_not_known_is_listed_with_its_remedy(ledger: Ledger) -> None:
    fill(ledger)
    with ledger.spending(TENANT) as session:
        session.sent(yours(session.claim(wish("dead"))))
    die(ledger, TENANT, key_of("dead"))
    found = document("--unknown")["purchases"]
    assert [(one["item"], one["state"], one["held_micro_usd"]) for one in found] == [
        ("b", "intent", 25),
        ("e", "unknown", 7),
        ("dead", "sent", 40_000),
    ]
    with ledger.spending(TENANT, read_only=True) as session:
        lost = session.find(key_of("e"))
    assert lost is not None
    assert (found[1]["key"], found[1]["service"]) == (lost.idempotency_key, "studio")
    assert (found[1]["since"], found[1]["reference"]) == ("2026-05-05T12:00:00+00:00", None)
    assert "upkeep look-up" in found[1]["remedy"]
    assert "its process is gone" in found[2]["remedy"]
    text = lines("--unknown")
    assert lost.idempotency_key in text
    assert "0.000007" in text
    assert lines("--unknown", "--tenant", "bert") == "nothing is on its way and no outcome is unknown\n"


# caps


def test_a_cap_holds_at_once_and_in_every_month_to_come(ledger: Ledger) -> None:
    month = f"{datetime.now(UTC):%Y-%m}"
    with ledger.spending(TENANT) as session:
        yours(session.claim(wish("before")))  # the month's row is there already
    found = document("--cap", "0.05")["budgets"]
    assert [(one["scope"], one["cap_micro_usd"], one["held_micro_usd"], one["left_micro_usd"]) for one in found] == [
        ("month", 50_000, 0, 50_000),
        (f"month:{month}", 50_000, 40_000, 10_000),
    ]
    with ledger.spending(TENANT) as session:
        assert isinstance(session.claim(wish("now")), OverBudget)
    later = Clock(datetime(2031, 1, 1, tzinfo=UTC))
    with ledger.spending(TENANT, clock=later) as session:
        assert isinstance(session.claim(wish("then")), Yours)
        assert isinstance(session.claim(wish("then-too")), OverBudget)
    assert "0.05" in lines()
    document("--no-cap")
    with ledger.spending(TENANT) as session:
        assert isinstance(session.claim(wish("now")), Yours)
        assert session.budget("month").cap_micro_usd is None


def test_a_month_may_have_a_cap_of_its_own(ledger: Ledger) -> None:
    document("--cap", "1")
    document("--cap", "0.01", "--month", "2031-02")
    document("--no-cap", "--month", "2031-03")
    for month, kind in ((1, Yours), (2, OverBudget), (3, Yours)):
        with ledger.spending(TENANT, clock=Clock(datetime(2031, month, 9, tzinfo=UTC))) as session:
            assert isinstance(session.claim(wish(f"in-{month}", price_micro_usd=900_000)), kind)
    with ledger.spending(TENANT, clock=Clock(datetime(2031, 3, 9, tzinfo=UTC))) as session:
        assert isinstance(session.claim(wish("more", price_micro_usd=900_000)), Yours)


@pytest.mark.parametrize(
    "arguments",
    [
        ("--cap", "abc"),
        ("--cap", "-1"),
        ("--cap", "0.0000001"),
        ("--cap", "nan"),
        ("--cap", "1e99"),
        ("--cap", "1", "--no-cap"),
        ("--cap", "1", "--month", "2026-13"),
        ("--cap", "1", "--by", "run"),
        ("--month", "2026-05"),
        ("--since", "yesterday"),
        ("--since", "20260504"),
        ("--since", "2026-05-05", "--until", "2026-05-04"),
    ],
)
def test_what_makes_no_sense_is_refused(ledger: Ledger, arguments: tuple[str, ...]) -> None:
    assert isinstance(run(*arguments).exception, UsageError)
    with ledger.spending(TENANT, read_only=True) as session:
        assert session.budgets() == []


@pytest.mark.parametrize(
    ("micro_usd", "digits", "text"),
    [(0, 2, "0.00"), (1, 2, "0.000001"), (39_000, 2, "0.039"), (39_000, 4, "0.0390"), (-1_500_000, 2, "-1.50"),
     (-1, 2, "-0.000001"), (12_345_678_900_000, 2, "12345678.90")],
)  # fmt: skip
def test_money_is_written_exactly(micro_usd: int, digits: int, text: str) -> None:
    assert dollars(micro_usd, digits) == text
    assert micro_usd_of(text.removeprefix("-")) == abs(micro_usd)


def test_the_command_itself(tmp_path: Path) -> None:
    def command(*arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "deployments.cli", "spend", *arguments],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )

    set_cap, shown, wrong = command("--cap", "2.5"), command("--json"), command("--cap", "much")
    assert (set_cap.returncode, shown.returncode, wrong.returncode) == (0, 0, 2)
    assert [one["cap_usd"] for one in json.loads(shown.stdout)["budgets"]] == [2.5, 2.5]
    assert "[usage]" in wrong.stderr
