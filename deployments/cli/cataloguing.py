"""``stillmotion catalogue``: a product table in, publishable pictures of every product out, again and again."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from datasets.errors import UsageError
from datasets.redaction import redact_all
from deployments.cli.options import common_options, read_common, restyle_options
from deployments.cli.producing import begin_server, command_line, hand_down

if TYPE_CHECKING:
    from flows.catalogue_summary import CatalogueSummary

SHOWN = 10  # failed rows in words; --json prints a hundred, the manifest holds all
OWN = ("sku", "image", "recipe", "updated")  # what a column can be, besides stage.field


@click.command()
@click.argument("table", metavar="TABLE")
@click.option("--recipe", default="packshot", show_default=True, help="A recipe's name or a .json list of stages.")
@click.option(
    "--map",
    "mapping",
    multiple=True,
    metavar="WHAT=COLUMN",
    help="Which column is what: sku, image, recipe, updated, or STAGE.FIELD of the recipe. May be repeated.",
)
@click.option("--name", default=None, help="Under which name runs are compared; the table's own without it.")
@click.option("--format", "kind", type=click.Choice(["auto", "csv", "ndjson", "parquet", "delta"]), default="auto")
@click.option("--encoding", default="utf-8", show_default=True, help="Of CSV and NDJSON, such as latin-1.")
@click.option("--separator", default=",", show_default=True, help="What stands between columns of CSV.")
@click.option(
    "--failure-budget",
    type=click.FloatRange(0, 1),
    default=0.1,
    show_default=True,
    help="Stop when more than this share of the rows fails.",
)
@click.option(
    "--shrink-limit",
    type=click.FloatRange(0, 1),
    default=0.3,
    show_default=True,
    help="Do not begin when more than this share of the last run's rows is gone.",
)
@click.option("--batch-size", type=click.IntRange(1, 1000), default=64, help="Rows shown as one task in Prefect.")
@restyle_options
@common_options
def catalogue(table: str, recipe: str, mapping: tuple[str, ...], **values: Any) -> int:
    """Take every row of a product table through a recipe; what has not changed since the last run is left alone."""
    server = begin_server(dry_run=values["dry_run"])
    common = read_common(values)
    given = {
        "table": table if "://" in table else str(Path(table).expanduser().absolute()),
        "mapping": _mapping(mapping, values),
        "name": values["name"],
        "failure_budget": values["failure_budget"],
        "shrink_limit": values["shrink_limit"],
        "batch_size": values["batch_size"],
    }
    hand_down(common, server)
    if server is not None:
        from deployments.api_server import wait_until_ready

        wait_until_ready(server)
    from deployments.cli.running import run_catalogue

    summary = run_catalogue(given, recipe, common, command=command_line())
    if common.as_json:
        click.echo(json.dumps(redact_all(summary.to_json()), indent=1, default=str))
    else:
        for line in describe(summary):
            click.echo(line)
    return summary.exit_status


def _mapping(given: tuple[str, ...], values: Mapping[str, Any]) -> dict[str, object]:
    """What ``--map`` says, as fields of a ``ColumnMapping``.

    Raises:
        UsageError: It says something else.
    """
    mapping: dict[str, object] = {
        "format": values["kind"],
        "encoding": values["encoding"],
        "separator": {"\\t": "\t", "tab": "\t"}.get(values["separator"], values["separator"]),
    }
    parameters: dict[str, str] = {}
    for each in given:
        what, equals, column = each.partition("=")
        if not equals or not column or (what not in OWN and "." not in what):
            raise UsageError(f"--map takes WHAT=COLUMN with {', '.join(OWN)} or STAGE.FIELD, got {each!r}")
        if what in OWN:
            mapping[what] = column
        else:
            parameters[what] = column
    return mapping | {"parameters": parameters}


def describe(summary: "CatalogueSummary") -> Iterator[str]:
    """A run in a few lines: what changed, what failed and why, where everything is."""
    yield ""
    for reason in summary.reasons:
        yield f"{reason['level']}: {reason['message']} [{reason['code']}]"
    for row in summary.failed[:SHOWN]:
        yield from _failed(row)
    if len(summary.failed) > SHOWN:
        more = summary.counts.get("failed", len(summary.failed)) - SHOWN
        yield f"... and {more} more that failed"
    told = ", ".join(f"{count} {change}" for change, count in summary.changes.items()) or "no rows"
    yield f"{summary.catalogue}: {summary.rows} rows: {told}, {summary.seconds:.1f} s"
    if summary.plan is not None:
        from flows.catalogue_planning import words

        yield words(summary.plan)
        return
    from deployments.cli.words import how_to_approve, short

    yield f"{summary.redone} products were made anew"
    for name, path in (("manifest", summary.manifest), ("changes", summary.changes_file), ("report", summary.report)):
        if path:
            yield f"{name + ':':<9} {short(Path(path))}"
    yield f"run:      {summary.run_id}"
    if summary.approval is not None:
        yield from how_to_approve(summary.run_id, summary.approval)


def _failed(row: Mapping[str, object]) -> Iterator[str]:
    reasons = row["reasons"]
    assert isinstance(reasons, list)
    sku = "no SKU" if row["sku"] is None else row["sku"]
    for reason in reasons[:1]:
        yield f"line {row['line']}, {sku}: {reason['message']} [{reason['code']}]"
