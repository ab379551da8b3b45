"""How long to wait between tries, and the clock that is waited by."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime


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
