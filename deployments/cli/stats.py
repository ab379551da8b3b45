"""``stillmotion stats``: what a tenant used, by hour, day, week or month."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from datasets.errors import UsageError
from deployments.cli.inspecting import json_option, open_for_reading, print_document, tenant_option

if TYPE_CHECKING:
    import polars as pl

    from flows.usage import Period

EMPTY = "nothing was done in this time: every run leaves its numbers here"
SHOWN = {"hour": "%Y-%m-%d %H:00", "day": "%Y-%m-%d", "week": "%Y-%m-%d", "month": "%Y-%m"}
HEADINGS = ("items", "delivered", "frames", "seconds", "cost (USD)", "errors", "p50 s", "p95 s", "p99 s")


@click.command()
@click.option(
    "--by",
    type=click.Choice(["hour", "day", "week", "month"]),
    default="day",
    show_default=True,
    help="A row for each of these (UTC).",
)
@click.option(
    "--since", default=None, metavar="TIME", help="From this moment on: 2026-05-04 or 2026-05-04T12:00 (UTC)."
)
@tenant_option
@json_option
def stats(by: "Period", since: str | None, tenant: str | None, as_json: bool) -> int:
    """Show what was used: items, frames, seconds of computing, money, errors.

    p50, p95 and p99 are of the seconds that the stages of one item took together.
    """
    from datasets.facts import Facts
    from flows.usage import usage

    moment = None if since is None else _moment(since)
    settings, storage, ledger = open_for_reading(tenant)
    found = usage(Facts(ledger, storage), by, since=moment)
    document = {"tenant": settings.tenant, "by": by, "since": since, "periods": _periods(found)}
    print_document(document, as_json, lambda: _lines(found, by))
    return 0


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(
            f"--since takes a time as ISO 8601 writes it, 2026-05-04 or 2026-05-04T12:00, got {text!r}"
        ) from None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _periods(found: "pl.DataFrame") -> list[dict[str, Any]]:
    """Rows as JSON holds them; money as exact text."""
    return [
        {**row, "period": row["period"].isoformat(), "cost_usd": str(row["cost_usd"])}
        for row in found.drop("tenant").to_dicts()
    ]


def _lines(found: "pl.DataFrame", by: "Period") -> Iterator[str]:
    from deployments.cli.words import table

    if found.is_empty():
        yield EMPTY
        return
    lines = [(row["period"].strftime(SHOWN[by]), *_cells(row)) for row in found.to_dicts()]
    columns = [[heading, *(line[place] for line in lines)] for place, heading in enumerate((by, *HEADINGS))]
    right = [columns[0], *([cell.rjust(max(map(len, column))) for cell in column] for column in columns[1:])]
    head, *rows = zip(*right, strict=True)
    yield from table(head, rows)


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    counts = [str(row[name]) for name in ("items", "delivered", "frames")]
    times = ["" if row[name] is None else f"{row[name]:.2f}" for name in ("p50_s", "p95_s", "p99_s")]
    return (*counts, f"{row['seconds']:.2f}", str(row["cost_usd"]), str(row["errors"]), *times)
