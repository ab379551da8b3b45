"""``stillmotion runs``, ``show`` and ``report``: what was done, from the ledger."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from datasets.settings import Settings

tenant_option = click.option("--tenant", default=None, help="Whose work is shown.")
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document on standard output.")


def print_document(document: object, as_json: bool, lines: Callable[[], Any]) -> None:
    """A document as JSON on standard output, or as lines for a person."""
    if as_json:
        click.echo(json.dumps(document, indent=1, default=str))
        return
    for line in lines():
        click.echo(line)


def open_for_reading(tenant: str | None) -> tuple["Settings", Any, Any]:
    """The tenant's settings, storage and ledger."""
    from datasets.ledger import open_ledger
    from datasets.settings import read_settings
    from datasets.storage import open_storage
    from model_blocks.object_access import access_options

    settings = read_settings(tenant=tenant)
    ledger = open_ledger(settings.ledger, owner_url=settings.ledger_owner_url)
    options = access_options(settings.storage_root, settings)
    return settings, open_storage(settings.storage_root, settings.tenant, options), ledger


@click.command()
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="How many runs.")
@tenant_option
@json_option
def runs(limit: int, tenant: str | None, as_json: bool) -> int:
    """List the latest runs."""
    from deployments.cli.words import table

    settings, _, ledger = open_for_reading(tenant)
    with ledger.session(settings.tenant, read_only=True) as session:
        records = session.runs(limit=limit)
    document = [
        {
            "run_id": record.run_id,
            "status": record.status,
            "flow": record.flow,
            "recipe": record.recipe,
            "started_at": record.started_at.isoformat(),
            "summary": record.summary,
        }
        for record in records
    ]
    rows = [
        (
            record.run_id[:8],
            record.started_at.strftime("%Y-%m-%d %H:%M:%S"),
            record.recipe,
            record.status,
            ", ".join(f"{count} {status}" for status, count in ((record.summary or {}).get("items") or {}).items()),
        )
        for record in records
    ]
    print_document(document, as_json, lambda: table(("run", "started (UTC)", "recipe", "status", "items"), rows))
    return 0


@click.command()
@click.argument("run", default="latest")
@tenant_option
@json_option
def show(run: str, tenant: str | None, as_json: bool) -> int:
    """Show one run: its items, outputs, stages and errors. RUN is the beginning of its id, or 'latest'."""
    settings, _, ledger = open_for_reading(tenant)
    with ledger.session(settings.tenant, read_only=True) as session:
        record = session.find_run(run)
        items, stages = session.items(record.run_id), session.stages(record.run_id)
        outputs, errors = session.outputs(record.run_id), session.errors(record.run_id)
        chosen = session.choices(record.run_id)
    document = {
        "run_id": record.run_id,
        "status": record.status,
        "recipe": record.recipe,
        "started_at": record.started_at.isoformat(),
        "finished_at": record.finished_at.isoformat() if record.finished_at else None,
        "parameters": record.parameters,
        "items": [
            {
                "item": item.item,
                "source": item.source,
                "status": item.status,
                "reasons": item.reasons,
                "outputs": [
                    {"role": o.role, "path": o.path, "sha256": o.sha256, "width": o.width, "height": o.height}
                    for o in outputs
                    if o.item == item.item
                ],
            }
            for item in items
        ],
        "stages": [
            {
                "item": stage.item,
                "stage": stage.stage,
                "model": stage.model,
                "seconds": stage.seconds,
                "cached": stage.cached,
                "chunks": stage.chunks,
                "skipped": stage.skipped,
                "fingerprint": stage.fingerprint,
            }
            for stage in stages
        ],
        "models": [
            {
                "item": each.item or None,
                "capability": each.capability,
                "model": each.model,
                "licence": each.licence,
                "purpose": each.purpose,
                "reason": each.reason,
                "decision": each.record,
            }
            for each in chosen
        ],
        "errors": [
            {
                "item": error.item,
                "stage": error.stage,
                "code": error.code,
                "message": error.message,
                "facts": error.facts,
            }
            for error in errors
        ],
    }
    print_document(document, as_json, lambda: _lines(document))
    return 0


def _lines(document: dict[str, Any]) -> Any:
    from deployments.cli.words import table

    yield f"run {document['run_id']}  {document['recipe']}  {document['status']}"
    for item in document["items"]:
        yield f"{item['item']}: {item['status']}"
        for reason in item["reasons"] or []:
            yield f"  {reason['level']}: {reason['message']} [{reason['code']}]"
        for output in item["outputs"]:
            yield f"  {output['role']:<10} {output['path']}"
    yield ""
    rows = [
        (
            stage["item"],
            stage["stage"],
            stage["model"] or "",
            "skipped" if stage["skipped"] else "cached" if stage["cached"] else f"{stage['seconds']:.2f} s",
        )
        for stage in document["stages"]
    ]
    yield from table(("item", "stage", "model", "time"), rows)
    if document["models"]:
        yield ""
        shown = ("capability", "model", "licence", "reason")
        yield from table(
            ("for", *shown[1:], "item"),
            [(*(each[name] for name in shown), each["item"] or "") for each in document["models"]],
        )


@click.command()
@click.argument("run", default="latest")
@click.option("--out", default="report.html", show_default=True, help="Where the page goes.")
@tenant_option
def report(run: str, out: str, tenant: str | None) -> int:
    """Write the report of a run again. RUN is the beginning of its id, or 'latest'."""
    from datasets.storage import write_atomically
    from flows.reporting import page

    _, storage, ledger = open_for_reading(tenant)
    path = Path(out).absolute()
    write_atomically(path, page(ledger, storage, run, path))
    click.echo(f"wrote {path}")
    return 0
