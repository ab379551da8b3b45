"""``stillmotion approve``: yes or no to what a paused run wants to spend."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from deployments.cli.inspecting import json_option, open_for_reading, print_document, tenant_option

if TYPE_CHECKING:
    from flows.deciding import Decided


@click.command()
@click.argument("run")
@click.option("--reject", is_flag=True, help="No: nothing is bought, its items are stopped.")
@click.option("--budget", type=click.FloatRange(min=0), default=None, help="Most that it may cost, in USD.")
@tenant_option
@json_option
def approve(run: str, reject: bool, budget: float | None, tenant: str | None, as_json: bool) -> int:
    """Allow a paused run to spend what it asked for, or less. RUN is the beginning of its id, or 'latest'.

    A run of a deployment is started again by its runner. One of a command goes on when the same command is given again;
    rejected, it is over.
    """
    from deployments.cli.producing import begin_server, prepare_flows

    settings, _, ledger = open_for_reading(tenant)
    prepare_flows(begin_server(dry_run=False))
    from prefect.client.orchestration import get_client

    from flows.approval import SpendApproval
    from flows.deciding import decide

    answer = SpendApproval(decision="reject" if reject else "approve", budget_usd=budget)
    with get_client(sync_client=True) as client:
        decided = decide(client, ledger, settings.tenant, run, answer)
    print_document(decided.to_json(), as_json, lambda: _lines(decided))
    return 0


def _lines(decided: "Decided") -> Iterator[str]:
    from datasets.money import dollars
    from flows.report import counted

    approval = decided.approval
    about = f"{counted(approval.purchases, 'purchase')} of {dollars(approval.asked_micro_usd, 2)} USD at most"
    budget = f", {dollars(approval.budget_micro_usd or 0, 2)} USD may be spent" if approval.state == "approved" else ""
    yield f"{approval.state}: {about}{budget}"
    words: dict[str, Any] = {
        "runner": "the runner of its deployment starts it again",
        "closed": "nothing was spent, the run is over",
        "command": f"go on with: {decided.run.parameters.get('command') or 'the same command'}",
    }
    yield words[decided.goes_on]
