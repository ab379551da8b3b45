"""What the photographs look like that something was bought for: the same in other bytes is not bought again."""

import base64
import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import or_, select

from datasets.errors import UsageError
from datasets.identity import check_digest
from datasets.ledger.gate_tables import looks
from datasets.ledger.purchases import Purchase
from datasets.ledger.spend_rows import PurchaseRows
from datasets.ledger.upserts import insert_new

BANDS = 4  # parts of the hash that are looked up: two hashes that differ in at most 3 bits have one in common
MOST_BITS = 8  # encoding again changes up to 2; the small copy has the last word
COUNTED = ("intent", "sent", "settled", "unknown")  # what failed for free may be bought by its twin
SAME_ASPECT = 0.01  # whole pixels of a resized picture change less; a taller product in the same pixels is another

SIDE = 64  # px of the small copy
DIGITS = 16  # hexadecimal, of a hash

# Measured on small copies of real photographs of 320 px and more, in codes of 0..255: encoded as JPEG 50 to 95 or WebP
# 60 and 90, in 16 bit, or resized to 95 to 105 %, they differ in luma by up to 10 and in chroma, which JPEG halves, by
# up to 6. A hue that was turned by 10 degrees leaves 7 to 16 of chroma, another digit of a fiftieth of the height 7 to
# 14 of luma.
LARGEST_LUMA, LARGEST_CHROMA = 10.0, 6.0
# What encoding leaves is spread over all that is not plain; another text or logo differs much in few places. So the
# largest step may not be far above that of the hundredth of places that differ most.
SPREAD_SHARE = 1.0  # per cent
SPREAD_STEP, SPREAD_FACTOR = 4.0, 2.0
LUMA_CB_CR = np.array(
    [[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]], np.float64
)  # JPEG's, of full-range RGB


@dataclass(frozen=True)
class Look:
    """What a photograph shows, small enough to keep.

    Attributes:
        wish: Digest of what is asked for besides the picture: the same product in another scene is no duplicate.
        phash: Perceptual hash, 16 hexadecimal digits.
        signature: A small copy of 64 × 64 px in RGB as bytes, whatever the picture's shape.
        aspect: Width divided by height.
    """

    wish: str
    phash: str
    signature: bytes
    aspect: float = 1.0

    def __post_init__(self) -> None:
        check_digest(self.wish)
        if len(self.phash) != DIGITS or len(self.signature) != SIDE * SIDE * 3 or not self.aspect > 0:
            raise UsageError(
                f"a look has a hash of 16 digits, a copy of {SIDE} × {SIDE} px and an aspect, got {self.phash!r}, "
                f"{len(self.signature)} bytes, {self.aspect}"
            )

    @property
    def bands(self) -> dict[str, str]:
        width = len(self.phash) // BANDS
        return {f"band_{number}": self.phash[number * width : (number + 1) * width] for number in range(BANDS)}

    def is_like(self, other: "Look") -> bool:
        """Whether both show the same for the same wish. In doubt they do not: a product that is wrongly withheld
        costs its owner more than a picture that is paid for twice.
        """
        return (
            self.wish == other.wish
            and hamming_distance(self.phash, other.phash) <= MOST_BITS
            and abs(self.aspect / other.aspect - 1) <= SAME_ASPECT
            and _same_pixels(self.signature, other.signature)
        )


def find_twin(rows: PurchaseRows, look: Look, purchase_key: str) -> Purchase | None:
    """The purchase for a picture that shows the same, if there is another one that did not fail for free."""
    columns = looks.c
    same_band = or_(*(columns[name] == value for name, value in look.bands.items()))
    query = select(columns.purchase_key, columns.phash).where(
        columns.tenant_id == rows.tenant, columns.wish == look.wish, columns.purchase_key != purchase_key, same_band
    )
    for key, phash in rows.connection.execute(query.order_by(columns.purchase_key)).all():
        if hamming_distance(look.phash, phash) > MOST_BITS or not look.is_like(_kept(rows, key)):
            continue
        found = rows.find(key)
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
        "signature": base64.b64encode(struct.pack("<d", look.aspect) + look.signature).decode(),
        **look.bands,
    }
    insert_new(rows.connection, looks, [row])


def _kept(rows: PurchaseRows, purchase_key: str) -> Look:
    columns = looks.c
    query = select(looks).where(columns.tenant_id == rows.tenant, columns.purchase_key == purchase_key)
    row = rows.connection.execute(query).one()
    content = base64.b64decode(row.signature)
    (aspect,) = struct.unpack("<d", content[:8])
    return Look(row.wish, row.phash, content[8:], aspect)


def hamming_distance(first: str, second: str) -> int:
    """Bits in which two hashes of 16 hexadecimal digits differ, 0..64.

    Near duplicates have at most 10 or so; pictures that have nothing to do with each other about 32.

    Raises:
        ValueError: Not two such hashes.
    """
    if len(first) != DIGITS or len(second) != DIGITS:
        raise ValueError(f"expected two hashes of {DIGITS} hexadecimal digits, got {first!r} and {second!r}")
    return (int(first, 16) ^ int(second, 16)).bit_count()


def _same_pixels(first: bytes, second: bytes) -> bool:
    ours, theirs = (np.frombuffer(each, np.uint8).reshape(SIDE, SIDE, 3).astype(np.float64) for each in (first, second))
    steps = (ours - theirs) @ LUMA_CB_CR.T
    luma, chroma = np.abs(steps[..., 0]), np.abs(_smoothed(steps[..., 1:]))
    spread = float(np.percentile(luma, 100 - SPREAD_SHARE))
    most = min(LARGEST_LUMA, SPREAD_STEP + SPREAD_FACTOR * spread)
    return float(luma.max()) <= most and float(chroma.max()) <= LARGEST_CHROMA


def _smoothed(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mean of each 3 × 3 neighbourhood that lies within (h, w, c)."""
    windows = np.lib.stride_tricks.sliding_window_view(values, (3, 3), axis=(0, 1))
    return np.asarray(windows.mean(axis=(-2, -1)), np.float64)
