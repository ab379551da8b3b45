"""Pauses and deadlines: bounds of the jitter, what services ask for, and a clock that nobody can stretch."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasets.retry_after import retry_after_s
from model_blocks.adapters.adapter import PaidAdapter
from model_blocks.adapters.outcomes import FailedFree, PaidRequest, Settled, Unknown
from model_blocks.adapters.waiting import Retries
from tests.model_blocks.paid_calls import KEYED, NOON, PLAIN, buy, shop
from tests.services.paid_adapters import generic, google
from tests.services.paid_service import serve


@given(
    tried=st.integers(1, 10_000),
    chance=st.floats(0, 1, exclude_max=True),
    base=st.floats(0.001, 10),
    cap=st.floats(0.001, 100),
    asked=st.none() | st.floats(0, 1e6),
)
def test_a_pause_is_never_early_and_never_beyond_its_span(
    tried: int, chance: float, base: float, cap: float, asked: float | None
) -> None:
    pause = Retries(base_s=base, cap_s=cap).pause_s(tried, chance, asked)
    least = asked or 0.0
    assert least <= pause <= least + cap * (1 + 1e-9) + 1e-6
    assert pause - least <= base * 2.0 ** min(tried - 1, 60) * (1 + 1e-9) + 1e-6


def test_spans_double_up_to_the_cap_and_the_jitter_is_full() -> None:
    retries = Retries(base_s=1.0, cap_s=5.0)
    assert [retries.pause_s(tried, 0.999999) for tried in (1, 2, 3, 4, 9)] == pytest.approx([1, 2, 4, 5, 5], abs=1e-4)
    assert [retries.pause_s(tried, 0.0) for tried in (1, 2, 3)] == [0.0, 0.0, 0.0]


@given(seconds=st.integers(0, 600_000), hours=st.integers(-12, 12))
def test_dates_and_seconds_say_the_same(seconds: int, hours: int) -> None:
    now = NOON.astimezone(timezone(timedelta(hours=hours)))
    date = format_datetime(NOON + timedelta(seconds=seconds), usegmt=True)
    assert retry_after_s({"retry-after": date}, now) == seconds
    assert retry_after_s({"retry-after": str(seconds)}, now) == seconds


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("", None), ("soon", None), ("-5", None), ("1.5", None), ("٣", None), ("Thu, 99 Jan 2026 12:00:00 GMT", None),
        ("Thu, 01 Jan 2026 11:00:00 GMT", 0.0), ("Thu, 01 Jan 2026 12:00:30 -0000", 30.0), (" 7 ", 7.0),
        ("9" * 5000, 604_800.0),
    ],
)  # fmt: skip
def test_odd_values_are_read_or_left(value: str, seconds: float | None) -> None:
    assert retry_after_s({"retry-after": value}, datetime(2026, 1, 1, 12, tzinfo=UTC)) == seconds


@pytest.mark.parametrize("make", [generic, google])
@pytest.mark.parametrize("fault", ["drip", "drip_headers", "timeout_after"])
def test_no_service_holds_a_call_beyond_its_deadline(
    tmp_path: Path, make: Callable[..., PaidAdapter], fault: str
) -> None:
    with serve(tmp_path, KEYED) as service:
        service.order(*[{"kind": fault, "seconds": 0.2}] * 4)
        if fault == "timeout_after":
            service.order(*[{"kind": fault, "seconds": 30}] * 4)
        begun = time.monotonic()
        done, _ = buy(make(service.url, KEYED, deadline_s=0.7))
        assert isinstance(done, Unknown)
        assert time.monotonic() - begun < 0.7 + 2
        assert service.charges == 1


def test_a_request_that_is_taken_byte_by_byte_ends_too() -> None:
    """A service that accepts and never reads: the sending must end as well."""
    import socket

    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        listening.bind(("127.0.0.1", 0))
        listening.listen(1)
        adapter = generic(f"http://127.0.0.1:{listening.getsockname()[1]}", PLAIN, deadline_s=1.0)
        begun = time.monotonic()
        done, _ = buy(adapter, PaidRequest("a cup", image=bytes(32 << 20)))
    assert isinstance(done, Unknown)
    assert done.reason == "timeout"
    assert time.monotonic() - begun < 1.0 + 2


def test_a_resolver_that_hangs_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(*_: Any, **__: Any) -> list[Any]:
        time.sleep(4)
        return []

    monkeypatch.setattr("socket.getaddrinfo", slow)
    begun = time.monotonic()
    done, _ = buy(generic("http://somewhere.invalid", PLAIN, deadline_s=0.5))
    assert isinstance(done, FailedFree)
    assert done.code == "unreachable"
    assert time.monotonic() - begun < 0.5 + 2


def test_a_slow_ledger_eats_the_deadline_and_nothing_is_sent(tmp_path: Path) -> None:
    with shop(tmp_path, PLAIN, deadline_s=0.2) as (service, adapter):
        done, _ = buy(adapter, before_send=lambda _: time.sleep(0.3))
        assert isinstance(done, FailedFree)
        assert (done.code, service.requests) == ("unreachable", 0)


def test_one_slow_try_leaves_time_for_the_next(tmp_path: Path) -> None:
    with shop(tmp_path, KEYED, "timeout_after", deadline_s=10.0, attempt_s=0.4) as (service, adapter):
        done, _ = buy(adapter)
        assert isinstance(done, Settled)
        assert (done.attempts, service.charges) == (2, 1)
