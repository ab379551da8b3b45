"""A catalogue run from the table to the manifests, and the dry run that says what it would do."""

import os
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from datasets.catalogue import Table, TableFacts, catalogue_roots, open_table
from datasets.fetch.fetcher import open_fetcher
from datasets.identity import digest_file
from datasets.ledger import Approval, CatalogueRecord, NotesWriter, RunRecord
from datasets.lineage.beside import FOLDER as RECORDS
from datasets.lineage.outbox import draining
from datasets.settings import Settings
from datasets.storage import sweep_parts
from expectations.table_suite import TableLimits, judge_table
from flows.bookkeeping import alive, begin_run
from flows.catalogue_feed import Feed
from flows.catalogue_files import CHANGES, MANIFEST, write_changes, write_manifest
from flows.catalogue_identity import RowRecipes
from flows.catalogue_order import CatalogueOrder
from flows.catalogue_pictures import Pictures
from flows.catalogue_planning import expected_seconds, look_at_all, most_usd
from flows.catalogue_rows import FOLDER, Rows
from flows.catalogue_showing import BatchProgress, show_catalogue
from flows.catalogue_summary import CatalogueSummary, catalogue_status
from flows.catalogue_tally import Tally
from flows.money import money_of_run, set_run_budget
from flows.opening import items_at_once, open_run, progress_of_caller
from flows.telling import tell_end, told_of
from flows.working import make_folder, run_id_here
from model_blocks.object_access import access_options
from tasks.context import RunContext
from tasks.intake import photo_limits
from tasks.progress import Silent

TASKS_PER_THOUSAND = 100  # of Prefect, for a thousand rows; batches grow with the recipe's stages to keep below
STOPS = ("stop", "error")
MOST_THREADS = 8  # more would wait for the interpreter


@dataclass(frozen=True)
class _Survey:
    """The table, read once from end to end before anything is done."""

    table: Table
    facts: TableFacts
    recipes: RowRecipes

    @property
    def size(self) -> int:
        """The fewest rows of a batch that keep Prefect's tasks few."""
        return -(-1000 * self.recipes.stages // TASKS_PER_THOUSAND)


def _survey(order: CatalogueOrder, settings: Settings) -> _Survey:
    options = access_options(order.table, settings) if "://" in order.table else None
    table = open_table(order.table, order.mapping, storage_options=options, roots=catalogue_roots(settings))
    names: dict[str, None] = {}
    for good, _ in table.batches():
        names.update(dict.fromkeys(row.recipe for row in good if row.recipe is not None and len(names) < MOST_NAMES))
    return _Survey(table, table.facts, RowRecipes(order, settings, list(names)))


MOST_NAMES = 64  # different recipes that rows name; unknown ones are refused row by row


def plan_catalogue(order: CatalogueOrder, settings: Settings) -> CatalogueSummary:
    """A dry run: what would run, what is unchanged, what it may cost at most, how long it should take."""
    begun = time.perf_counter()
    survey = _survey(order, settings)
    main = survey.recipes.main
    with _opened(order, settings, survey, str(uuid.uuid4()), Silent(), dry=True) as (run, pictures):
        last = _last(run, order)
        reasons = _judged(survey.facts, last, order)
        rows = _rows(run, _no_record(), order, survey, pictures, last)
        plan = look_at_all(rows, survey.table.batches(order.batch_size), per_host=settings.fetch_per_host)
        with run.ledger.session(run.storage.tenant, read_only=True) as session:
            gone = session.count_active(order.catalogue) - plan.seen
        seconds = expected_seconds(run.ledger, run.storage.tenant, main.title, plan.to_run, survey.facts.rows)
        facts: dict[str, object] = {
            "to_run": plan.to_run,
            "unchanged": plan.unchanged,
            "retired": gone,
            "refused": plan.refused,
            "seconds": seconds,
            "cost_usd_at_most": most_usd(rows, plan.paid),
        }
    changes = dict(plan.changes) | ({"retired": gone} if gone else {})
    status = "failed" if _stops(reasons) else "planned"
    return CatalogueSummary(
        run_id="", catalogue=order.catalogue, recipe=main.title, status=status, rows=survey.facts.rows, counts={},
        changes=changes, seconds=time.perf_counter() - begun, failed=plan.failed, reasons=reasons, plan=facts,
    )  # fmt: skip


def run_catalogue(order: CatalogueOrder, settings: Settings) -> CatalogueSummary:
    """The flow's body: reads the table, takes what changed through the recipe, writes manifests and report.

    Raises:
        TableUnreadableError, UsageError: The table is none, or has other columns than was said.
    """
    begun = time.perf_counter()
    survey = _survey(order, settings)
    make_folder(order)
    progress = BatchProgress(progress_of_caller())
    with _opened(order, settings, survey, run_id_here(), progress) as (run, pictures):
        run.storage.sweep()
        sweep_parts(order.out_folder)
        for folder in (FOLDER, f"{FOLDER}/{RECORDS}"):
            sweep_parts(order.out_folder / folder)
        record = begin_run(run, "catalogue", order, survey.recipes.main, ())
        if run.approval is not None:
            run.approval.take_decisions()
        set_run_budget(run, order)
        last = _last(run, order)
        reasons, tally = _judged(survey.facts, last, order), Tally(order.failure_budget)
        writes, retired, asked = 0, 0, None
        with alive(run):
            if not _stops(reasons):
                rows = _rows(run, record, order, survey, pictures, last)
                stopped, writes = _feed(rows, order, survey, tally)
                reasons += stopped
            if not _stops(reasons):
                asked = None if run.approval is None else run.approval.ask()
                retired = 0 if asked else _finish(run, order, survey.facts)  # one that waits has not ended
        summary = _summary(run, order, survey, tally, reasons, retired, begun, asked)
        summary = _write_files(run, order, summary)
        _end(run, survey.facts, tally, summary, writes)
        with draining(run.ledger, run.storage, settings):
            return show_catalogue(run, summary, tally, order.out_folder)


@contextmanager
def _opened(
    order: CatalogueOrder, settings: Settings, survey: _Survey, run_id: str, progress: Silent | BatchProgress, *,
    dry: bool = False,
) -> Iterator[tuple[RunContext, Pictures]]:  # fmt: skip
    with (
        open_fetcher(settings) as fetcher,
        open_run(run_id, settings, order, survey.recipes.whole, progress, dry=dry, threads=_threads(survey)) as run,
    ):
        survey.recipes.models = run.models
        limit = photo_limits(settings).max_bytes
        yield run, Pictures(survey.table.source, fetcher, run.storage, limit, catalogue_roots(settings), keeps=not dry)


def _threads(survey: _Survey) -> int:
    """Rows on their way at a time: array functions use one core each, models all of them."""
    return min(MOST_THREADS, os.cpu_count() or 1) if survey.recipes.are_plain else 1


def _rows(
    run: RunContext, record: RunRecord, order: CatalogueOrder, survey: _Survey, pictures: Pictures,
    last: CatalogueRecord | None,
) -> Rows:  # fmt: skip
    out = order.out_folder / FOLDER
    return Rows(run, record, order.catalogue, out, survey.recipes, pictures, last.run_id if last else None)


def _no_record() -> RunRecord:
    """The row of a run that there will not be."""
    now = datetime.now(UTC)
    return RunRecord("", None, "catalogue", "", {}, "planned", now, None, now, "", 0, "", "")


def _last(run: RunContext, order: CatalogueOrder) -> CatalogueRecord | None:
    with run.ledger.session(run.storage.tenant, read_only=True) as session:
        return session.find_catalogue(order.catalogue)


def _judged(facts: TableFacts, last: CatalogueRecord | None, order: CatalogueOrder) -> list[dict[str, object]]:
    """What is not as it should be about the table as a whole."""
    before = TableFacts.from_json(last.facts) if last is not None else None
    found = judge_table(facts, before, TableLimits(shrink=order.shrink_limit))
    return [{"code": r.code, "message": r.message, "facts": dict(r.facts), "level": r.level} for r in found]


def _stops(reasons: list[dict[str, object]]) -> bool:
    """Whether one of them ends the run."""
    return any(reason["level"] in STOPS for reason in reasons)


def _feed(rows: Rows, order: CatalogueOrder, survey: _Survey, tally: Tally) -> tuple[list[dict[str, object]], int]:
    """Take all rows through; why that was stopped, and how many transactions it took."""
    run, size = rows.run, max(order.batch_size, survey.size)
    run.progress.expect(-(-survey.facts.rows // size))
    at_once = max(run.executor.workers, items_at_once(run.settings, survey.recipes.whole))
    with NotesWriter(run.ledger, run.storage.tenant, order.catalogue, rows.record.run_id) as writer:
        feed = Feed(rows, writer, tally, at_once=at_once, per_host=run.settings.fetch_per_host, size=size)
        feed.run(survey.table.batches(size))
    if not feed.stopped:
        return [], writer.transactions
    failed, share = tally.statuses["failed"], order.failure_budget
    message = (
        f"stopped after {tally.rows} of {survey.facts.rows} rows: {failed} failed, more than {share:.0%} of them; see "
        "what they have in common, then run the same command again, or allow more with --failure-budget"
    )
    facts: dict[str, object] = {"rows": tally.rows, "failed": failed, "share": share}
    return [{"code": "failure_budget", "message": message, "facts": facts, "level": "error"}], writer.transactions


def _finish(run: RunContext, order: CatalogueOrder, facts: TableFacts) -> int:
    """The run has seen the whole table: products that are not in it retire, and the next run compares with this one."""
    record = CatalogueRecord(order.catalogue, order.table, facts.to_json(), run.run_id, datetime.now(UTC))
    with run.ledger.session(run.storage.tenant) as session:
        retired = session.retire_catalogue_states(order.catalogue, run.run_id)
        session.save_catalogue(record)
    return retired


def _summary(
    run: RunContext, order: CatalogueOrder, survey: _Survey, tally: Tally, reasons: list[dict[str, object]],
    retired: int, begun: float, asked: Approval | None,
) -> CatalogueSummary:  # fmt: skip
    changes = dict(sorted(tally.changes.items())) | ({"retired": retired} if retired else {})
    return CatalogueSummary(
        run_id=run.run_id,
        catalogue=order.catalogue,
        recipe=survey.recipes.main.title,
        status="paused" if asked else catalogue_status(tally.statuses, reasons),
        rows=survey.facts.rows,
        counts=dict(sorted(tally.statuses.items())),
        changes=changes,
        seconds=time.perf_counter() - begun,
        worked=tally.worked,
        redone=tally.redone,
        executed=dict(sorted(tally.executed.items())),
        cached=tally.cached,
        failed=tally.failed,
        reasons=reasons,
        money=money_of_run(run.ledger, run.storage.tenant, run.run_id),
        approval=asked,
    )


def _write_files(run: RunContext, order: CatalogueOrder, summary: CatalogueSummary) -> CatalogueSummary:
    manifest, changes = order.out_folder / MANIFEST, order.out_folder / CHANGES
    tenant = run.storage.tenant
    with run.ledger.spending(tenant, read_only=True) as session:
        bought = session.purchases("settled", run_id=run.run_id) if summary.money.spent else []
    costs: dict[str, int] = {}
    for purchase in bought:
        costs[purchase.item] = costs.get(purchase.item, 0) + (purchase.charged_micro_usd or 0)
    write_manifest(manifest, run.ledger, tenant, order.catalogue, run.run_id, costs)
    write_changes(changes, run.ledger, tenant, run.run_id)
    return replace(summary, manifest=str(manifest), changes_file=str(changes))


def _end(run: RunContext, facts: TableFacts, tally: Tally, summary: CatalogueSummary, writes: int) -> None:
    """Write down how the run ended, and leave word of it for others; one that asks for approval waits."""
    paths = [Path(path) for path in (summary.manifest, summary.changes_file) if path]
    told: Mapping[str, object] = {
        "seconds": round(summary.seconds, 3),
        "catalogue": summary.catalogue,
        "rows": summary.rows,
        "items": dict(summary.counts),
        "changes": dict(summary.changes),
        "stages": sum(summary.executed.values()) + summary.cached,
        "cached": summary.cached,
        "exit_status": summary.exit_status,
        "pace": tally.to_json(),
        "writes": writes,
        "reasons": list(summary.reasons),
        "failed": list(summary.failed),
        "codes": dict(tally.codes),
        "table_sha256": facts.sha256,
        "files": [{"name": path.name, "sha256": digest_file(path), "bytes": path.stat().st_size} for path in paths],
    }
    if summary.approval is not None:
        with run.ledger.session(run.storage.tenant) as session:
            session.pause_run(run.run_id, summary.status, dict(told))
        return
    more = told_of(run.ledger, run.storage.tenant, run.run_id)
    with run.ledger.session(run.storage.tenant) as session:
        session.finish_run(run.run_id, summary.status, dict(told))
        tell_end(session, run.run_id, more)
