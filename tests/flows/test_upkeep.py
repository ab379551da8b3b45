"""Upkeep: what became of purchases, the provider's list, parts that fail alone, keys that are due."""

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from datasets.assets import get_asset
from datasets.errors import PipelineError, UsageError
from datasets.ledger import NotCharged, open_ledger, run_scope
from datasets.ledger.usage_export import Export, UsageExportError, read_export
from datasets.lineage.events import RunEventFacts
from datasets.settings import read_settings
from datasets.storage import open_storage
from datasets.vault import open_vault
from datasets.vault_errors import SecretMissingError
from flows.opening import open_books
from flows.reconciling import Coverage, apply, compare
from flows.services import open_service
from flows.unknowns import find_open, look_up_all, resolve_as_seen
from flows.upkeep import Part, Place
from flows.upkeep_order import UpkeepOrder, UpkeepPart
from flows.upkeep_parts import done_parts
from tests.datasets.spend_facts import die, wish, yours
from tests.datasets.test_lineage_outbox import RUN, closed_port
from tests.datasets.vaults import new_tenant, new_value
from tests.flows.bought import PRICE, RULES, Shop, described
from tests.services.paid_service import Service, serve

HOUR = timedelta(hours=1)


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    with serve(tmp_path / "service", RULES) as running:
        yield running


@pytest.fixture
def shop(service: Service, tmp_path: Path) -> Shop:
    storage, ledger = open_books(read_settings())
    return Shop(ledger, storage, service)


def budget(shop: Shop, run_id: str = "run-1") -> tuple[int, int]:
    with shop.ledger.spending(shop.tenant, read_only=True) as session:
        found = session.budget(run_scope(run_id))
    return found.spent_micro_usd, found.held_micro_usd


def exported(shop: Shop, folder: Path, form: str = "csv") -> Path:
    path = folder / f"usage.{form}"
    path.write_bytes(httpx.get(f"{shop.service.url}/usage.{form}", trust_env=False).content)
    return path


def became(shop: Shop) -> dict[str, str]:
    ends = look_up_all(shop.ledger, shop.storage, shop.asked, find_open(shop.ledger, shop.tenant))
    return {one.purchase.item: one.became for one in ends}


# looking up


def test_what_was_charged_gets_its_answer_and_what_was_not_gets_its_money_back(shop: Shop) -> None:
    shop.buy("bought")
    lost, never = shop.buy("lost", "reset_after"), shop.buy("never", "reset_before")
    assert budget(shop) == (PRICE, 2 * PRICE)
    assert became(shop) == {"lost": "charged", "never": "not_charged"}
    assert budget(shop) == (2 * PRICE, 0)
    found = shop.now(lost)
    assert (found.state, found.charged_micro_usd, found.provider_reference) == ("settled", PRICE, "work-000002")
    assert found.response is not None
    assert get_asset(shop.storage, found.response.digest).startswith(b"\x89PNG")
    assert shop.now(never).state == "void"
    assert "after its settle time" in str(shop.now(never).error_facts)
    assert became(shop) == {}


def test_a_service_that_may_not_know_yet_leaves_it_open(shop: Shop) -> None:
    never = shop.buy("never", "reset_before")
    waiting = replace(shop.asked, adapter=_settling(shop, 3600.0))
    ends = look_up_all(shop.ledger, shop.storage, waiting, [never])
    assert [(one.became, one.until and one.until > datetime.now(UTC)) for one in ends] == [("undecided", True)]
    assert (shop.now(never).state, budget(shop)) == ("unknown", (0, PRICE))


def _settling(shop: Shop, settle_time_s: float) -> Any:
    from tests.services.paid_adapters import generic

    return generic(shop.service.url, RULES, settle_time_s=settle_time_s)


def test_a_dead_sender_is_found_first_and_one_at_work_is_left_alone(shop: Shop) -> None:
    long_ago = datetime.now(UTC) - HOUR
    with shop.ledger.spending(shop.tenant, clock=lambda: long_ago) as session:
        dead = session.sent(yours(session.claim(wish("dead", adapter="paid-test"), lease_s=7200)))
        alive = session.unknown(
            session.sent(yours(session.claim(wish("alive", adapter="paid-test"), lease_s=7200))), "x"
        )
    die(shop.ledger, shop.tenant, dead.purchase_key)
    assert became(shop) == {"dead": "not_charged", "alive": "at_work"}
    assert shop.now(alive).state == "unknown"


def test_a_finding_about_an_earlier_sending_is_not_written_down(shop: Shop) -> None:
    seen = shop.buy("again", "reset_before")
    with shop.ledger.spending(shop.tenant) as session:
        taken = yours(session.claim(wish("again", adapter="paid-test", can_resolve=True)))
        session.let_go(session.unknown(session.resend(taken, safe=True), "timeout"))  # type: ignore[arg-type]
    assert resolve_as_seen(shop.ledger, shop.tenant, seen, NotCharged({"proof": "old"})) is None
    assert (shop.now(seen).state, budget(shop)) == ("unknown", (0, PRICE))
    assert resolve_as_seen(shop.ledger, shop.tenant, shop.now(seen), NotCharged({"proof": "new"})) is not None


def test_another_service_s_purchases_are_left_alone(shop: Shop) -> None:
    with shop.ledger.spending(shop.tenant) as session:
        session.let_go(session.unknown(session.sent(yours(session.claim(wish("elsewhere")))), "timeout"))
    assert became(shop) == {"elsewhere": "other_service"}


# reconciling


@pytest.mark.parametrize("form", ["csv", "json"])
def test_the_service_s_own_list_settles_what_was_unknown(shop: Shop, tmp_path: Path, form: str) -> None:
    shop.buy("a")
    lost = shop.buy("lost", "reset_after")
    export = read_export(exported(shop, tmp_path, form))
    found = compare(shop.ledger, shop.tenant, export)
    assert [entry.difference and entry.difference.kind for entry in found.entries] == ["unknown_resolved"]
    assert (shop.now(lost).state, found.lines, found.purchases) == ("unknown", 2, 2)
    done = apply(shop.ledger, shop.tenant, found)
    assert (done.left, budget(shop)) == ([], (2 * PRICE, 0))
    assert (shop.now(lost).charged_micro_usd, shop.now(lost).provider_reference) == (PRICE, "work-000002")
    assert compare(shop.ledger, shop.tenant, export).entries == []
    assert became(shop) == {"lost": "answer_found"}
    assert shop.now(lost).response is not None


def test_every_kind_of_difference_on_postgresql(service: Service, postgres_ledger: Any, tmp_path: Path) -> None:
    shop = Shop(open_ledger(postgres_ledger.url), open_storage(str(tmp_path / "store"), "anna"), service)
    shop.buy("same")
    dear, ours = shop.buy("dear"), shop.buy("ours")
    shop.buy("lost", "reset_after")
    rows = list(csv.DictReader(io.StringIO(exported(shop, tmp_path).read_text())))
    changed = [row for row in rows if row["request_key"] != ours.idempotency_key]
    changed[1]["micro_usd"] = "50000"
    changed.append({**rows[0], "request_key": "", "reference": "stranger", "micro_usd": "1"})
    (tmp_path / "changed.json").write_text(json.dumps({"object": "list", "data": changed}))
    found = compare(shop.ledger, "anna", read_export(tmp_path / "changed.json"))
    listed = [
        (one.difference.kind, one.purchase and one.purchase.item, one.difference.here_micro_usd,
         one.difference.there_micro_usd)
        for one in found.entries if one.difference
    ]  # fmt: skip
    assert listed == [
        ("other_amount", "dear", PRICE, 50_000),
        ("missing_there", "ours", PRICE, None),
        ("unknown_resolved", "lost", None, PRICE),
        ("missing_here", None, None, 1),
    ]
    left = apply(shop.ledger, "anna", found).left
    assert [one.difference.kind for one in left if one.difference] == ["other_amount", "missing_there", "missing_here"]
    assert shop.now(dear).charged_micro_usd == PRICE
    assert budget(shop) == (4 * PRICE, 0)


def test_absence_proves_nothing_unless_the_list_is_complete(shop: Shop, tmp_path: Path) -> None:
    never = shop.buy("never", "reset_before", earlier=3 * HOUR)
    late = shop.buy("late", "reset_before", earlier=timedelta(minutes=30))
    export, now = Export((), None), datetime.now(UTC)
    for coverage in (
        Coverage(),
        Coverage(since=now - 5 * HOUR),
        Coverage(until=now),  # of an empty list nobody knows when it begins
        Coverage(now - 3.5 * HOUR, now),  # it may have been sent just before
        Coverage(now - 5 * HOUR, now - 2.5 * HOUR),  # or just after
    ):
        found = apply(shop.ledger, shop.tenant, compare(shop.ledger, shop.tenant, export, coverage=coverage))
        assert [(one.difference, one.settles) for one in found.entries] == [(None, None)] * 2
    assert budget(shop) == (0, 2 * PRICE)
    apply(shop.ledger, shop.tenant, compare(shop.ledger, shop.tenant, export, coverage=Coverage(now - 5 * HOUR, now)))
    assert (shop.now(never).state, shop.now(late).state, budget(shop)) == ("void", "unknown", (0, PRICE))


def test_lines_without_keys_may_be_any_purchase(shop: Shop, tmp_path: Path) -> None:
    never = shop.buy("never", "reset_before", earlier=3 * HOUR)
    now = datetime.now(UTC)
    path = tmp_path / "list.csv"
    path.write_text(f"reference,micro_usd,time\nwork-9,39000,{(now - 5 * HOUR).isoformat()}\n")
    found = compare(shop.ledger, shop.tenant, read_export(path), coverage=Coverage(until=now))
    apply(shop.ledger, shop.tenant, found)
    assert (shop.now(never).state, len(found.differences)) == ("unknown", 1)


def test_what_was_charged_after_the_list_s_end_is_not_missing_in_it(shop: Shop) -> None:
    shop.buy("early", earlier=5 * HOUR)
    shop.buy("late")
    export, until = Export((), None), datetime.now(UTC) - HOUR
    assert len(compare(shop.ledger, shop.tenant, export).differences) == 2
    found = compare(shop.ledger, shop.tenant, export, coverage=Coverage(until=until))
    assert [one.purchase and one.purchase.item for one in found.differences] == ["early"]


def test_what_was_sent_twice_and_charged_twice_is_counted_twice(shop: Shop, tmp_path: Path) -> None:
    seen = shop.buy("twice", "reset_after")
    with shop.ledger.spending(shop.tenant) as session:
        wanted = wish("twice", adapter="paid-test", price_micro_usd=PRICE, policy="resend_once")
        sent = session.resend(yours(session.claim(wanted)), safe=False)
        session.settle(sent, charged_micro_usd=PRICE, reference="work-2", response=None)  # type: ignore[arg-type]
    assert budget(shop) == (PRICE, PRICE)
    row = f"{{}},{seen.idempotency_key},0.039,2026-05-04T12:00:00Z\n"
    path = tmp_path / "list.csv"
    path.write_text("reference,key,cost_usd,time\n" + row.format("work-1") + row.format("work-2"))
    found = apply(shop.ledger, shop.tenant, compare(shop.ledger, shop.tenant, read_export(path)))
    assert (found.left, budget(shop)) == ([], (2 * PRICE, 0))


def test_two_services_need_a_name(shop: Shop) -> None:
    shop.buy("a")
    with shop.ledger.spending(shop.tenant) as session:
        session.claim(wish("b"))
    with pytest.raises(UsageError, match="paid-test, studio"):
        compare(shop.ledger, shop.tenant, Export((), None))
    assert len(compare(shop.ledger, shop.tenant, Export((), None), service="paid-test").differences) == 1
    with pytest.raises(UsageError, match="no purchase of 'else'"):
        compare(shop.ledger, shop.tenant, Export((), None), service="else")


def test_a_list_is_not_complete_until_tomorrow() -> None:
    with pytest.raises(UsageError, match="to come"):
        Coverage(until=datetime.now(UTC) + HOUR)


# reading exports


@pytest.mark.parametrize(
    ("head", "amount", "unit", "micro_usd"),
    [
        ("micro_usd", "39000", None, 39_000),
        ("amount_cents", "3.9", None, 39_000),
        ("cost_usd", "0.039", None, 39_000),
        ("price", "0.000001", "usd", 1),
        ("price", "1e-2", "usd", 10_000),
    ],
)
def test_amounts_are_exact_in_every_unit(
    tmp_path: Path, head: str, amount: str, unit: str | None, micro_usd: int
) -> None:
    path = tmp_path / "list.csv"
    path.write_bytes(f"\ufeffid;{head};when\r\nx;{amount};2026-05-04T12:00:00+02:00\r\n".encode())
    (line,) = read_export(path, {"amount": head, "time": "when"}, unit).lines
    assert (line.micro_usd, line.reference, line.at) == (micro_usd, "x", datetime(2026, 5, 4, 10, tzinfo=UTC))


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ("k,abc,2026-05-04", "row 3: micro_usd is no number: 'abc'"),
        ("k,-1,2026-05-04", "row 3: micro_usd is negative"),
        ("k,0.5,2026-05-04", "row 3: micro_usd is not a whole number"),
        ("k,1e999999999,2026-05-04", "row 3: micro_usd is"),
        ("k,NaN,2026-05-04", "row 3: micro_usd is no number"),
        ("k,1,yesterday", "row 3: time is no time"),
        (",1,2026-05-04", "row 3: it has neither"),
        ("k,1", "row 3 of 'list.csv' has 2 cells"),
    ],
)
def test_a_bad_row_is_named_by_its_number(tmp_path: Path, row: str, fault: str) -> None:
    path = tmp_path / "list.csv"
    path.write_text(f"key,micro_usd,time\nk,1,2026-05-04\n{row}\n")
    with pytest.raises(UsageExportError, match=fault):
        read_export(path)


@pytest.mark.parametrize(
    ("name", "content", "fault"),
    [
        ("list.txt", "", "a .csv or a .json file"),
        ("list.json", "{}", "holds no list"),
        ("list.json", "[1]", "row 1 of 'list.json' is not an object"),
        ("list.json", "[", "is not JSON"),
        ("list.json", '[{"key": "k", "usd": true, "time": "2026-05-04"}]', "row 1: usd is no number"),
        ("list.csv", "key,time\n", "does not say which column holds amount"),
        ("list.csv", "micro_usd,time\n", "does not say which column holds key or reference"),
        ("list.csv", "key,key\n", "two columns of one name"),
        ("list.csv", "key,price,time\n", "does not say which column holds amount"),
    ],
)
def test_what_is_no_export_is_refused(tmp_path: Path, name: str, content: str, fault: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(UsageExportError, match=fault):
        read_export(tmp_path / name)


# all parts


def parts(shop: Shop, connect: Any = lambda: None, **changes: Any) -> dict[str, Part]:
    place = Place(read_settings(**changes), shop.storage, shop.ledger, connect)
    return {part.name: part for part in done_parts(place, UpkeepOrder())}


@pytest.mark.usefixtures("prefect_api")
def test_all_parts_are_done(shop: Shop, tmp_path: Path) -> None:
    lost = shop.buy("lost", "reset_after")
    with shop.ledger.spending(shop.tenant) as session:
        never = yours(session.claim(wish("never", adapter="paid-test")))
    die(shop.ledger, shop.tenant, never.purchase_key)
    done = parts(shop, place_service=str(described(tmp_path, shop.service)))
    assert {name: part.failed for name, part in done.items()} == dict.fromkeys(UpkeepPart)
    assert done["sweep"].facts == {"unknown": 0, "released": 1}
    assert [one["became"] for one in done["look-up"].facts["purchases"]] == ["charged"]
    assert (shop.now(lost).state, shop.now(never).state) == ("settled", "failed_free")


def test_a_part_that_fails_does_not_stop_the_others(shop: Shop, tmp_path: Path) -> None:
    lost = shop.buy("lost", "reset_after")
    with shop.ledger.session(shop.tenant) as session:
        session.post_events([RunEventFacts("START", RUN, "product", "hero", datetime.now(UTC)).row()])

    def no_server() -> None:
        raise PipelineError("the server does not start")

    with closed_port() as away:
        done = parts(shop, no_server, place_service=str(described(tmp_path, shop.service)), lineage_url=away)
    assert [name for name, part in done.items() if part.failed] == ["drain", "look-up", "due", "retention"]
    assert (done["sweep"].failed, shop.now(lost).state) == (None, "unknown")


# keys that are due


@pytest.mark.usefixtures("prefect_api")
def test_the_service_s_own_key_is_warned_of_and_no_other(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STILLMOTION_MASTER_KEY_FILE", str(tmp_path / "keys" / "master.key"))
    settings = read_settings(tenant=new_tenant(), place_service=str(described(tmp_path, shop.service, "paid-key")))
    vault, ledger = open_vault(settings, reader="test"), open_ledger(settings.ledger)
    said: list[str] = []
    vault.put("paid-key", new_value())
    vault.put("other", new_value(), expires_at=datetime.now(UTC) + timedelta(seconds=1))
    open_service(settings, ledger, "run-1", said.append)
    assert said == []
    vault.put("paid-key", new_value(), rotate_every=timedelta(seconds=1), expires_at=datetime.now(UTC) + HOUR)
    _until_due(settings, "paid-key")
    open_service(settings, ledger, "run-1", said.append)
    assert len(said) == 1
    assert "'paid-key' is to be rotated by" in said[0] or "'paid-key' was to be rotated by" in said[0]
    assert vault.reads(name="paid-key") == []


@pytest.mark.usefixtures("prefect_api")
def test_a_run_whose_key_is_missing_is_refused_before_anything_is_computed(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STILLMOTION_MASTER_KEY_FILE", str(tmp_path / "keys" / "master.key"))
    settings = read_settings(tenant=new_tenant(), place_service=str(described(tmp_path, shop.service, "nobodys-key")))
    with pytest.raises(SecretMissingError, match=r"secrets set nobodys-key"):
        open_service(settings, open_ledger(settings.ledger), "run-1", list[str]().append)


def _until_due(settings: Any, name: str) -> None:
    import time

    for _ in range(100):
        if open_vault(settings, reader="test").due(name=name):
            return
        time.sleep(0.05)
    pytest.fail(f"{name} never became due")
