"""``stillmotion check``, ``quarantine`` and ``release``: what gates say, what they hold back, and letting it go on."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from deployments.cli.inspecting import json_option, open_for_reading, print_document, tenant_option
from deployments.cli.options import model_options, read_common

if TYPE_CHECKING:
    from datasets.ledger import QuarantineRecord
    from flows.checking import CheckSummary
    from flows.releasing import Released

GATES = ("intake", "spend", "delivery")
KEY_DIGITS = 12  # of a key, as shown; enough to name it


@click.command()
@click.argument("photos", nargs=-1, required=True, metavar="PHOTO...")
@click.option("--gate", type=click.Choice(GATES), default="intake", show_default=True, help="Which gate looks.")
@click.option(
    "--thresholds",
    type=click.Path(path_type=Path),
    metavar="FILE.json",
    help='What is wanted different, as in STILLMOTION_GATES: {"intake": {"sharp": {"min": 30}}}.',
)
@click.option("--docs", type=click.Path(path_type=Path), metavar="FOLDER", help="Write Great Expectations' Data Docs.")
@model_options
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default=None, help="Where models run.")
@click.option("--workers", type=click.IntRange(min=1, max=256), default=None, help="Worker processes.")
@tenant_option
@json_option
def check(photos: tuple[str, ...], gate: str, thresholds: Path | None, docs: Path | None, **values: Any) -> int:
    """Ask a gate about photographs, and nothing else: nothing is made, held back or paid.

    The spend gate looks at the cutout, which is made first for pictures without transparency. Exit status: 0 all pass,
    3 something would be stopped, 1 something could not be checked, 2 bad usage or not one readable input.
    """
    from deployments.cli.producing import begin_server, hand_down, prepare_flows

    server = begin_server(dry_run=False)
    common = read_common({"out": "", "budget": None, "keep": False, "dry_run": False, **values})
    wanted = _read_thresholds(thresholds) if thresholds else {}
    hand_down(common, server)
    prepare_flows(server)
    from deployments.cli.running import run_check

    summary = run_check(photos, gate, wanted, docs, common)
    print_document(summary.to_json(), common.as_json, lambda: _check_lines(summary))
    return summary.exit_status


@click.command()
@click.option("--all", "with_released", is_flag=True, help="Show what was released, too.")
@tenant_option
@json_option
def quarantine(with_released: bool, tenant: str | None, as_json: bool) -> int:
    """List what gates hold back, the latest first."""
    from flows.releasing import held_json

    settings, _, ledger = open_for_reading(tenant)
    with ledger.session(settings.tenant, read_only=True) as session:
        records = session.held() if with_released else session.quarantined()
    print_document([held_json(record) for record in records], as_json, lambda: _held_lines(records))
    return 0


@click.command()
@click.argument("item")
@click.option("--why", required=True, help="Why it may go on; kept with the release.")
@click.option("--run", default=None, help="Beginning of the id of the run that stopped it; else the latest stop.")
@click.option("--gate", type=click.Choice(GATES), default=None, help="Where it was stopped; else the latest stop.")
@tenant_option
@json_option
def release(item: str, why: str, run: str | None, gate: str | None, tenant: str | None, as_json: bool) -> int:
    """Let ITEM go on although a gate stopped it, from the next run over it.

    ITEM is its name, or the beginning of its key as `stillmotion quarantine` shows it. What stopping it was counted to
    have saved is taken back. Another picture of the same name is decided anew.
    """
    from flows.releasing import Wanted
    from flows.releasing import release as let_go

    settings, _, ledger = open_for_reading(tenant)
    released = let_go(ledger, settings.tenant, Wanted(item, run, gate), by=_user(), why=why)
    print_document(released.to_json(), as_json, lambda: _release_lines(released))
    return 0


def _read_thresholds(path: Path) -> dict[str, Any]:
    from datasets.errors import UsageError

    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"the thresholds {str(path)!r} cannot be read as JSON: {error}", path=str(path)) from error
    if not isinstance(found, dict) or not all(isinstance(value, dict) for value in found.values()):
        raise UsageError(
            f'{str(path)!r} must hold changes by gate and expectation: {{"intake": {{"sharp": {{"min": 30}}}}}}',
            path=str(path),
        )
    return found


def _user() -> str:
    """Who is at the keyboard; a container may know its user by number only."""
    import getpass
    import os

    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


def _check_lines(summary: "CheckSummary") -> Iterator[str]:
    from deployments.cli.words import table

    rows = list[tuple[str, ...]]()
    for each in summary.items:
        entries = [(one["expectation"], _number(one["observed"]), _bound(one["bound"])) for one in each.failed]
        for position, entry in enumerate(entries or [("", "", "")]):
            rows.append((each.item, each.decision, *entry) if position == 0 else ("", "", *entry))
    yield from table(("item", "decision", "not met", "observed", "expected"), rows)
    for each in summary.items:
        for reason in each.reasons:
            yield f"{each.item}: {reason.message} [{reason.code}]"
    if summary.docs:
        yield f"Data Docs: {summary.docs}"


def _number(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _bound(bound: dict[str, Any]) -> str:
    from expectations.decisions import asked_words

    return asked_words(bound)


def _held_lines(records: "list[QuarantineRecord]") -> Iterator[str]:
    from deployments.cli.words import table

    if not records:
        yield "nothing is held"
        return
    rows = [
        (
            record.hold_key[:KEY_DIGITS],
            record.item,
            record.gate,
            record.stopped_at.strftime("%Y-%m-%d %H:%M:%S"),
            "; ".join(str(reason["message"]) for reason in record.reasons),
            f"{record.released_by}: {record.why}" if record.released_at else "",
        )
        for record in records
    ]
    yield from table(("key", "item", "gate", "stopped (UTC)", "why", "released by"), rows)


def _release_lines(released: "Released") -> Iterator[str]:
    record = released.record
    assert record.released_at is not None
    if released.before:
        said = f"by {record.released_by} on {record.released_at:%Y-%m-%d %H:%M:%S} UTC: {record.why}"
        yield f"{record.item} was released at the {record.gate} gate before, {said}"
    else:
        yield f"{record.item} may pass the {record.gate} gate from the next run on"
    if released.reversed_usd:
        yield f"avoided cost taken back: {released.reversed_usd:.6f} USD"
    yield f"now run again: {released.command or f'what run {record.run_id} did'}"
