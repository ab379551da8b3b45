"""What a human says to a paused run, and whether ledger and Prefect agree then."""

from typing import Any

from prefect.client.orchestration import get_client

from datasets.settings import read_settings
from flows.approval import SpendApproval
from flows.deciding import Decided, decide
from flows.run_states import agree
from tests.flows.hero_runs import ledger


def said(run_id: str, decision: Any, budget_usd: float | None = None) -> Decided:
    """The answer to what a run asks for."""
    answer = SpendApproval(decision=decision, budget_usd=budget_usd)
    with get_client(sync_client=True) as client:
        return decide(client, ledger(), read_settings().tenant, run_id, answer)


def in_step() -> list[tuple[str, str, str]]:
    """What had to be brought in step: side, what it was, what it became."""
    with get_client(sync_client=True) as client:
        return [(each.side, each.was, each.became) for each in agree(client, ledger(), read_settings().tenant)]
