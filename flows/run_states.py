"""Runs show the same in Prefect and in the ledger: both are compared, and whoever knows less is told.

Prefect owns the state of a run, the ledger the facts. Where a process died neither was told; what was done in Prefect
while no process was there (cancelled, resumed, late) the ledger has not heard. Compared by every run beside its work
and by upkeep.
"""

from dataclasses import dataclass

from prefect.client.orchestration import SyncPrefectClient

from datasets.ledger import Ledger


@dataclass(frozen=True)
class Change:
    """What one side was told.

    Attributes:
        side: ``ledger`` or ``Prefect``.
        was: Its state before.
        became: Its state now.
    """

    run_id: str
    side: str
    was: str
    became: str


def agree(client: SyncPrefectClient, ledger: Ledger, tenant: str) -> list[Change]:
    """Bring the tenant's runs in ledger and Prefect in step.

    Returns:
        What was changed, on whichever side.

    Raises:
        PrefectException, httpx.HTTPError: The API did not take it.
    """
    raise NotImplementedError
