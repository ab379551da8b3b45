"""What a catalogue run would do, what it may cost at most and how long it should take, before any of it is done."""

from collections import Counter
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from contextvars import copy_context
from dataclasses import dataclass, field
from functools import partial
from threading import Lock

from datasets.catalogue import BadRow, CatalogueRow
from datasets.errors import PipelineError
from datasets.ledger import CatalogueState, Ledger
from datasets.money import MICRO
from flows.catalogue_feed import LOOKING, Turns
from flows.catalogue_identity import sku_key
from flows.catalogue_pictures import host_of
from flows.catalogue_rows import Looked, Rows, names_product, refused
from flows.catalogue_summary import MOST_SHOWN
from flows.catalogue_tally import FAILED
from flows.recipes import Recipe
from tasks.place_config import PlaceConfig

PACE = ("worked", "worked_s", "looked", "looked_s")
RUNS = 200  # of the ledger that are looked through for how long rows take


@dataclass
class Plan:
    """What looking at all rows came to.

    Attributes:
        changes: Rows by what the run would find: added, changed, unchanged, failed, again.
        to_run: Rows that would go through the recipe.
        paid: Calls of the paid service that these rows may make.
        seen: Products that have not retired and stand in the table.
    """

    changes: Counter[str] = field(default_factory=Counter)
    to_run: int = 0
    unchanged: int = 0
    refused: int = 0
    paid: int = 0
    seen: int = 0
    failed: list[dict[str, object]] = field(default_factory=list)


def look_at_all(rows: Rows, batches: Iterable[tuple[list[CatalogueRow], list[BadRow]]], *, per_host: int) -> Plan:
    """Look at every row as the run would, and do nothing. New pictures are not fetched: they would run anyway."""
    plan, lock = Plan(), Lock()

    def one(row: CatalogueRow, state: CatalogueState | None) -> None:
        looked = rows.look(row, state)
        with lock:
            _count(plan, row, state, looked)

    with ThreadPoolExecutor(LOOKING) as pool:
        for good, bad in batches:
            states = _states(rows, good, bad)
            plan.seen += sum(state.retired_at is None for state in states.values())
            _refuse(plan, bad)
            done = []
            turns = Turns(pool, per_host)
            for row in good:
                state = states.get(sku_key(row.sku))
                done.append(turns.submit(host_of(row.image), partial(copy_context().run, one, row, state)))
            wait(done)
            for each in done:
                each.result()
    return plan


def _states(rows: Rows, good: Iterable[CatalogueRow], bad: Iterable[BadRow]) -> dict[str, CatalogueState]:
    refused = [row.sku for row in bad if row.sku and names_product(row.sku, [each.code for each in row.reasons])]
    keys = [sku_key(sku) for sku in (*(row.sku for row in good), *refused)]
    with rows.run.ledger.session(rows.run.storage.tenant, read_only=True) as session:
        return session.catalogue_states(rows.catalogue, keys)


def _refuse(plan: Plan, bad: Iterable[BadRow]) -> None:
    for row in bad:
        plan.refused += 1
        plan.changes[FAILED] += 1
        _tell(plan, row.line, row.sku, [refused(reason).to_json() for reason in row.reasons])


def _count(plan: Plan, row: CatalogueRow, state: CatalogueState | None, looked: Looked) -> None:
    if looked.kind == "same":
        assert state is not None
        plan.unchanged += 1
        plan.changes["added" if state.retired_at is not None else "unchanged"] += 1
    elif looked.kind == "settled":
        plan.changes[FAILED] += 1
    else:
        plan.to_run += 1
        plan.paid += 0 if looked.recipe is None else _paid_stages(looked.recipe)
        plan.changes[_would_be(state, looked)] += 1
    if looked.kind == "failed":
        _tell(plan, row.line, row.sku, [reason.to_json() for reason in looked.reasons])


def _tell(plan: Plan, line: int, sku: str | None, reasons: list[dict[str, object]]) -> None:
    if len(plan.failed) < MOST_SHOWN:
        plan.failed.append({"line": line, "sku": sku, "status": FAILED, "reasons": reasons})


def _would_be(state: CatalogueState | None, looked: Looked) -> str:
    """What the run should find; rows that ended otherwise than delivered are tried ``again``."""
    if looked.kind == "failed":
        return FAILED
    if state is None or state.retired_at is not None:
        return "added"
    return "changed" if state.status == "delivered" else "again"


def _paid_stages(recipe: Recipe) -> int:
    return sum(isinstance(step.config, PlaceConfig) for step in recipe.steps)


def expected_seconds(ledger: Ledger, tenant: str, recipe: str, to_run: int, rows: int) -> float | None:
    """How long the run should take by the last whole ones of this recipe; None if there were none."""
    with ledger.session(tenant, read_only=True) as session:
        runs = [run for run in session.runs(limit=RUNS) if run.flow == "catalogue" and run.recipe == recipe]
    told = [run.summary for run in runs if run.summary and "pace" in run.summary]
    sums = {name: float(sum(each["pace"][name] for each in told)) for name in PACE}
    busy = sums["worked_s"] + sums["looked_s"]
    if not sums["looked"] or not busy or (to_run and not sums["worked"]):
        return None
    at_once = busy / sum(float(each["seconds"]) for each in told)
    working = to_run * sums["worked_s"] / sums["worked"] if to_run else 0.0
    return round((working + rows * sums["looked_s"] / sums["looked"]) / at_once, 1)


def most_usd(rows: Rows, calls: int) -> float | None:
    """What so many calls of the paid service cost at most, in US dollars; None if its price is not known."""
    if not calls:
        return 0.0
    try:
        return calls * rows.run.paid.adapter.declaration.price_of(1) / MICRO
    except (PipelineError, AssertionError):
        return None


def words(plan: Mapping[str, object]) -> str:
    """The plan in a sentence."""
    seconds, usd = plan["seconds"], plan["cost_usd_at_most"]
    time = "for a time that nobody knows yet" if seconds is None else f"for about {seconds:g} s"
    cost = "at a cost that is not known" if usd is None else f"for at most {usd:g} USD"
    return f"{plan['to_run']} rows would run {time}, {cost}; {plan['unchanged']} are as they were"
