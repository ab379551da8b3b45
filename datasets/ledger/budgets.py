"""Budgets: a cap on what a run, and a tenant in a month, may spend. Held before anything is sent, posted when charged.

Rows are changed in the order of their scopes, so that two purchases never wait for each other.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import ColumnElement, Connection, or_, select, update

from datasets.ledger.purchases import OverBudget, check_amount
from datasets.ledger.spend_tables import budgets
from datasets.ledger.upserts import insert_new, insert_or_update

EVERY_MONTH = "month"  # its cap is given to each month's own row when that is made; nothing is held or spent here


@dataclass(frozen=True)
class Budget:
    """A scope's numbers in micro-USD. Without a cap it only counts."""

    scope: str
    cap_micro_usd: int | None
    held_micro_usd: int
    spent_micro_usd: int


def run_scope(run_id: str) -> str:
    return f"run:{run_id}"


def month_scope(moment: datetime) -> str:
    """The tenant's month, in UTC."""
    return f"month:{moment.astimezone(UTC):%Y-%m}"


def scopes_of(run_id: str, moment: datetime) -> list[str]:
    """All budgets that a purchase at this moment is under, in order."""
    return sorted([run_scope(run_id), month_scope(moment)])


def set_cap(connection: Connection, tenant: str, scope: str, cap: int | None, now: datetime) -> None:
    """Set or, with None, lift a cap. What is held and spent stays, even above a new cap."""
    row = _new(tenant, scope, None if cap is None else check_amount(cap), now)
    insert_or_update(connection, budgets, row, keep=("held_micro_usd", "spent_micro_usd"))


def hold(connection: Connection, tenant: str, scopes: Sequence[str], price: int, now: datetime) -> OverBudget | None:
    """Hold a price in all scopes, or in none.

    Returns:
        The first scope that does not have it left; None if it is held.
    """
    with connection.begin_nested() as point:
        for scope in sorted(scopes):
            if not _hold_one(connection, tenant, scope, price, now):
                refusal = _refusal(connection, tenant, scope, price)
                point.rollback()
                return refusal
    return None


def _hold_one(connection: Connection, tenant: str, scope: str, price: int, now: datetime) -> bool:
    columns = budgets.c
    enough = columns.spent_micro_usd + columns.held_micro_usd + price <= columns.cap_micro_usd
    take = (
        update(budgets)
        .where(*_own(tenant, scope), or_(columns.cap_micro_usd.is_(None), enough))
        .values(held_micro_usd=columns.held_micro_usd + price, changed_at=now)
    )
    if connection.execute(take).rowcount == 1:
        return True
    # No row yet, or not enough in it. Another process may write the row first, so what counts is the second try.
    insert_new(connection, budgets, [_new(tenant, scope, _first_cap(connection, tenant, scope), now)])
    return connection.execute(take).rowcount == 1


def _first_cap(connection: Connection, tenant: str, scope: str) -> int | None:
    if not scope.startswith(f"{EVERY_MONTH}:"):
        return None
    found: int | None = connection.execute(
        select(budgets.c.cap_micro_usd).where(*_own(tenant, EVERY_MONTH))
    ).scalar_one_or_none()
    return found


def _refusal(connection: Connection, tenant: str, scope: str, price: int) -> OverBudget:
    found = find(connection, tenant, scope)
    return OverBudget(scope, found.cap_micro_usd or 0, found.spent_micro_usd, found.held_micro_usd, price)


def post(
    connection: Connection, tenant: str, scopes: Sequence[str], *, released: int, spent: int, now: datetime
) -> None:
    """Let go of what was held, and count what was charged, in all scopes. A charge is counted even above the cap."""
    columns = budgets.c
    for scope in sorted(scopes):
        connection.execute(
            update(budgets)
            .where(*_own(tenant, scope))
            .values(
                held_micro_usd=columns.held_micro_usd - released,
                spent_micro_usd=columns.spent_micro_usd + spent,
                changed_at=now,
            )
        )


def find(connection: Connection, tenant: str, scope: str) -> Budget:
    """A scope's numbers; zeros, and no cap, for one that was never used."""
    row = connection.execute(select(budgets).where(*_own(tenant, scope))).first()
    if row is None:
        return Budget(scope, None, 0, 0)
    return Budget(row.scope, row.cap_micro_usd, row.held_micro_usd, row.spent_micro_usd)


def find_all(connection: Connection, tenant: str) -> list[Budget]:
    """Every scope that was ever used or capped, by name."""
    rows = connection.execute(select(budgets).where(budgets.c.tenant_id == tenant).order_by(budgets.c.scope))
    return [Budget(row.scope, row.cap_micro_usd, row.held_micro_usd, row.spent_micro_usd) for row in rows]


def _new(tenant: str, scope: str, cap: int | None, now: datetime) -> dict[str, object]:
    return {
        "tenant_id": tenant,
        "scope": scope,
        "cap_micro_usd": cap,
        "held_micro_usd": 0,
        "spent_micro_usd": 0,
        "changed_at": now,
    }


def _own(tenant: str, scope: str) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return budgets.c.tenant_id == tenant, budgets.c.scope == scope
