"""What the tests of paid calls share: a clock that needs no time, a breaker that writes down what it is told."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image

from model_blocks.adapters.adapter import PaidAdapter
from model_blocks.adapters.calling import Attempt, FailureKind, call
from model_blocks.adapters.outcomes import Outcome, PaidRequest
from model_blocks.adapters.waiting import Clock
from tests.services.paid_adapters import generic
from tests.services.paid_service import Rules, Service, serve

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
KEYED = Rules(keys=True)
PLAIN = Rules()


@dataclass
class StillClock:
    """Time goes on only while somebody sleeps."""

    at: float = 0.0
    slept: list[float] = field(default_factory=list)
    chance: float = 0.5

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.at += seconds

    @property
    def clock(self) -> Clock:
        return Clock(lambda: self.at, self.sleep, lambda: NOON + timedelta(seconds=self.at), lambda: self.chance)


@dataclass
class Listener:
    """A breaker that lets everything go until ``opens_after`` requests went."""

    opens_after: int | None = None
    asked: int = 0
    heard: list[tuple[str, FailureKind | None, float | None]] = field(default_factory=list)

    def before_call(self, service: str) -> datetime | None:
        self.asked += 1
        return NOON if self.opens_after is not None and self.asked > self.opens_after else None

    def succeeded(self, service: str) -> None:
        self.heard.append((service, None, None))

    def failed(self, service: str, kind: FailureKind, retry_after_s: float | None) -> None:
        self.heard.append((service, kind, retry_after_s))


def picture() -> bytes:
    """A 12 × 8 PNG with transparency."""
    stream = BytesIO()
    Image.new("RGBA", (12, 8), (200, 30, 40, 128)).save(stream, "PNG")
    return stream.getvalue()


REQUEST = PaidRequest("a cup on oak", image=picture())


def buy(adapter: PaidAdapter, request: PaidRequest = REQUEST, **given: Any) -> tuple[Outcome, list[Attempt]]:
    """A call and what it wrote down before each try; pauses take no time unless a clock is given."""
    sent: list[Attempt] = []
    given = {"idempotency_key": "order-1", "before_send": sent.append, **given}
    if "clock" not in given:
        given["clock"] = Clock(sleep=lambda _: None)
    return call(adapter, request, **given), sent


@contextmanager
def shop(folder: Path, rules: Rules = PLAIN, *faults: Any, **changes: Any) -> Iterator[tuple[Service, PaidAdapter]]:
    """A service with faults in store and the generic adapter to it."""
    with serve(folder, rules) as service:
        service.order(*faults)
        yield service, generic(service.url, rules, **changes)
