"""Sums of money: what was spent, is held, may have been charged, and did not have to be paid."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from sqlalchemy import Table, case, func, select

from datasets.ledger.spend_rows import PurchaseRows
from datasets.ledger.spend_tables import avoided, purchases

Grouping = Literal["run", "day", "item"]
COLUMN: dict[Grouping, str] = {"run": "run_id", "day": "day", "item": "item"}


@dataclass(frozen=True)
class Summary:
    """Sums in micro-USD.

    Attributes:
        spent: What was charged, the guardrails' own purchases included.
        held: Held for what is about to be sent or on its way.
        unknown: Held for sendings of which nobody knows whether they were charged.
        avoided: What did not have to be paid, by reason, before anything was taken back.
        reversed: What of that was taken back.
        guard_cost: What of ``spent`` the guardrails' own purchases cost.
    """

    spent: int = 0
    held: int = 0
    unknown: int = 0
    avoided: dict[str, int] = field(default_factory=dict)
    reversed: int = 0
    guard_cost: int = 0

    @property
    def avoided_gross(self) -> int:
        return sum(self.avoided.values())

    @property
    def avoided_net(self) -> int:
        """What was avoided and not taken back, less what it cost to find out."""
        return self.avoided_gross - self.reversed - self.guard_cost


def total(
    rows: PurchaseRows, *, run_id: str | None = None, since: str | None = None, until: str | None = None
) -> Summary:
    """Everything, or a run's share, or that of some UTC days."""
    found = _sums(rows, None, run_id, since, until)
    return next(iter(found.values()), Summary())


def grouped(
    rows: PurchaseRows,
    by: Grouping,
    *,
    run_id: str | None = None,
    since: str | None = None,
    until: str | None = None,
) -> dict[str, Summary]:
    """Sums for each run, each UTC day or each item, by name."""
    return dict(sorted(_sums(rows, COLUMN[by], run_id, since, until).items()))


def by_reason(
    rows: PurchaseRows, *, run_id: str | None = None, since: str | None = None, until: str | None = None
) -> dict[str, Summary]:
    """What did not have to be paid and what of it was taken back, for each reason. Purchases have none."""
    sums: dict[str, Summary] = {}
    bounds = (rows, None, run_id, since, until)
    entries = (avoided.c.reason, avoided.c.entry)
    for _, reason, entry, amount in _grouped(avoided, bounds, [func.sum(avoided.c.micro_usd)], entries):
        before = sums.get(reason, Summary())
        more = {"reversed": -int(amount)} if entry == "reversal" else {"avoided": {reason: int(amount)}}
        sums[reason] = replace(before, **more)
    return dict(sorted(sums.items()))


def _sums(
    rows: PurchaseRows, column: str | None, run_id: str | None, since: str | None, until: str | None
) -> dict[str, Summary]:
    sums: dict[str, Summary] = {}
    bounds = (rows, column, run_id, since, until)
    for name, spent, guard, held, unknown in _grouped(purchases, bounds, _purchase_sums(), ()):
        sums[name] = Summary(spent=int(spent), held=int(held), unknown=int(unknown), guard_cost=int(guard))
    entries = (avoided.c.reason, avoided.c.entry)
    for name, reason, entry, amount in _grouped(avoided, bounds, [func.sum(avoided.c.micro_usd)], entries):
        before = sums.get(name, Summary())
        if entry == "reversal":
            sums[name] = replace(before, reversed=before.reversed - int(amount))
        else:
            sums[name] = replace(before, avoided={**before.avoided, reason: int(amount)})
    return sums


def _purchase_sums() -> list[Any]:
    columns = purchases.c
    charged = func.coalesce(columns.charged_micro_usd, 0)
    on_its_way = columns.state.in_(("intent", "sent"))
    return [
        func.sum(charged),
        func.sum(case((columns.guard.is_(True), charged), else_=0)),
        func.sum(case((on_its_way, columns.held_micro_usd), else_=0)),
        func.sum(case((on_its_way, 0), else_=columns.held_micro_usd)),
    ]


def _grouped(
    table: Table,
    bounds: tuple[PurchaseRows, str | None, str | None, str | None, str | None],
    sums: list[Any],
    keys: Iterable[Any],
) -> list[Any]:
    """Rows of group, further keys and sums. Without a column everything is one group, called ''."""
    rows, column, run_id, since, until = bounds
    by = [*([] if column is None else [table.c[column]]), *keys]
    query = select(*by, *sums).where(table.c.tenant_id == rows.tenant).group_by(*by).having(func.count() > 0)
    if run_id is not None:
        query = query.where(table.c.run_id == run_id)
    if since is not None:
        query = query.where(table.c.day >= since)
    if until is not None:
        query = query.where(table.c.day <= until)
    found = [tuple(row) for row in rows.connection.execute(query)]
    return found if column is not None else [("", *row) for row in found]
