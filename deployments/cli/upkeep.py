"""``stillmotion upkeep``: what is done regularly, by hand or by a schedule."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from datasets.errors import UsageError
from deployments.cli.inspecting import json_option, open_for_reading, print_document, tenant_option

if TYPE_CHECKING:
    from flows.reconciling import Entry, Reconciliation
    from flows.upkeep import Part, Place
    from flows.upkeep_order import UpkeepOrder

DIFFERENT = 3  # exit status of a list that does not agree, of outcomes that stay open, of credentials that are due


@click.group()
def upkeep() -> None:
    """Keep books, events and credentials in order; `stillmotion upkeep run` is the one to schedule."""


@upkeep.command("run")
@click.option(
    "--retention", is_flag=True, help="Also remove what nothing holds on to; see `stillmotion upkeep retention`."
)
@click.option("--export", type=click.Path(path_type=Path), default=None, help="A provider's usage export to compare.")
@tenant_option
@json_option
def run_upkeep(retention: bool, export: Path | None, tenant: str | None, as_json: bool) -> int:
    """Do all parts, one after the other. One that fails does not stop the others.

    runs closes those whose process is gone; parts removes half-written files; sweep finds purchases of processes that
    are gone; drain tells waiting events; look-up asks what may have been charged; reconcile compares an export; due
    warns of credentials; models cools those whose time is over. Exit status 1 if a part failed.
    """
    from flows.upkeep_order import UpkeepOrder, UpkeepPart

    parts = tuple(part for part in UpkeepPart if retention or part is not UpkeepPart.RETENTION)
    return do_parts(UpkeepOrder(parts=parts, usage_export=None if export is None else str(export)), tenant, as_json)


def do_parts(order: "UpkeepOrder", tenant: str | None, as_json: bool) -> int:
    """Do the parts of an order and print what came of them. Exit status 1 if one failed."""
    from flows.upkeep_parts import done_parts

    done = list(done_parts(_place(tenant), order))
    failed = any(part.failed for part in done)
    document = {"status": "failed" if failed else "done", "parts": [part.document for part in done]}
    print_document(document, as_json, lambda: _part_lines(done))
    return 1 if failed else 0


@upkeep.command("look-up")
@tenant_option
@json_option
def look_up(tenant: str | None, as_json: bool) -> int:
    """Ask the paid service about every purchase that may have been charged, or whose answer is not there.

    Answers are kept, so that the same command goes on with them. Exit status 3 if an outcome stays open.
    """
    from flows.upkeep import looked_up

    part = looked_up(_place(tenant))
    print_document(part.facts, as_json, lambda: part.lines)
    return DIFFERENT if part.facts["open"] else 0


@upkeep.command()
@tenant_option
@json_option
def due(tenant: str | None, as_json: bool) -> int:
    """Show which credentials end or should be rotated soon. Exit status 3 if there are some."""
    from flows.upkeep import due as due_part

    part = due_part(_place(tenant))
    print_document(part.facts, as_json, lambda: part.lines)
    return DIFFERENT if part.facts["warnings"] else 0


@upkeep.command()
@tenant_option
@json_option
def drain(tenant: str | None, as_json: bool) -> int:
    """Tell the events about runs that their sink has not taken yet. Exit status 1 if it takes none now."""
    from flows.upkeep import drained

    part = drained(_place(tenant))
    print_document(part.document, as_json, lambda: part.lines)
    return 1 if part.failed else 0


@upkeep.command()
@click.argument("export", type=click.Path(path_type=Path))
@click.option("--service", default=None, help="Whose list it is; needed if there were purchases of several services.")
@click.option("--map", "maps", multiple=True, metavar="FIELD=COLUMN", help="Column of key, reference, amount or time.")
@click.option("--unit", type=click.Choice(["usd", "micro_usd", "cents"]), default=None, help="Of the amounts.")
@click.option("--complete-since", default=None, metavar="TIME", help="The export has every charge from then on.")
@click.option("--complete-until", default=None, metavar="TIME", help="The export has every charge until then.")
@click.option("--apply", "is_applied", is_flag=True, help="Settle by it what may have been charged.")
@tenant_option
@json_option
def reconcile(
    export: Path,
    service: str | None,
    maps: tuple[str, ...],
    unit: str | None,
    complete_since: str | None,
    complete_until: str | None,
    is_applied: bool,
    tenant: str | None,
    as_json: bool,
) -> int:
    """Hold the books against a provider's usage EXPORT, a .csv or .json file, and list every difference.

    With --apply, purchases with an unknown outcome are settled as the export proves. One that it does not name counts
    as not charged only if --complete-until says how far the export is complete, and it was sent an hour before that.
    Exit status 0 without differences, or if all of them are settled now; 3 with.
    """
    from datasets.ledger.usage_export import read_export
    from flows.reconciling import Coverage, apply, compare

    coverage = Coverage(_moment(complete_since), _moment(complete_until))
    lines = read_export(export, _columns(maps), unit)
    place = _place(tenant)
    found = compare(place.ledger, place.settings.tenant, lines, service=service, coverage=coverage)
    answers: list[dict[str, Any]] = []
    if is_applied:
        found = apply(place.ledger, place.settings.tenant, found)
        answers = _answers(place, found)
    print_document(_document(found, answers), as_json, lambda: _lines(found, answers))
    return DIFFERENT if found.left else 0


def _answers(place: "Place", found: "Reconciliation") -> list[dict[str, Any]]:
    """What can be had of the answers to what was settled just now, by looking up."""
    from flows.upkeep import lost_answers

    applied = [entry.purchase for entry in found.entries if entry.is_applied and entry.purchase]
    return lost_answers(place, [one for one in applied if one.state == "settled"])


def _place(tenant: str | None) -> "Place":
    from flows.upkeep import Place

    settings, storage, ledger = open_for_reading(tenant)
    return Place(settings, storage, ledger, _connected())


def _connected() -> Callable[[], None]:
    """Attaches to Prefect's server or starts it, once, at the first call."""

    @cache
    def connect() -> None:
        from deployments.cli.producing import begin_server, prepare_flows

        prepare_flows(begin_server(dry_run=False))

    return connect


def _columns(maps: tuple[str, ...]) -> dict[str, str]:
    columns: dict[str, str] = {}
    for given in maps:
        field, separator, column = given.partition("=")
        if not separator or not column:
            raise UsageError(f"--map takes FIELD=COLUMN, got {given!r}")
        if field in columns:
            raise UsageError(f"--map names two columns for {field}")
        columns[field] = column
    return columns


def _moment(given: str | None) -> datetime | None:
    if given is None:
        return None
    try:
        moment = datetime.fromisoformat(given)
    except ValueError as error:
        raise UsageError(f"a time is written as 2026-05-31T23:59:59Z, UTC if it does not say, got {given!r}") from error
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _part_lines(parts: "list[Part]") -> Iterator[str]:
    for part in parts:
        yield f"{part.name}: failed: {part.failed}" if part.failed else f"{part.name}:"
        yield from (f"  {line}" for line in part.lines)


def _document(found: "Reconciliation", answers: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "status": "different" if found.left else "agreed",
        "service": found.service,
        "lines": found.lines,
        "purchases": found.purchases,
        "differences": [_entry(entry) for entry in found.differences],
        "still_unknown": [_entry(entry) for entry in found.entries if entry.difference is None],
        "answers": answers,
    }


def _entry(entry: "Entry") -> dict[str, Any]:
    from flows.spending import money_document

    difference, purchase = entry.difference, entry.purchase
    document: dict[str, Any] = {
        "kind": difference.kind if difference else "unknown",
        "item": purchase.item if purchase else None,
        "run_id": purchase.run_id if purchase else None,
        "state": purchase.state if purchase else None,
        "purchase_key": purchase.purchase_key if purchase else None,
        "key": purchase.idempotency_key if purchase else difference.idempotency_key if difference else None,
        "reference": difference.reference if difference else None,
        "lines": difference.lines if difference else 0,
        "is_applied": entry.is_applied,
        "words": entry.words,
    }
    amounts = {"here": difference.here_micro_usd, "there": difference.there_micro_usd} if difference else {}
    return document | money_document(amounts)


def _lines(found: "Reconciliation", answers: list[dict[str, Any]]) -> Iterator[str]:
    from deployments.cli.words import table
    from flows.report import counted

    of = f" of {found.service}" if found.service else ""
    sides = f"{counted(found.lines, 'line')} against {counted(found.purchases, 'purchase')}{of}"
    yield f"{sides}: {counted(len(found.differences), 'difference')}"
    if found.entries:
        headings = ("what", "item", "here (USD)", "there (USD)", "reference", "key")
        yield from table(headings, [_cells(_entry(entry)) for entry in found.entries])
    for entry in found.entries:
        name = entry.purchase.item if entry.purchase else _cells(_entry(entry))[4] or _cells(_entry(entry))[5]
        yield f"{name}: {entry.words}"
    for answer in answers:
        yield f"{answer['item']}: {answer['words']}"


def _cells(entry: dict[str, Any]) -> tuple[str, ...]:
    from datasets.money import dollars

    here, there = (entry.get(f"{side}_micro_usd") for side in ("here", "there"))
    return (
        entry["kind"].replace("_", " ") + (", applied" if entry["is_applied"] else ""),
        entry["item"] or "",
        "" if here is None else dollars(here, 2),
        "" if there is None else dollars(there, 2),
        entry["reference"] or "",
        entry["key"] or "",
    )
