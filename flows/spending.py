"""What a tenant spent and did not have to spend, under which budgets, and what may still have been charged."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Literal, get_args

from datasets.errors import NotFoundError, UsageError
from datasets.ledger import EVERY_MONTH, Budget, Ledger, Purchase, Summary, month_scope, run_scope
from datasets.ledger.avoided import REASONS
from datasets.ledger.claims import SENDER_LOST, is_at_work
from datasets.money import MICRO

By = Literal["run", "day", "reason", "item"]
BYS: tuple[By, ...] = get_args(By)
LARGEST_CAP_USD = 1_000_000_000
MONTH = re.compile(r"\d{4}-(0[1-9]|1[0-2])")


@dataclass(frozen=True)
class Account:
    """Sums of what was asked for.

    Attributes:
        groups: By name, in the order of the names; empty if nothing was to be grouped.
        run_id: The one run that is meant, if one is.
    """

    total: Summary
    groups: Mapping[str, Summary]
    budgets: Sequence[Budget]
    by: By | None = None
    run_id: str | None = None
    since: str | None = None
    until: str | None = None

    @property
    def is_empty(self) -> bool:
        return self.total == Summary() and not self.groups


def account(
    ledger: Ledger,
    tenant: str,
    *,
    by: By | None = None,
    run: str | None = None,
    since: str | None = None,
    until: str | None = None,
) -> Account:
    """What was spent, avoided and held.

    Args:
        ledger: The books.
        tenant: Whose.
        by: What sums are wanted beside the total.
        run: Beginning of a run's id, or ``latest``.
        since: First UTC day, as ``2026-05-04``.
        until: Last UTC day.

    Raises:
        NotFoundError: There is no such run.
        UsageError: A day is none, or the first comes after the last.
    """
    _check_days(since, until)
    run_id = None if run is None else find_run_id(ledger, tenant, run)
    within = {"run_id": run_id, "since": since, "until": until}
    with ledger.spending(tenant, read_only=True) as session:
        total = session.summary(**within)
        groups: Mapping[str, Summary] = {}
        if by is not None:
            groups = session.avoided_by_reason(**within) if by == "reason" else session.summaries(by, **within)
        budgets = _shown(session.budgets(), run_id)
    return Account(total, groups, budgets, by, run_id, since, until)


def find_run_id(ledger: Ledger, tenant: str, name: str) -> str:
    """The id of the run that is meant; what was paid may outlive the run's own row.

    Raises:
        NotFoundError: Neither the runs nor the purchases know it.
        UsageError: Several begin so.
    """
    try:
        with ledger.session(tenant, read_only=True) as session:
            return session.find_run(name).run_id
    except NotFoundError:
        with ledger.spending(tenant, read_only=True) as spending:
            found = [run_id for run_id in spending.summaries("run") if run_id.startswith(name)]
        if len(found) > 1 and name not in found:
            raise UsageError(f"several runs begin with {name!r}; give more of the id", run=name) from None
        if not found:
            raise
        return name if name in found else found[0]


def _shown(budgets: Sequence[Budget], run_id: str | None) -> list[Budget]:
    """The budgets of the tenant, and of the run that is meant; other runs' budgets are theirs."""
    this_month, own = month_scope(datetime.now(UTC)), run_scope(run_id or "")
    shown = [budget for budget in budgets if not budget.scope.startswith("run:") or budget.scope == own]
    if not any(budget.scope == this_month for budget in shown):
        cap = next((budget.cap_micro_usd for budget in shown if budget.scope == EVERY_MONTH), None)
        shown.append(Budget(this_month, cap, 0, 0))
    return sorted(shown, key=lambda budget: budget.scope)


def _check_days(since: str | None, until: str | None) -> None:
    for day in (since, until):
        try:
            right = day is None or date.fromisoformat(day).isoformat() == day
        except ValueError:
            right = False
        if not right:
            raise UsageError(f"a day is written as 2026-05-04 (UTC), got {day!r}")
    if since and until and since > until:
        raise UsageError(f"the first day {since} comes after the last, {until}")


# caps


def set_month_cap(ledger: Ledger, tenant: str, cap_micro_usd: int | None, month: str | None = None) -> list[Budget]:
    """Set a tenant's cap for one month, or for this one and all that come; lift it with None.

    Months that have a cap of their own already keep it, unless it is this one.

    Returns:
        The budgets that were changed.

    Raises:
        UsageError: The month is none.
    """
    if month is not None and not MONTH.fullmatch(month):
        raise UsageError(f"a month is written as 2026-05, got {month!r}")
    scopes = [f"{EVERY_MONTH}:{month}"] if month else [EVERY_MONTH, month_scope(datetime.now(UTC))]
    with ledger.spending(tenant) as session:
        for scope in scopes:
            session.set_budget(scope, cap_micro_usd)
        return [session.budget(scope) for scope in scopes]


def micro_usd_of(text: str) -> int:
    """Whole micro-USD of an amount in US dollars.

    Raises:
        UsageError: It is no amount, or is finer than a micro-dollar.
    """
    try:
        usd = Decimal(text.strip())
        whole = usd.is_finite() and 0 <= usd <= LARGEST_CAP_USD and usd * MICRO == int(usd * MICRO)
    except InvalidOperation:
        whole = False
    if not whole:
        raise UsageError(f"expected US dollars, 0 to {LARGEST_CAP_USD}, with six digits after the point, got {text!r}")
    return int(usd * MICRO)


# what may have been charged


@dataclass(frozen=True)
class OpenPurchase:
    """A purchase of which it is not known whether it was charged.

    Attributes:
        since: When that began: the sending, or of what was not sent, the intent.
        remedy: What to do about it.
    """

    purchase: Purchase
    since: datetime
    remedy: str


LOOK_UP = "`stillmotion upkeep look-up` asks the service; else `stillmotion upkeep reconcile EXPORT --apply`"


def open_purchases(ledger: Ledger, tenant: str) -> list[OpenPurchase]:
    """Everything for which money is held, the oldest first."""
    with ledger.spending(tenant, read_only=True) as session:
        on_the_way = session.purchases("intent", "sent")
        found = [*on_the_way, *session.list_unknown()]
    opened = [OpenPurchase(one, one.resent_at or one.sent_at or one.intent_at, _remedy(one)) for one in found]
    return sorted(opened, key=lambda one: one.since)


def _remedy(purchase: Purchase) -> str:
    if is_at_work(purchase, datetime.now(UTC)):
        return "a process is at it; wait for its end"
    if purchase.state == "intent":
        return "never sent, its process is gone: `stillmotion upkeep run` releases it"
    if purchase.state == "settled":
        return "sent twice, one charge is known: `stillmotion upkeep reconcile EXPORT --apply` settles the other"
    if purchase.state == "sent" or purchase.error_code == SENDER_LOST:
        return f"its process is gone after sending: {LOOK_UP}"
    return LOOK_UP


# documents


def money_document(amounts: Mapping[str, int | None]) -> dict[str, Any]:
    """Every amount twice: as whole micro-USD, and in USD."""
    document: dict[str, Any] = {}
    for name, amount in amounts.items():
        document[f"{name}_micro_usd"] = amount
        document[f"{name}_usd"] = None if amount is None else amount / MICRO
    return document


def sums_document(sums: Summary) -> dict[str, Any]:
    """Sums as a document; ``avoided`` has every reason, ``net`` is what was avoided less reversals and guard cost."""
    by_reason = {reason: money_document({"avoided": sums.avoided.get(reason, 0)}) for reason in REASONS}
    return money_document(
        {
            "spent": sums.spent,
            "avoided_gross": sums.avoided_gross,
            "reversed": sums.reversed,
            "guard_cost": sums.guard_cost,
            "net": sums.avoided_net,
            "held": sums.held,
            "unknown": sums.unknown,
        }
    ) | {"avoided": by_reason}


def budget_document(budget: Budget) -> dict[str, Any]:
    """A budget as a document; ``left`` is None without a cap."""
    amounts = {
        "cap": budget.cap_micro_usd,
        "spent": budget.spent_micro_usd,
        "held": budget.held_micro_usd,
        "left": left_of(budget),
    }
    return {"scope": budget.scope} | money_document(amounts)


def left_of(budget: Budget) -> int | None:
    """What may still be spent; None if that has no end."""
    if budget.cap_micro_usd is None:
        return None
    return max(0, budget.cap_micro_usd - budget.spent_micro_usd - budget.held_micro_usd)


def account_document(found: Account, tenant: str) -> dict[str, Any]:
    """An account as ``stillmotion spend --json`` prints it."""
    document: dict[str, Any] = {
        "tenant": tenant,
        "run_id": found.run_id,
        "since": found.since,
        "until": found.until,
        "total": sums_document(found.total),
        "budgets": [budget_document(budget) for budget in found.budgets],
    }
    if found.by is not None:
        document["by"] = found.by
        document["groups"] = [{found.by: name} | sums_document(sums) for name, sums in found.groups.items()]
    return document


def run_details(ledger: Ledger, tenant: str, run_id: str) -> dict[str, Any]:
    """The purchases of a run and what it did not have to buy, with the evidence."""
    with ledger.spending(tenant, read_only=True) as session:
        bought, avoided = session.purchases(run_id=run_id), session.avoided(run_id)
    return {
        "purchases": [purchase_document(one) for one in bought],
        "avoided_entries": [_plain(asdict(entry)) | {"usd": entry.micro_usd / MICRO} for entry in avoided],
    }


def purchase_document(purchase: Purchase) -> dict[str, Any]:
    """A purchase as a document, without what only the ledger itself needs."""
    facts = _plain(asdict(purchase))
    for name in ("holder", "holder_run_id", "lease_expires_at", "scopes"):
        del facts[name]
    facts["price_usd"] = purchase.price_micro_usd / MICRO
    facts["charged_usd"] = None if purchase.charged_micro_usd is None else purchase.charged_micro_usd / MICRO
    return facts


def _plain(facts: dict[str, Any]) -> dict[str, Any]:
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in facts.items()}


def open_document(found: OpenPurchase) -> dict[str, Any]:
    """A purchase with an open outcome, in the names of ``stillmotion spend --unknown``."""
    purchase = found.purchase
    return {
        "item": purchase.item,
        "run_id": purchase.run_id,
        "service": purchase.adapter,
        "state": purchase.state,
        "reference": purchase.provider_reference,
        "key": purchase.idempotency_key,
        "purchase_key": purchase.purchase_key,
        "since": found.since.isoformat(),
        "error_code": purchase.error_code,
        "remedy": found.remedy,
    } | money_document({"held": purchase.held_micro_usd})
