"""The charging service's own books: what it was asked, what it charged, what it remembers of keys. Survive any kill."""

import csv
import io
import sqlite3
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

TABLES = """
CREATE TABLE IF NOT EXISTS requests (id INTEGER PRIMARY KEY, at REAL, key TEXT, form TEXT, fault TEXT);
CREATE TABLE IF NOT EXISTS charges (id INTEGER PRIMARY KEY, at REAL, key TEXT, form TEXT, digest TEXT,
                                    micro_usd INTEGER, reference TEXT, image BLOB);
CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, at REAL, digest TEXT, status INTEGER, image BLOB,
                                    reference TEXT);
"""
EXPORTED = ("time", "request_key", "operation", "reference", "units", "micro_usd")


@dataclass(frozen=True)
class Answer:
    """What the service answers, before it is put in a form."""

    status: int
    reference: str = ""
    image: bytes = b""
    replayed: bool = False


class Books:
    """One SQLite file; every change is on the disk before it is told."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._connection = sqlite3.connect(folder / "paid_service.db", check_same_thread=False, isolation_level=None)
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=FULL")
        self._connection.executescript(TABLES)
        self.lock = threading.RLock()

    def close(self) -> None:
        with self.lock:
            self._connection.close()

    def note_request(self, key: str | None, form: str, fault: str) -> None:
        self._do("INSERT INTO requests (at, key, form, fault) VALUES (?, ?, ?, ?)", time.time(), key, form, fault)

    def charge(self, key: str | None, form: str, digest: str, micro_usd: int, image: bytes) -> Answer:
        with self.lock:
            number = self._do("SELECT count(*) FROM charges")[0][0] + 1
            answer = Answer(200, f"work-{number:06d}", image)
            self._do(
                "INSERT INTO charges (at, key, form, digest, micro_usd, reference, image) VALUES (?, ?, ?, ?, ?, ?, ?)",
                *(time.time(), key, form, digest, micro_usd, answer.reference, image),
            )
            return answer

    def remember(self, key: str, digest: str, answer: Answer) -> None:
        self._do(
            "INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?, ?, ?)",
            *(key, time.time(), digest, answer.status, answer.image, answer.reference),
        )

    def remembered(self, key: str, window_s: float) -> tuple[str, Answer] | None:
        """The digest of the request and its answer, if the key is not older than the window."""
        rows = self._do("SELECT at, digest, status, image, reference FROM answers WHERE key = ?", key)
        if not rows or time.time() - rows[0][0] > window_s:
            return None
        _, digest, status, image, reference = rows[0]
        return digest, Answer(status, reference, image, replayed=True)

    def charged(self, key: str) -> tuple[float, str, int, bytes] | None:
        """Time, reference, micro-USD and image of the key's newest charge."""
        rows = self._do(
            "SELECT at, reference, micro_usd, image FROM charges WHERE key = ? ORDER BY id DESC LIMIT 1", key
        )
        return (rows[0][0], rows[0][1], rows[0][2], rows[0][3]) if rows else None

    def totals(self) -> dict[str, Any]:
        """How many requests came, how many charges were made, and for whom."""
        charges = self._do("SELECT key, micro_usd FROM charges")
        by_key: dict[str, int] = {}
        for key, _ in charges:
            by_key[key or ""] = by_key.get(key or "", 0) + 1
        requests = self._do("SELECT key, fault FROM requests ORDER BY id")
        return {
            "charges": len(charges),
            "micro_usd": sum(price for _, price in charges),
            "by_key": by_key,
            "requests": len(requests),
            "keys": [key for key, _ in requests],
            "faults": [fault for _, fault in requests],
        }

    def usage(self) -> list[dict[str, Any]]:
        """The export a customer reconciles with: one row per charge."""
        rows = self._do("SELECT at, key, form, reference, micro_usd FROM charges ORDER BY id")
        return [
            dict(
                zip(
                    EXPORTED, (datetime.fromtimestamp(at, UTC).isoformat(), key or "", form, ref, 1, price), strict=True
                )
            )
            for at, key, form, ref, price in rows
        ]

    def usage_csv(self) -> str:
        text = io.StringIO()
        writer = csv.DictWriter(text, EXPORTED)
        writer.writeheader()
        writer.writerows(self.usage())
        return text.getvalue()

    def _do(self, statement: str, *values: Any) -> list[Any]:
        with self.lock:
            return self._connection.execute(statement, values).fetchall()
