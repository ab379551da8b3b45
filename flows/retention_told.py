"""Events that were told and artifacts of runs long past: what upkeep removes beside outputs and assets."""

import json
from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

from datasets.ledger import Ledger
from datasets.ledger.leases import held
from datasets.ledger.retention_rows import flow_runs_ended, forget_events
from datasets.lineage.outbox import LEASE
from datasets.lineage.sinks import EVENT_FOLDER, EVENTS
from datasets.storage import Storage
from datasets.stored import list_objects, modified_at

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.filters import ArtifactFilter

AT_ONCE = 100  # runs that one question to Prefect's server names
EVENT_TIME = "eventTime"


def remove_events(storage: Storage, ledger: Ledger, before: datetime, *, dry_run: bool) -> int:
    """Events that their sink took before a moment, from the outbox and from the storage. Returns how many."""
    with held(ledger.lease(storage.tenant, LEASE)) as ours:
        if not ours:  # somebody is telling events; the next pass comes to it
            return 0
        told = forget_events(ledger, storage.tenant, before, dry_run=dry_run)
        return told + _from_file(storage, before, dry_run=dry_run) + _from_objects(storage, before, dry_run=dry_run)


def _from_file(storage: Storage, before: datetime, *, dry_run: bool) -> int:
    path = storage.local_path(EVENTS)
    if path is None or not path.is_file():
        return 0
    old = 0
    with storage.temporary_file() as part:
        with path.open("rb") as lines, part.open("wb") as kept:
            for line in lines:
                if _is_before(line, before):
                    old += 1
                else:
                    kept.write(line)
        if old and not dry_run:
            storage.move_in(EVENTS, part)
    return old


def _is_before(line: bytes, moment: datetime) -> bool:
    """Whether an event is older; a line that says no time stays."""
    try:
        at = datetime.fromisoformat(json.loads(line)[EVENT_TIME])
    except (ValueError, KeyError, TypeError):
        return False
    return at.tzinfo is not None and at < moment


def _from_objects(storage: Storage, before: datetime, *, dry_run: bool) -> int:
    found = list_objects(storage, EVENT_FOLDER).items()
    old = [name for name, facts in found if modified_at(facts) < before.timestamp()]
    for name in old if not dry_run else ():
        storage.remove_tree(f"{EVENT_FOLDER}/{name}")
    return len(old)


def remove_artifacts(ledger: Ledger, tenant: str, before: datetime, *, dry_run: bool) -> int:
    """Pictures and tables of runs that ended before a moment, from Prefect's server. Returns how many.

    Raises:
        PrefectException, httpx.HTTPError: The server did not take it.
    """
    from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId
    from prefect.context import SyncClientContext

    ended = [UUID(each) for each in flow_runs_ended(ledger, tenant, before)]
    removed = 0
    with SyncClientContext.get_or_create() as context:
        for first in range(0, len(ended), AT_ONCE):
            ids = ended[first : first + AT_ONCE]
            removed += _remove_of(
                context.client, ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=ids)), dry_run
            )
    return removed


def _remove_of(client: "SyncPrefectClient", these: "ArtifactFilter", dry_run: bool) -> int:
    removed = 0
    while found := client.read_artifacts(artifact_filter=these):  # a page at a time
        removed += len(found)
        if dry_run:
            break
        for artifact in found:
            client.delete_artifact(artifact.id)
    return removed
