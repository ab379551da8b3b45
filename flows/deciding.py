"""What a human decided about a paused run, carried out: its runner or its command goes on with it, or it is over."""

from collections import Counter
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import FlowRun, State
from prefect.client.schemas.responses import SetStateStatus
from prefect.exceptions import ObjectNotFound
from prefect.states import Completed, Failed

from datasets.errors import PermanentError, UsageError
from datasets.ledger import Approval, ItemRecord, Ledger, LedgerSession, RunRecord
from datasets.money import MICRO, dollars
from flows.approval import SpendApproval, asking_state, budget_of
from flows.telling import tell_end, told_of
from tasks.ends import AwaitingApprovalError, RejectedError

BY_COMMAND = "command line"
WAITS = ("paused", "scheduled")


class NotResumedError(PermanentError):
    """The decision is written down, and Prefect did not take the run up again."""

    code = "not_resumed"


@dataclass(frozen=True)
class Decided:
    """What was decided about a run, and how it goes on.

    Attributes:
        goes_on: ``runner``: started again by the runner of its deployment; ``command``: the same command goes on with
            it; ``closed``: it is over.
    """

    run: RunRecord
    approval: Approval
    goes_on: str

    def to_json(self) -> dict[str, object]:
        return {
            "run_id": self.run.run_id,
            "decision": self.approval.state,
            "decided_by": self.approval.decided_by,
            "purchases": self.approval.purchases,
            "asked_usd": self.approval.asked_micro_usd / MICRO,
            "budget_usd": (self.approval.budget_micro_usd or 0) / MICRO,
            "goes_on": self.goes_on,
            "command": self.run.parameters.get("command") if self.goes_on == "command" else None,
        }


def decide(client: SyncPrefectClient, ledger: Ledger, tenant: str, name: str, answer: SpendApproval) -> Decided:
    """Write the decision about a paused run down and let it go on. Said again, what is left of it is done.

    Args:
        name: The beginning of the run's id, or ``latest``.

    Raises:
        NotFoundError: There is no such run.
        UsageError: The run asks for nothing, or the opposite was decided before.
        NotResumedError: Prefect does not take the run up again.
    """
    with ledger.session(tenant) as session:
        run = session.find_run(name)
        approval = _decided(session, run, answer)
    goes_on = carry_out(client, ledger, tenant, run, approval)
    return Decided(run, approval, goes_on)


def _decided(session: LedgerSession, run: RunRecord, answer: SpendApproval) -> Approval:
    askings = session.approvals(run.run_id)
    if run.status not in WAITS or not askings:
        raise UsageError(
            f"the run {run.run_id[:8]} is {run.status} and asks for nothing; `stillmotion runs` shows which are paused",
            run=run.run_id,
            status=run.status,
        )
    budget = budget_of(answer, askings[-1])
    decided = session.decide(askings[-1], budget_micro_usd=budget, by=BY_COMMAND)
    if (decided.state == "rejected") != (answer.decision == "reject"):
        raise UsageError(
            f"the run {run.run_id[:8]} was {decided.state} by {decided.decided_by} already, and the first decision "
            "stands; start the run again to be asked again",
            run=run.run_id,
            decision=decided.state,
        )
    return decided


def carry_out(client: SyncPrefectClient, ledger: Ledger, tenant: str, run: RunRecord, approval: Approval) -> str:
    """Do what follows from a decision; see ``Decided.goes_on``."""
    flow_run = _flow_run(client, run)
    if flow_run is not None and flow_run.deployment_id is not None:
        _resume(client, flow_run, approval)
        with ledger.session(tenant) as session:
            session.pause_run(run.run_id, "scheduled", run.summary or {})
        return "runner"
    if approval.state == "approved":
        if flow_run is not None and flow_run.state is not None and not flow_run.state.is_paused():
            _pause_again(client, flow_run, approval)
        return "command"
    status = close_rejected(ledger, tenant, run)
    if flow_run is not None:
        kind = Failed if status == "failed" else Completed
        client.set_flow_run_state(flow_run.id, kind(message="The spend was rejected; nothing was bought."), force=True)
    return "closed"


def _flow_run(client: SyncPrefectClient, run: RunRecord) -> FlowRun | None:
    if run.flow_run_id is None:
        return None
    try:
        return client.read_flow_run(UUID(run.flow_run_id))
    except ObjectNotFound:
        return None


def _resume(client: SyncPrefectClient, flow_run: FlowRun, approval: Approval) -> None:
    """Have Prefect schedule the suspended run again, unless it did.

    Raises:
        NotResumedError: It does not.
    """
    if flow_run.state is None or not flow_run.state.is_paused():
        return
    given: dict[str, Any] = {"decision": "reject" if approval.state == "rejected" else "approve"}
    given["budget_usd"] = (approval.budget_micro_usd or 0) / MICRO
    response = client.resume_flow_run(flow_run.id, run_input=given)
    if response.status not in (SetStateStatus.ACCEPT, SetStateStatus.WAIT):
        why = getattr(response.details, "reason", None) or response.status
        raise NotResumedError(
            f"it is {approval.state}, and Prefect does not resume the run {flow_run.id}: {why}; resume it in "
            "Prefect's UI, or say the same again",
            flow_run=str(flow_run.id),
        )


def _pause_again(client: SyncPrefectClient, flow_run: FlowRun, approval: Approval) -> None:
    """It was resumed in Prefect, and no process is there to go on: it waits for its command."""
    state: State[Any] = asking_state(approval, suspended=False)
    state.message = f"Approved: {dollars(approval.budget_micro_usd or 0, 2)} USD; the same command goes on."
    client.set_flow_run_state(flow_run.id, state, force=True)


def close_rejected(ledger: Ledger, tenant: str, run: RunRecord) -> str:
    """End a run that nobody will go on with: what waited for approval is stopped. Returns its status."""
    told = told_of(ledger, tenant, run.run_id)
    with ledger.session(tenant) as session:
        items = session.items(run.run_id)
        counts = Counter((run.summary or {}).get("items") or Counter(str(item.status) for item in items))
        for item in items:
            if any(reason.get("code") == AwaitingApprovalError.code for reason in item.reasons):
                _stop(session, run.run_id, item)
                counts.subtract([str(item.status)])
                counts.update([RejectedError.status])
        counts = +counts
        status = "failed" if counts["failed"] else "partial"
        facts = (run.summary or {}) | {
            "items": dict(sorted(counts.items())),
            "exit_status": 1 if status == "failed" else 3,
        }
        session.finish_run(run.run_id, status, facts)
        tell_end(session, run.run_id, told)
    return status


def _stop(session: LedgerSession, run_id: str, item: ItemRecord) -> None:
    message = "a human was asked whether money may be spent on it and said no; nothing was charged"
    rejected = {"code": RejectedError.code, "message": message, "facts": {"run_id": run_id}, "level": "error"}
    others = [reason for reason in item.reasons if reason.get("code") != AwaitingApprovalError.code]
    stopped = replace(item, status=RejectedError.status, reasons=[rejected, *others])
    session.finish_item(run_id, item.item, str(stopped.status), stopped.reasons, asset_digest=item.asset_digest)
