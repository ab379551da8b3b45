"""All parts of upkeep in their order, and those that keep the house: lost runs, half-written files, models, storage.

Nothing here imports Prefect before the place is connected: it reads its settings when it is imported.
"""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from datasets.ledger import LedgerSession
from datasets.ledger.processes import ORPHAN_AFTER, host_name, is_alive
from datasets.retention import RetentionRules
from datasets.thermal import AUTOMATIC
from flows.upkeep import READER, Part, Place, drained, due, guarded, looked_up, sweep
from flows.upkeep_order import UpkeepOrder, UpkeepPart

if TYPE_CHECKING:
    from flows.retention import Removed

DEAD = ("crashed", "interrupted")
WAITING = ("paused", "scheduled", "late")
MEGABYTE = 1_000_000
WORDS = {
    "frames": "pixels of steps on the way",
    "steps": "steps that led to nothing",
    "outputs": "outputs of runs long past",
    "originals": "originals that nothing was kept of",
    "assets": "other files",
    "events": "events that were told",
    "reports": "artifacts in Prefect",
}


def done_parts(place: Place, order: UpkeepOrder) -> Iterator[Part]:
    """The parts that an order names, in their own order; one that fails does not keep the next from being done."""
    for part, work in _parts(place, order).items():
        if part in order.parts and (part is UpkeepPart.RETENTION or not order.dry_run):
            yield guarded(part.value, work)


def _parts(place: Place, order: UpkeepOrder) -> dict[UpkeepPart, Callable[[], Part]]:
    return {
        UpkeepPart.RUNS: lambda: runs_closed(place),
        UpkeepPart.PARTS: lambda: parts_swept(place),
        UpkeepPart.SWEEP: lambda: sweep(place),
        UpkeepPart.DRAIN: lambda: drained(place),
        UpkeepPart.LOOK_UP: lambda: looked_up(place),
        UpkeepPart.RECONCILE: lambda: reconciled(place, order.usage_export),
        UpkeepPart.DUE: lambda: due(place),
        UpkeepPart.MODELS: lambda: models_cooled(place),
        UpkeepPart.RETENTION: lambda: retained(place, order.retention, dry_run=order.dry_run),
    }


def runs_closed(place: Place) -> Part:
    """Runs whose process is gone are closed, and ledger and Prefect brought in step where they may differ."""
    from flows.telling import tell_end, told_of

    tenant = place.settings.tenant
    with place.ledger.session(tenant) as session:
        crashed = session.close_orphans(ORPHAN_AFTER)
        for run_id in crashed:
            tell_end(session, run_id, told_of(place.ledger, tenant, run_id))
    changed = _in_step(place)
    line = f"runs whose process is gone: {len(crashed)} closed; brought in step between ledger and Prefect: {changed}"
    return Part("runs", (line,), {"closed": crashed, "in_step": changed})


def _in_step(place: Place) -> int:
    """How many runs were changed on either side; Prefect is asked only where there are runs it may see otherwise."""
    with place.ledger.session(place.settings.tenant, read_only=True) as session:
        differing = [run for status in (*DEAD, *WAITING) for run in session.runs(limit=1, status=status)]
    if not differing:
        return 0
    place.connect()
    from prefect.context import SyncClientContext

    from flows.run_states import agree

    with SyncClientContext.get_or_create() as context:
        return len(agree(context.client, place.ledger, place.settings.tenant))


def parts_swept(place: Place) -> Part:
    """Files that killed processes of this host left half-written."""
    place.storage.sweep()
    return Part("parts", ("half-written files of processes that are gone were removed",))


def models_cooled(place: Place) -> Part:
    """Models that were to be warm until a time that is over; processes that are gone hold none any more."""
    with place.ledger.session(place.settings.tenant) as session:
        warm = {name for name, state in session.model_states().items() if state.wanted.thermal == "warm"}
        over = sorted(name for name in warm if session.model_states()[name].wanted.now() != "warm")
        for name in over:
            session.want_model(name, AUTOMATIC, by=READER)
        gone = _forget_processes(session)
    line = f"{len(over)} models whose time to be warm is over, {gone} processes with models that are gone"
    return Part("models", (line,), {"cooled": over, "processes_gone": gone})


def _forget_processes(session: LedgerSession) -> int:
    here = {each.pid: each.told_at for each in session.model_processes() if each.host == host_name()}
    gone = [pid for pid, told_at in here.items() if not is_alive(pid, born_by=told_at.timestamp())]
    for pid in gone:
        session.record_model_process(host_name(), pid, [])
    return len(gone)


def reconciled(place: Place, export: str | None) -> Part:
    """The books held against a provider's usage export, where one is named. Nothing is settled by it."""
    from datasets.ledger.usage_export import read_export
    from flows.reconciling import compare

    if export is None:
        return Part("reconcile", ("no usage export is named",), {"differences": None})
    found = compare(place.ledger, place.settings.tenant, read_export(Path(export)))
    lines = [f"{len(found.differences)} differences to {export}", *(entry.words for entry in found.entries)]
    return Part("reconcile", lines, {"differences": len(found.differences)})


def retained(place: Place, rules: RetentionRules, *, dry_run: bool) -> Part:
    """What nothing holds on to any more is removed, or what would be is told.

    Raises:
        LeaseBusyError: Another one is removing.
    """
    from flows.retention import Retention

    retention = Retention(place.storage, place.ledger, rules, place.settings.lease_s)
    removed = retention.plan() if dry_run else retention.run()
    _count_told(place, rules, removed, dry_run=dry_run)
    return Part("retention", _retention_lines(removed, dry_run=dry_run), {"dry_run": dry_run} | removed.document)


def _count_told(place: Place, rules: RetentionRules, removed: "Removed", *, dry_run: bool) -> None:
    from flows.retention_told import remove_artifacts, remove_events

    now, tenant = datetime.now(UTC), place.settings.tenant
    if rules.events_days is not None:
        before = now - timedelta(days=rules.events_days)
        removed.things["events"] += remove_events(place.storage, place.ledger, before, dry_run=dry_run)
    if rules.reports_days is not None:
        place.connect()
        before = now - timedelta(days=rules.reports_days)
        removed.things["reports"] += remove_artifacts(place.ledger, tenant, before, dry_run=dry_run)


def _retention_lines(removed: "Removed", *, dry_run: bool) -> list[str]:
    what = "would go" if dry_run else "gone"
    lines = [
        f"{what}: {removed.things[kind]} {WORDS[kind]}, {removed.bytes[kind] / MEGABYTE:.1f} MB"
        for kind in WORDS
        if removed.things[kind]
    ]
    if removed.waiting:
        lines.append(
            f"{removed.waiting} wait until runs that may use them are at their end; the next upkeep removes them"
        )
    if removed.restored:
        lines.append(f"{removed.restored} were put back, since something holds on to them again")
    if removed.busy:
        lines.append(f"{removed.busy} are being made right now and were left alone")
    return lines or ["nothing is to go"]
