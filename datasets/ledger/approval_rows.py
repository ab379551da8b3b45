"""The part of a ledger session that speaks of approvals: what a run wants to buy, and whether a human said yes.

Every purchase that a run may not make yet is noted as soon as it is met. Once the run has come as far as it can, all
that was noted is asked for at once; a decision is about exactly those purchases, and the first decision stands.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any, Literal

from sqlalchemy import Connection, Row, and_, delete, func, insert, or_, select, update

from datasets.ledger.approval_tables import approval_purchases, approvals
from datasets.ledger.upserts import insert_or_update

Decision = Literal["approved", "rejected"]


@dataclass(frozen=True)
class Approval:
    """One asking of a run.

    Attributes:
        position: 1 for the first of its run.
        form: Names Prefect's form; never used twice.
        state: ``asked``, ``approved`` or ``rejected``.
        purchases: How many it is about.
        asked_micro_usd: What they cost at most.
        budget_micro_usd: What they may cost; None while nothing is decided, 0 when rejected.
        decided_by: ``command line`` or ``Prefect``.
    """

    run_id: str
    position: int
    form: str
    state: str
    purchases: int
    asked_micro_usd: int
    budget_micro_usd: int | None
    decided_by: str | None
    asked_at: datetime
    decided_at: datetime | None


class ApprovalRows:
    """Reads and writes the rows of one tenant in one transaction."""

    _connection: Connection
    _tenant: str

    def forget_unanswered(self, run_id: str) -> None:
        """A run begins again: what it noted or asked without an answer is noted and asked anew."""
        own = self._own_rows(approvals, run_id)
        unanswered = select(approvals.c.position).where(*own, approvals.c.state == "asked")
        position = approval_purchases.c.position
        stale = or_(position.is_(None), position.in_(unanswered))
        self._connection.execute(delete(approval_purchases).where(*self._own_rows(approval_purchases, run_id), stale))
        withdrawn = update(approvals).where(*own, approvals.c.state == "asked").values(state="withdrawn")
        self._connection.execute(withdrawn)

    def note_wanted(self, run_id: str, purchase_key: str, item: str, micro_usd: int) -> None:
        """Write down a purchase that needs an approval."""
        row = {
            "tenant_id": self._tenant,
            "run_id": run_id,
            "purchase_key": purchase_key,
            "position": None,
            "item": item,
            "micro_usd": micro_usd,
        }
        insert_or_update(self._connection, approval_purchases, row)

    def decision_on(self, run_id: str, purchase_key: str) -> Decision | None:
        """What was decided about a purchase of a run; None: nothing yet."""
        joined = and_(
            approvals.c.tenant_id == approval_purchases.c.tenant_id,
            approvals.c.run_id == approval_purchases.c.run_id,
            approvals.c.position == approval_purchases.c.position,
        )
        query = (
            select(approvals.c.state)
            .join(approval_purchases, joined)
            .where(*self._own_rows(approval_purchases, run_id), approval_purchases.c.purchase_key == purchase_key)
        )
        found = self._connection.execute(query).scalar_one_or_none()
        return found if found in ("approved", "rejected") else None

    def ask(self, run_id: str) -> Approval | None:
        """Ask for all that was noted; None if nothing was."""
        noted = [*self._own_rows(approval_purchases, run_id), approval_purchases.c.position.is_(None)]
        sums = select(func.count(), func.sum(approval_purchases.c.micro_usd)).where(*noted)
        count, micro_usd = self._connection.execute(sums).one()
        if not count:
            return None
        position = 1 + max((each.position for each in self._approvals(run_id)), default=0)
        asked = Approval(
            run_id=run_id,
            position=position,
            form=f"spend-{position}-{uuid.uuid4().hex[:8]}",
            state="asked",
            purchases=int(count),
            asked_micro_usd=int(micro_usd),
            budget_micro_usd=None,
            decided_by=None,
            asked_at=datetime.now(UTC),
            decided_at=None,
        )
        self._connection.execute(insert(approvals).values({"tenant_id": self._tenant, **vars(asked)}))
        self._connection.execute(update(approval_purchases).where(*noted).values(position=position))
        return asked

    def decide(self, asked: Approval, *, budget_micro_usd: int | None, by: str) -> Approval:
        """Write a decision down; the first one stands.

        Args:
            budget_micro_usd: What may be spent; None: nothing, it is rejected.

        Returns:
            What is decided now, by whomever.
        """
        values = {
            "state": "rejected" if budget_micro_usd is None else "approved",
            "budget_micro_usd": budget_micro_usd or 0,
            "decided_by": by,
            "decided_at": datetime.now(UTC),
        }
        this = [*self._own_rows(approvals, asked.run_id), approvals.c.position == asked.position]
        self._connection.execute(update(approvals).where(*this, approvals.c.state == "asked").values(values))
        return _approval(self._connection.execute(select(approvals).where(*this)).one())

    def approvals(self, run_id: str) -> Sequence[Approval]:
        """All askings of a run in order; those it withdrew aside."""
        return [each for each in self._approvals(run_id) if each.state != "withdrawn"]

    def wanted(self, asked: Approval, limit: int = 100) -> Sequence[tuple[str, int]]:
        """Items and micro-USD of what an asking is about, by item."""
        columns = approval_purchases.c
        query = select(columns.item, columns.micro_usd).where(
            *self._own_rows(approval_purchases, asked.run_id), columns.position == asked.position
        )
        found = self._connection.execute(query.order_by(columns.item, columns.purchase_key).limit(limit))
        return [(str(item), int(micro_usd)) for item, micro_usd in found]

    def _approvals(self, run_id: str) -> list[Approval]:
        query = select(approvals).where(*self._own_rows(approvals, run_id)).order_by(approvals.c.position)
        return [_approval(row) for row in self._connection.execute(query)]

    def _own_rows(self, table: Any, run_id: str) -> list[Any]:
        return [table.c.tenant_id == self._tenant, table.c.run_id == run_id]


def _approval(row: Row[Any]) -> Approval:
    return Approval(**{field.name: row._mapping[field.name] for field in fields(Approval)})
