"""Which row a SKU belongs to, for any number of them: kept in a temporary file rather than in memory."""

import hashlib
import re
import sqlite3
import unicodedata
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime

from datasets.errors import StorageUnavailableError

CACHE_KIB = 8192  # of the index in memory
NUMBER = re.compile(r"[+-]?[0-9]{1,30}(\.[0-9]{1,30})?")
UNKNOWN, AS_NUMBER, AS_DATE = 0, 1, 2
Age = tuple[int, float]  # what kind of time it is, and when


def sku_key(sku: str) -> bytes:
    """The same for SKUs that are one: upper and lower case and outer spaces make no difference."""
    folded = unicodedata.normalize("NFC", unicodedata.normalize("NFC", sku.strip()).casefold())
    return hashlib.blake2b(folded.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def age_of(value: object) -> Age:
    """When a row was updated. Dates (ISO 8601; UTC without an offset) are newer than numbers, both than anything else.

    Numbers are compared as they are: years, versions, seconds.
    """
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return (AS_NUMBER, float(value)) if abs(value) < 1e300 else (UNKNOWN, 0.0)
    text = value.strip() if isinstance(value, str) else ""
    if NUMBER.fullmatch(text):
        return AS_NUMBER, float(text)
    try:
        when = datetime.fromisoformat(text)
        return AS_DATE, (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return UNKNOWN, 0.0


class SkuIndex:
    """The line of the row that each SKU belongs to."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._run = connection.execute

    def claim(self, key: bytes, line: int) -> int | None:
        """Take a SKU for a row unless it is taken: then the line that has it."""
        if self._run("INSERT INTO skus VALUES (?, ?, 0, 0) ON CONFLICT DO NOTHING", (key, line)).rowcount:
            return None
        return self.holder(key)

    def offer(self, key: bytes, line: int, age: Age) -> None:
        """Take a SKU for a row if it is the newest so far; of equally old ones the first keeps it."""
        self._run(
            "INSERT INTO skus VALUES (?, ?, ?, ?) ON CONFLICT (key) DO UPDATE SET line = excluded.line, "
            "kind = excluded.kind, at = excluded.at WHERE (excluded.kind, excluded.at) > (skus.kind, skus.at)",
            (key, line, *age),
        )

    def holder(self, key: bytes) -> int | None:
        """The line of the row that has a SKU."""
        found = self._run("SELECT line FROM skus WHERE key = ?", (key,)).fetchone()
        return None if found is None else int(found[0])


@contextmanager
def sku_index() -> Iterator[SkuIndex]:
    """An empty index, gone at the end.

    Raises:
        StorageUnavailableError: There is no room for it on the disk of temporary files.
    """
    try:
        with closing(sqlite3.connect("", isolation_level=None, check_same_thread=False)) as connection:
            for pragma in ("journal_mode=OFF", "synchronous=OFF", f"cache_size=-{CACHE_KIB}", "temp_store=FILE"):
                connection.execute(f"PRAGMA {pragma}")
            connection.execute(
                "CREATE TABLE skus (key BLOB PRIMARY KEY, line INTEGER, kind INTEGER, at REAL) WITHOUT ROWID"
            )
            connection.execute("BEGIN")
            yield SkuIndex(connection)
    except sqlite3.OperationalError as error:
        raise StorageUnavailableError(
            f"the SKUs of a table could not be kept in a temporary file: {error}; make room there, or set TMPDIR"
        ) from error
