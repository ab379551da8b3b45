"""How long to wait between tries, and the clock that is waited by."""

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

LONGEST_RETRY_AFTER_S = 7 * 86_400.0  # a service that asks for more than a week made a mistake


def _utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True)
class Clock:
    """Time as a value, so that tests need none.

    Attributes:
        monotonic: Seconds that never go back; deadlines are kept by them.
        sleep: Waits that many seconds.
        now: Time of day in UTC; dates in replies are compared with it.
        chance: A number from 0 up to 1.
    """

    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    now: Callable[[], datetime] = _utc_now
    chance: Callable[[], float] = random.random


@dataclass(frozen=True)
class Retries:
    """How often and how patiently. The pause before try n + 1 is drawn from 0 to ``min(cap_s, base_s · 2^(n − 1))``.

    Source: Brooker 2015, "Exponential backoff and jitter" (full jitter).
    """

    attempts: int = 4
    base_s: float = 0.5
    cap_s: float = 30.0

    def pause_s(self, tried: int, chance: float, retry_after_s: float | None = None) -> float:
        """Seconds to wait after that many tries; what the service asks for comes on top, so that nobody is early.

        Args:
            tried: Tries so far, from 1.
            chance: From 0 up to 1.
            retry_after_s: What the service asks for.
        """
        span = min(self.cap_s, self.base_s * 2.0 ** min(tried - 1, 64))
        return chance * span + (retry_after_s or 0.0)


def retry_after_s(headers: Mapping[str, str], now: datetime) -> float | None:
    """What a ``Retry-After`` header asks for, in seconds from now; None if there is none that can be read.

    Args:
        headers: With lower-case names.
        now: Time of day, with its zone.

    Source: RFC 9110, section 10.2.3: whole seconds or a date.
    """
    value = headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit():
        return min(float(value[:12]), LONGEST_RETRY_AFTER_S)
    try:
        date = parsedate_to_datetime(value)
    except (ValueError, IndexError, OverflowError):
        return None
    if date.tzinfo is None:  # "-0000": UTC by RFC 5322
        date = date.replace(tzinfo=UTC)
    return min(max(0.0, (date - now).total_seconds()), LONGEST_RETRY_AFTER_S)
