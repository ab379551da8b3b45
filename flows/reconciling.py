"""Holds the books against a provider's own list, and settles by it what was unknown."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from datasets.errors import UsageError
from datasets.ledger import Charged, Difference, Ledger, NotCharged, Purchase, reconcile
from datasets.ledger.purchases import Outcome
from datasets.ledger.usage_export import Export
from flows.unknowns import resolve_as_seen

MARGIN = timedelta(hours=1)  # between our clock with its calls and the provider's with its books


@dataclass(frozen=True)
class Coverage:
    """The time of which a provider's list has every charge, as whoever exported it says. None: nothing is said."""

    since: datetime | None = None
    until: datetime | None = None

    def __post_init__(self) -> None:
        if self.until is not None and self.until > datetime.now(UTC):
            raise UsageError(f"an export cannot be complete until {self.until}, which is to come")
        if self.since and self.until and self.since >= self.until:
            raise UsageError(f"an export that begins at {self.since} does not end at {self.until}")


@dataclass(frozen=True)
class Entry:
    """A purchase, or a line nobody here knows, on which something is to be said.

    Attributes:
        difference: What the two sides do not agree about; None of one that just stays unknown.
        purchase: None where the provider charged what nobody here knows.
        settles: What the list proves about a purchase that may have been charged; None: nothing.
        is_applied: Whether that stands in the ledger now.
        words: What to do.
    """

    difference: Difference | None
    purchase: Purchase | None
    settles: Outcome | None
    words: str
    is_applied: bool = False


@dataclass(frozen=True)
class Reconciliation:
    """The two sides held against each other."""

    service: str | None
    lines: int
    purchases: int
    entries: Sequence[Entry]

    @property
    def differences(self) -> list[Entry]:
        return [entry for entry in self.entries if entry.difference is not None]

    @property
    def left(self) -> list[Entry]:
        """Differences that were not settled by applying the list."""
        return [entry for entry in self.differences if not entry.is_applied]


def compare(
    ledger: Ledger, tenant: str, export: Export, *, service: str | None = None, coverage: Coverage | None = None
) -> Reconciliation:
    """What the books and a provider's list do not agree about. Purchases of dead processes are swept first.

    Args:
        ledger: The books.
        tenant: Whose; what the list charges to others shows as ``missing_here``.
        export: The provider's list.
        service: Whose list it is; may be left out if there were purchases of one service only.
        coverage: The time that the list is about.

    Raises:
        UsageError: It is not clear whose list it is.
    """
    with ledger.spending(tenant) as session:
        session.sweep()
        everything = session.purchases()
    named = _service(everything, service)
    known = [one for one in everything if one.adapter == named]
    judge = _Judge(export, coverage or Coverage(), {one.purchase_key: one for one in known})
    differences = [judge.entry(one) for one in reconcile(known, export.lines)]
    entries = [one for one in differences if one is not None]
    named_already = {one.purchase.purchase_key for one in entries if one.purchase}
    doubtful = [one for one in known if _doubtful(one) and one.purchase_key not in named_already]
    entries += [judge.absent(one) for one in doubtful]
    return Reconciliation(named, len(export.lines), len(known), entries)


def apply(ledger: Ledger, tenant: str, found: Reconciliation) -> Reconciliation:
    """Write down what the list proves about purchases that may have been charged; nothing else is changed."""
    return replace(found, entries=[_applied(ledger, tenant, entry) for entry in found.entries])


def _applied(ledger: Ledger, tenant: str, entry: Entry) -> Entry:
    if entry.settles is None or entry.purchase is None:
        return entry
    resolved = resolve_as_seen(ledger, tenant, entry.purchase, entry.settles)
    if resolved is None:
        return replace(entry, words="another process went on with it meanwhile; reconcile again")
    if isinstance(entry.settles, NotCharged):
        words = "not charged, as the provider's list says: what was held is released, the same command buys it again"
    else:
        words = "settled as the provider's list says"
    return replace(entry, purchase=resolved, is_applied=True, words=words)


def _service(known: Sequence[Purchase], wanted: str | None) -> str | None:
    names = sorted({one.adapter for one in known})
    if wanted is None and len(names) > 1:
        raise UsageError(f"there are purchases of {', '.join(names)}; say whose list it is with --service")
    if wanted is not None and names and wanted not in names:
        raise UsageError(f"there is no purchase of {wanted!r}, there are some of {', '.join(names)}; check --service")
    return wanted or (names[0] if names else None)


def _doubtful(purchase: Purchase) -> bool:
    return purchase.state == "unknown" or (purchase.state == "settled" and purchase.held_micro_usd > 0)


APPLY = "reconcile with --apply writes that down"
WORDS: dict[str, Callable[[Difference], str]] = {
    "unknown_resolved": lambda _: f"the provider charged it; {APPLY}",
    "missing_there": lambda _: "counted here and not in the list: wait for the next export, or ask the provider",
    "other_amount": lambda one: (
        f"the sums differ, lines there: {one.lines}; check its price list, or whether it was charged twice"
    ),
    "missing_here": lambda one: (
        "the provider charged what counted as free here: ask for it back, or check what its declaration says is free"
        if one.purchase_key
        else "nobody here bought it: another tenant's or program's, or another ledger's"
    ),
}


@dataclass(frozen=True)
class _Judge:
    """What a list proves."""

    export: Export
    coverage: Coverage
    known: dict[str, Purchase]

    def entry(self, difference: Difference) -> Entry | None:
        """None where the list is not about the time of that purchase."""
        purchase = self.known.get(difference.purchase_key or "")
        if difference.kind == "missing_there" and purchase is not None and not self._is_about(purchase):
            return None
        return Entry(difference, purchase, _proven(difference, purchase), WORDS[difference.kind](difference))

    def _is_about(self, purchase: Purchase) -> bool:
        sent, settled = purchase.sent_at or purchase.intent_at, purchase.settled_at or purchase.intent_at
        since, until = self.coverage.since, self.coverage.until
        return (since is None or sent >= since) and (until is None or settled <= until)

    def absent(self, purchase: Purchase) -> Entry:
        """A purchase that may have been charged, and the list has no charge for that."""
        why_not = self._why_not_free(purchase)
        if why_not is not None:
            return Entry(None, purchase, None, why_not)
        proof = f"not in the provider's list, which is complete until {self.coverage.until:%Y-%m-%d %H:%M:%S} UTC"
        return Entry(None, purchase, NotCharged({"proof": proof}), f"the provider did not charge it; {APPLY}")

    def _why_not_free(self, purchase: Purchase) -> str | None:
        """Why the absence of a line is no proof; None if it is one."""
        if self.coverage.until is None:
            return "not in the list, which may be incomplete; say how far it is with --complete-until TIME"
        if any(line.idempotency_key is None for line in self.export.lines):
            return "the list has lines without a key, any of which may be this one; ask the provider"
        first = purchase.sent_at or purchase.intent_at
        begins = self.coverage.since or min((line.at for line in self.export.lines), default=None)
        if begins is None or first < begins + MARGIN:
            return (
                f"sent at {first:%Y-%m-%d %H:%M:%S} UTC, within an hour of the list's first line or before; say since "
                "when the list is complete with --complete-since TIME"
            )
        if (purchase.resent_at or first) > self.coverage.until - MARGIN:
            return "sent within an hour of the list's end or later: use a later export"
        return None


def _proven(difference: Difference, purchase: Purchase | None) -> Outcome | None:
    there, here = difference.there_micro_usd, difference.here_micro_usd
    if purchase is None or there is None:
        return None
    if difference.kind == "unknown_resolved":
        return Charged(there, difference.reference)
    if _doubtful(purchase) and difference.lines > 1 and there > (here or 0):
        return Charged(there - (here or 0))  # the other sending's
    return None
