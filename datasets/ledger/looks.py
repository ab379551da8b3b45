"""What the pictures look like that something was bought for: the same in other bytes is not bought again."""

import base64
from dataclasses import dataclass

import numpy as np
from sqlalchemy import or_, select

from datasets.errors import UsageError
from datasets.identity import check_digest
from datasets.ledger.gate_tables import looks
from datasets.ledger.purchases import Purchase
from datasets.ledger.spend_rows import PurchaseRows
from datasets.ledger.upserts import insert_new

BANDS = 4  # parts of the hash that are looked up: two hashes that differ in at most 3 bits have one in common
MOST_BITS = BANDS - 1
LARGEST_STEP = 8  # codes of 0..255 that a part of the small copy may differ by: encoding again leaves about 3
COUNTED = ("intent", "sent", "settled", "unknown")  # what failed for free may be bought by its twin


@dataclass(frozen=True)
class Look:
    """What a picture shows, small enough to keep.

    Attributes:
        wish: Digest of what is asked for besides the picture: the same product in another scene is no duplicate.
        phash: Perceptual hash, 16 hexadecimal digits.
        signature: A small copy as bytes, of the same length for all pictures.
    """

    wish: str
    phash: str
    signature: bytes

    def __post_init__(self) -> None:
        check_digest(self.wish)
        if len(self.phash) != 16 or not self.signature:
            raise UsageError(f"a look has a hash of 16 digits and a small copy, got {self.phash!r}")

    @property
    def bands(self) -> dict[str, str]:
        width = len(self.phash) // BANDS
        return {f"band_{number}": self.phash[number * width : (number + 1) * width] for number in range(BANDS)}


def find_twin(rows: PurchaseRows, look: Look, purchase_key: str) -> Purchase | None:
    """The purchase for a picture that shows the same, if there is another one that did not fail for free."""
    columns = looks.c
    same_band = or_(*(columns[name] == value for name, value in look.bands.items()))
    query = select(looks).where(columns.tenant_id == rows.tenant, columns.wish == look.wish, same_band)
    for row in rows.connection.execute(query.where(columns.purchase_key != purchase_key)):
        if _alike(look, row.phash, base64.b64decode(row.signature)):
            found = rows.find(row.purchase_key)
            if found is not None and found.state in COUNTED:
                return found
    return None


def keep_look(rows: PurchaseRows, look: Look, purchase_key: str) -> None:
    """Write down what the picture of a purchase looks like."""
    row = {
        "tenant_id": rows.tenant,
        "purchase_key": purchase_key,
        "wish": look.wish,
        "phash": look.phash,
        "signature": base64.b64encode(look.signature).decode(),
        **look.bands,
    }
    insert_new(rows.connection, looks, [row])


def _alike(look: Look, phash: str, signature: bytes) -> bool:
    if (int(look.phash, 16) ^ int(phash, 16)).bit_count() > MOST_BITS or len(signature) != len(look.signature):
        return False
    ours, theirs = (np.frombuffer(each, np.uint8).astype(np.int16) for each in (look.signature, signature))
    return int(np.abs(ours - theirs).max()) <= LARGEST_STEP
