"""A human check before spend: the run comes as far as it can without money, pauses with a form, and goes on later.

Nothing waits in memory. What is to be bought stands in the ledger, the process ends, and Prefect keeps the form: a run
that a deployment's runner started is suspended, and the runner starts it again once it is resumed; a run of a command
is paused, and the same command goes on with it. Everything that was made comes from the store then.
"""

from contextlib import suppress
from typing import Any, Literal, Protocol

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun, State
from prefect.context import FlowRunContext
from prefect.flow_runs import suspend_flow_run
from prefect.input import RunInput
from prefect.input.run_input import keyset_from_base_key, keyset_from_paused_state
from prefect.states import Paused, Suspended
from pydantic import Field, ValidationError

from datasets.ledger import Approval, Ledger, Wanted
from datasets.money import MICRO, dollars
from flows.order import Order
from flows.recipes import Recipe
from tasks.ends import AwaitingApprovalError, RejectedError

BY_PREFECT = "Prefect"
BOUGHT = ("sent", "unknown", "settled")  # states of purchases that were paid for, or may have been: nothing to ask


class SpendApproval(RunInput):
    """The form of a run that asks before it spends."""

    decision: Literal["approve", "reject"] = Field(
        description="approve: buy what is listed; reject: nothing is bought and its items are stopped."
    )
    budget_usd: float | None = Field(
        default=None, ge=0, description="Most that it may cost, in US dollars; empty: the amount that is asked for."
    )


class Asking(Protocol):
    """What a run came to that asks for approval; its state holds it."""

    @property
    def approval(self) -> Approval | None: ...


class SpendCheck:
    """Says of every purchase of a run whether it may be made, and notes those that nobody decided about."""

    def __init__(self, ledger: Ledger, tenant: str, run_id: str) -> None:
        self._ledger, self._tenant, self._run_id = ledger, tenant, run_id

    def take_decisions(self) -> None:
        """Read what was answered in Prefect while the run was paused. What was not answered is asked anew."""
        with self._ledger.session(self._tenant, read_only=True) as session:
            asked = [each for each in session.approvals(self._run_id) if each.state == "asked"]
        context = FlowRunContext.get()
        if asked and context is not None and context.flow_run is not None:
            with get_client(sync_client=True) as client:
                take_answer(client, self._ledger, self._tenant, context.flow_run, asked[-1])
        with self._ledger.session(self._tenant) as session:
            session.forget_unanswered(self._run_id)

    def approved_micro_usd(self) -> int:
        """What humans allowed the run to spend in all."""
        with self._ledger.session(self._tenant, read_only=True) as session:
            return sum(each.budget_micro_usd or 0 for each in session.approvals(self._run_id))

    def ask(self) -> Approval | None:
        """Ask for everything the run could not buy; None if nothing waits.

        Called once all items came as far as they can without money.
        """
        with self._ledger.session(self._tenant) as session:
            return session.ask(self._run_id)

    def refuse_unapproved(self, wanted: Wanted) -> None:
        """Return if it may be bought, or was.

        Raises:
            RejectedError: A human said no.
            AwaitingApprovalError: Nobody said anything yet.
        """
        with self._ledger.spending(self._tenant, read_only=True) as spending:
            found = spending.find(wanted.purchase_key)
        if found is not None and found.state in BOUGHT:
            return
        with self._ledger.session(self._tenant) as session:
            decision = session.decision_on(self._run_id, wanted.purchase_key)
            if decision is None:
                session.note_wanted(self._run_id, wanted.purchase_key, wanted.item, wanted.price_micro_usd)
        price = dollars(wanted.price_micro_usd, 2)
        if decision == "rejected":
            raise RejectedError(
                f"a human was asked whether {price} USD may be spent on it and said no; nothing was charged",
                run_id=self._run_id,
            )
        if decision is None:
            raise AwaitingApprovalError(
                f"it costs {price} USD at most and waits for a human's yes: `stillmotion approve {self._run_id[:8]}`, "
                "or the form of the paused run in Prefect",
                run_id=self._run_id,
                price_micro_usd=wanted.price_micro_usd,
            )


def spend_check(ledger: Ledger, tenant: str, run_id: str, order: Order, recipe: Recipe) -> SpendCheck | None:
    """What asks for a run of this order; None if nobody is to be asked, or nothing costs money."""
    return SpendCheck(ledger, tenant, run_id) if order.approve == "spend" and recipe.is_paid else None


def take_answer(
    client: SyncPrefectClient, ledger: Ledger, tenant: str, flow_run: FlowRun, asked: Approval
) -> Approval | None:
    """Write down what was answered to a form in Prefect; None if nothing was, or it cannot be understood."""
    answer = read_answer(client, flow_run, asked)
    if answer is None:
        return None
    with ledger.session(tenant) as session:
        return session.decide(asked, budget_micro_usd=budget_of(answer, asked), by=BY_PREFECT)


def read_answer(client: SyncPrefectClient, flow_run: FlowRun, asked: Approval) -> SpendApproval | None:
    """What was filled in; Prefect keeps it under the name of the state that asked."""
    for state in ("suspended", "paused"):
        key = keyset_from_base_key(f"{state}-{asked.form}")["response"]
        for given in client.filter_flow_run_input(flow_run.id, key, limit=1, exclude_keys=set()):
            with suppress(ValidationError):
                return SpendApproval.model_validate_json(given.value)
    return None


def budget_of(answer: SpendApproval, asked: Approval) -> int | None:
    """Micro-USD that may be spent; None: it is rejected. Never more than was asked for: nothing else was shown."""
    if answer.decision == "reject":
        return None
    given = asked.asked_micro_usd if answer.budget_usd is None else round(answer.budget_usd * MICRO)
    return min(given, asked.asked_micro_usd)


def pause(summary: Asking) -> State[Any]:
    """Pause the flow run with the form.

    Returns:
        The state of a run without a deployment: paused, with the summary; its process ends.

    Raises:
        Pause: The run has a deployment and is suspended now; Prefect's signal to end the process.
    """
    asked, context = summary.approval, FlowRunContext.get()
    assert asked is not None
    assert context is not None
    form = SpendApproval.with_initial_data(description=question(asked))
    if context.flow_run is not None and context.flow_run.deployment_id is not None:
        suspend_flow_run(wait_for_input=form, key=asked.form)
    state = asking_state(asked, suspended=False)
    form.save(keyset_from_paused_state(state))
    state.data = summary
    return state


def ask_in_prefect(client: SyncPrefectClient, flow_run: FlowRun, asked: Approval) -> None:
    """Pause a flow run from outside, with its form: its process was killed before it did."""
    state = asking_state(asked, suspended=flow_run.deployment_id is not None)
    form = SpendApproval.with_initial_data(description=question(asked))
    form.save(keyset_from_paused_state(state), flow_run_id=flow_run.id)
    client.set_flow_run_state(flow_run.id, state, force=True)


def asking_state(asked: Approval, *, suspended: bool) -> State[Any]:
    """The state that shows the form."""
    message = f"Waits for approval of {dollars(asked.asked_micro_usd, 2)} USD."
    kind = Suspended if suspended else Paused
    state: State[Any] = kind(pause_key=asked.form, message=message)
    state.state_details.run_input_keyset = {str(name): key for name, key in keyset_from_paused_state(state).items()}
    return state


def question(asked: Approval) -> str:
    """What the form says."""
    things = "1 purchase" if asked.purchases == 1 else f"{asked.purchases} purchases"
    return (
        f"This run wants to make **{things}** for at most **{dollars(asked.asked_micro_usd, 2)} USD**. Nothing was "
        "spent on them yet; what came before is done and kept. A budget below that amount buys as many as it pays for."
    )
