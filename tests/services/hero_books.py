"""Both sides' books after ``hero`` runs: what our ledger says was bought, and what the service says it charged."""

import sqlite3
from collections import Counter
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from datasets.assets import get_asset
from datasets.ledger import Charged, Ledger, Purchase, UsageRecord, open_ledger, reconcile
from datasets.ledger.purchases import idempotency_key
from datasets.storage import open_storage
from tests.services.hero_shop import Shop

OnItsWay = frozenset[tuple[str, str, str]]  # purchase, who makes it, state


@dataclass(frozen=True)
class Charge:
    """One line of the service's books. ``digest`` is the request's: the same for the same wish."""

    key: str
    digest: str
    reference: str
    micro_usd: int
    at: datetime
    image_sha256: str


@dataclass(frozen=True)
class Count:
    """What came of a shop's items, in pieces, and the sums of both sides in micro-USD.

    Attributes:
        delivered: Items with a picture.
        paid_twice: Charges beyond the first of an item.
        lost: Items that are neither delivered nor known to be unknown, and charges that nobody here knows.
        unknown: Items that may have been charged, before the service's list was compared.
        ledger: What the ledger counts, with what the service's list then said of the unknown ones.
        service: What the service charged.
    """

    delivered: int
    paid_twice: int
    lost: int
    unknown: int
    ledger: int
    service: int


def on_its_way(ledger: Path) -> OnItsWay:
    """Purchases between their intent and their settlement, as the file says, whoever asks."""
    rows = _read(ledger, "SELECT purchase_key, holder, state FROM purchases WHERE state IN ('intent', 'sent')")
    return frozenset((str(key), str(holder), str(state)) for key, holder, state in rows)


def states(found: OnItsWay) -> set[str]:
    """Where any of them stands."""
    return {state for _, _, state in found}


def decided(ledger: Path) -> int:
    """Purchases that nothing more will be sent for, if nobody can ask the service."""
    return int(_read(ledger, "SELECT count(*) FROM purchases WHERE state IN ('settled', 'unknown')")[0][0])


def charges_of(books: Path) -> list[Charge]:
    """What a service charged."""
    query = "SELECT key, digest, reference, micro_usd, at, image FROM charges ORDER BY id"
    return [
        Charge(key or "", digest, reference, price, datetime.fromtimestamp(at, UTC), sha256(image).hexdigest())
        for key, digest, reference, price, at, image in _read(books, query)
    ]


def requests_of(books: Path) -> int:
    """How many requests a service got, whatever came of them."""
    return int(_read(books, "SELECT count(*) FROM requests")[0][0])


def count(shop: Shop, became: Mapping[str, str], pictures: Path | None = None) -> Count:
    """Compare both books with what the run says of its items; what is unknown and was charged is settled then.

    Args:
        became: Status by item, of the last run.
        pictures: The folder of what was delivered, if it is another one than the shop's.
    """
    ledger = open_ledger(shop.ledger_url)
    with ledger.spending(shop.tenant, read_only=True) as session:
        bought = session.purchases()
    charges = charges_of(shop.books)
    owners = {idempotency_key(one.purchase_key, n): one.item for one in bought for n in range(1, one.attempt + 1)}
    charged = Counter(owners.get(charge.key, "") for charge in charges)
    strangers = charged.pop("", 0)
    unknown = {one.item for one in bought if one.state in ("intent", "sent", "unknown")}
    delivered = {
        item for item, status in became.items() if status == "delivered" and _is_there(pictures or shop.out, item)
    }
    paid_for = {one.item for one in bought if _has_what_was_paid(shop, one, charges)}
    _compare_lists(shop, ledger, bought, charges)
    with ledger.spending(shop.tenant, read_only=True) as session:
        spent = session.summary().spent
    return Count(
        delivered=len(delivered),
        paid_twice=sum(times - 1 for times in charged.values()),
        lost=len(became.keys() - (delivered & paid_for) - unknown) + strangers,
        unknown=len(unknown),
        ledger=spent,
        service=sum(charge.micro_usd for charge in charges),
    )


def _is_there(folder: Path, item: str) -> bool:
    return any(path.stat().st_size for path in folder.glob(f"{item}-*.jpg"))


def _has_what_was_paid(shop: Shop, purchase: Purchase, charges: list[Charge]) -> bool:
    """Whether the storage holds the very picture that the service charged for."""
    if purchase.state != "settled" or purchase.response_digest is None:
        return False
    content = get_asset(open_storage(str(shop.store), shop.tenant), purchase.response_digest)
    paid = [charge.image_sha256 for charge in charges if charge.reference == purchase.provider_reference]
    return paid == [sha256(content).hexdigest()]


def _compare_lists(shop: Shop, ledger: Ledger, bought: list[Purchase], charges: list[Charge]) -> None:
    """Settle what is unknown here and stands in the service's list, as its customer would."""
    usage = [UsageRecord(one.micro_usd, one.at, one.reference, one.key) for one in charges]
    with ledger.spending(shop.tenant) as session:
        for difference in reconcile(bought, usage):
            if difference.kind == "unknown_resolved":
                assert difference.purchase_key is not None
                assert difference.there_micro_usd is not None
                outcome = Charged(difference.there_micro_usd, difference.reference, None)
                session.resolve(difference.purchase_key, outcome)


def _read(path: Path, query: str) -> list[Any]:
    """Rows of a SQLite file that others write."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)) as connection:
        return connection.execute(query).fetchall()
