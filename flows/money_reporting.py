"""Gathers the money of a run from the ledger, for its report."""

from collections import Counter
from collections.abc import Sequence

from datasets.ledger import ItemRecord, Ledger, Purchase, run_scope
from datasets.ledger.avoided import AvoidedRecord
from datasets.ledger.spend import SpendSession
from flows.report_money import ItemMoney, ReportMoney, Saving

ORDER = ("cache_hit", "duplicate", "guardrail_stop")
WAITING = {
    "awaiting_approval": "waits for a human to approve it",
    "rejected": "a human said no to it",
    "over_budget": "put off because the budget is used up",
    "service_unavailable": "put off because the service was away",
    "outcome_unknown": "kept back because it may have been charged",
    "service_refused": "the service refused it and charged nothing",
}
UNPAID = {
    "delivered": "nothing had to be paid",
    "stopped": "stopped by a guardrail",
    "failed": "failed before anything was paid",
    "deferred": "put off",
    "held": "kept back",
}


def read_money(ledger: Ledger, tenant: str, run_id: str, items: Sequence[ItemRecord]) -> ReportMoney | None:
    """What a run spent and did not have to spend; None where nothing in it had to do with money."""
    with ledger.spending(tenant, read_only=True) as session:
        bought, entries = session.purchases(run_id=run_id), session.avoided(run_id)
        if not bought and not entries and not any(_waits(item) for item in items):
            return None
        return _money(session, run_id, items, bought, entries)


def _money(
    session: SpendSession,
    run_id: str,
    items: Sequence[ItemRecord],
    bought: Sequence[Purchase],
    entries: Sequence[AvoidedRecord],
) -> ReportMoney:
    summary, budget = session.summary(run_id=run_id), session.budget(run_scope(run_id))
    cap = budget.cap_micro_usd
    counts = Counter[str](each.reason for each in entries if each.entry == "avoided")
    known = [reason for reason in ORDER if reason in summary.avoided]
    rest = sorted(set(summary.avoided) - set(ORDER))
    return ReportMoney(
        spent=summary.spent,
        bought=sum(bool(each.charged_micro_usd) and not each.guard for each in bought),
        savings=tuple(Saving(reason, counts[reason], summary.avoided[reason]) for reason in [*known, *rest]),
        reversed=summary.reversed,
        guard_cost=summary.guard_cost,
        held=summary.held,
        unknown=summary.unknown,
        cap=cap,
        left=None if cap is None else max(0, cap - budget.spent_micro_usd - budget.held_micro_usd),
        services=tuple(sorted({(each.adapter, each.price_list) for each in bought})),
        items=tuple(_item(session, item, bought, entries) for item in items),
    )


def _item(
    session: SpendSession, item: ItemRecord, bought: Sequence[Purchase], entries: Sequence[AvoidedRecord]
) -> ItemMoney:
    own = [each for each in bought if each.item == item.item]
    spared = [each for each in entries if each.item == item.item]
    paid = sum(each.charged_micro_usd or 0 for each in own)
    return ItemMoney(
        item=item.item,
        paid=paid,
        avoided=sum(each.micro_usd for each in spared),  # reversals are negative
        held=sum(each.held_micro_usd for each in own),
        words=_words(session, item, paid, spared),
    )


def _words(session: SpendSession, item: ItemRecord, paid: int, spared: Sequence[AvoidedRecord]) -> str:
    """Where the money went, or why there was none to pay."""
    if paid:
        then = "" if item.status == "delivered" else f", then {item.status or 'not finished'}"
        return f"bought in this run{then}"
    if any(each.entry == "reversal" for each in spared):
        return "stopped by a guardrail, released later"
    if spared:
        return _spared(session, item, spared[0])
    codes = [str(reason.get("code")) for reason in item.reasons or []]
    waiting = next((WAITING[code] for code in codes if code in WAITING), None)
    return waiting or UNPAID.get(item.status or "", "not reached")


def _spared(session: SpendSession, item: ItemRecord, entry: AvoidedRecord) -> str:
    if entry.reason == "guardrail_stop":
        return UNPAID["stopped"]
    first = session.find(str(entry.evidence.get("purchase", "")))
    whose = "" if first is None or first.item == item.item else f" for {first.item}"
    if entry.reason == "cache_hit":
        return f"bought before{whose}, came from the cache"
    return f"the same picture was bought{whose}"


def _waits(item: ItemRecord) -> bool:
    return any(reason.get("code") in WAITING for reason in item.reasons or [])
