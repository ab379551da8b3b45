"""Comparing our purchases with a provider's own list of what it charged."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from datasets.errors import UsageError
from datasets.ledger.purchases import Purchase, check_amount

Kind = Literal["missing_here", "missing_there", "other_amount", "unknown_resolved"]


@dataclass(frozen=True)
class UsageRecord:
    """One line of a provider's usage export. At least one of ``reference`` and ``idempotency_key`` says what it is."""

    micro_usd: int
    at: datetime
    reference: str | None = None
    idempotency_key: str | None = None

    def __post_init__(self) -> None:
        check_amount(self.micro_usd)
        if not (self.reference or self.idempotency_key):
            raise UsageError("a usage record needs a reference or an idempotency key")


@dataclass(frozen=True)
class Difference:
    """One thing that the two sides do not agree about.

    Attributes:
        kind: ``missing_here``: the provider charged what we do not know, or took for free. ``missing_there``: we
            counted a charge that the provider does not list. ``other_amount``: both know it, the sums differ.
            ``unknown_resolved``: the provider's list says that an unknown outcome was charged.
        here_micro_usd: What we counted; None if we count nothing.
        there_micro_usd: What the provider lists, all its lines together; None if there is none.
        lines: How many lines the provider has: more than one is a purchase paid twice.
    """

    kind: Kind
    purchase_key: str | None
    reference: str | None
    idempotency_key: str | None
    here_micro_usd: int | None
    there_micro_usd: int | None
    lines: int


def reconcile(purchases: Iterable[Purchase], usage: Iterable[UsageRecord]) -> list[Difference]:
    """Compare what we counted with what a provider lists.

    A line belongs to the purchase with its idempotency key, else to the one with its reference. Unknown outcomes
    that the list does not name stay unknown, as it may be incomplete, and so do purchases on their way.

    Args:
        purchases: Of one provider and of the time that the list is about, in any state.
        usage: The provider's list.

    Returns:
        The differences, in the order of the purchases, then what nobody here knows.
    """
    known = list(purchases)
    lines, strangers = _assigned(known, usage)
    found = [_difference(purchase, lines[purchase.purchase_key]) for purchase in known]
    return [one for one in found if one is not None] + _unknown_here(strangers)


def _assigned(
    known: list[Purchase], usage: Iterable[UsageRecord]
) -> tuple[dict[str, list[UsageRecord]], list[UsageRecord]]:
    by_key = {one.idempotency_key: one.purchase_key for one in known}
    by_reference = {one.provider_reference: one.purchase_key for one in known if one.provider_reference}
    lines: dict[str, list[UsageRecord]] = defaultdict(list)
    strangers = []
    for record in usage:
        owner = by_key.get(record.idempotency_key or "") or by_reference.get(record.reference or "")
        if owner is None:
            strangers.append(record)
        else:
            lines[owner].append(record)
    return lines, strangers


def _difference(purchase: Purchase, lines: list[UsageRecord]) -> Difference | None:
    there = sum(line.micro_usd for line in lines) if lines else None
    here = purchase.charged_micro_usd if purchase.state == "settled" else None
    kind = _kind(purchase, here, there)
    if kind is None:
        return None
    reference = purchase.provider_reference or next((line.reference for line in lines if line.reference), None)
    return Difference(kind, purchase.purchase_key, reference, purchase.idempotency_key, here, there, len(lines))


def _kind(purchase: Purchase, here: int | None, there: int | None) -> Kind | None:
    if purchase.state == "unknown":
        return None if there is None else "unknown_resolved"
    if purchase.state in ("failed_free", "void"):
        return "missing_here" if there else None
    if purchase.state != "settled" or (here or 0) == (there or 0):
        return None
    return "missing_there" if there is None else "other_amount"


def _unknown_here(strangers: list[UsageRecord]) -> list[Difference]:
    """Lines about one thing are one difference."""
    together: dict[tuple[str | None, str | None], list[UsageRecord]] = defaultdict(list)
    for record in strangers:
        together[record.reference, record.idempotency_key].append(record)
    return [
        Difference("missing_here", None, reference, key, None, sum(one.micro_usd for one in lines), len(lines))
        for (reference, key), lines in together.items()
    ]
