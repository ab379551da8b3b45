"""The money of a run: its budget at the start, its sums at the end."""

from datasets.ledger import Ledger, Summary, run_scope
from datasets.money import MICRO
from flows.order import Order
from flows.sums import Money
from tasks.context import RunContext


def money_of(summary: Summary) -> Money:
    """Sums of the ledger in US dollars."""
    return Money(
        spent=summary.spent / MICRO,
        avoided_net=summary.avoided_net / MICRO,
        avoided={reason: amount / MICRO for reason, amount in sorted(summary.avoided.items())},
        reversed=summary.reversed / MICRO,
        guard_cost=summary.guard_cost / MICRO,
        held=summary.held / MICRO,
        unknown=summary.unknown / MICRO,
    )


def money_of_run(ledger: Ledger, tenant: str, run_id: str) -> Money:
    """What a run spent and did not have to spend."""
    with ledger.spending(tenant, read_only=True) as session:
        return money_of(session.summary(run_id=run_id))


def set_run_budget(run: RunContext, order: Order) -> None:
    """Cap the run at what its order allows, and at what humans allowed if they are asked."""
    caps = [] if order.budget_usd is None else [round(order.budget_usd * MICRO)]
    if run.approval is not None:
        caps.append(run.approval.approved_micro_usd())
    if caps:
        with run.ledger.spending(run.storage.tenant) as session:
            session.set_budget(run_scope(run.run_id), min(caps))
