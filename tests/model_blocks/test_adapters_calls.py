"""Every way a paid call can end, against a service that charges: what is said must agree with the service's books."""

import socket
from collections.abc import Callable, Iterator
from datetime import timedelta
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from datasets.errors import SettingsError, UsageError
from model_blocks.adapters.adapter import PaidAdapter
from model_blocks.adapters.outcomes import Deferred, FailedFree, PaidRequest, Settled, Unknown
from model_blocks.adapters.waiting import Retries
from tests.model_blocks.paid_calls import KEYED, NOON, PLAIN, REQUEST, Listener, StillClock, buy, shop
from tests.services.paid_adapters import generic, google
from tests.services.paid_image import make_image
from tests.services.paid_service import Rules, Service, serve

Make = Callable[..., PaidAdapter]
ONCE = Retries(attempts=1)
FORMS: list[Make] = [generic, lambda url, rules, **more: generic(url, rules, raw=True, **more), google]
by_form = pytest.mark.parametrize("make", FORMS, ids=["json", "multipart", "google"])


@pytest.fixture(scope="module")
def plain_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serve(tmp_path_factory.mktemp("plain"), PLAIN) as service:
        yield service


@by_form
def test_a_purchase_is_charged_once_and_its_image_comes(plain_service: Service, make: Make) -> None:
    before = plain_service.charges
    done, sent = buy(make(plain_service.url, PLAIN))
    assert isinstance(done, Settled)
    assert (done.fault, done.media_type, done.charged_micro_usd, done.attempts) == (None, "image/png", 39_000, 1)
    assert done.content == make_image("a cup on oak", REQUEST.image)
    assert Image.open(BytesIO(done.content)).size == (12, 8)
    assert done.reference == f"work-{before + 1:06d}"
    assert (plain_service.charges - before, len(sent)) == (1, 1)


@pytest.mark.parametrize("make", [generic, google])
@pytest.mark.parametrize(
    ("fault", "kind", "name", "charges"),
    [
        ("unavailable", FailedFree, "status_503", 0),
        ("too_many", FailedFree, "status_429", 0),
        ("bad_request", FailedFree, "status_400", 0),
        ("redirect", FailedFree, "redirected", 0),
        ("timeout_before", Unknown, "timeout", 0),
        ("timeout_after", Unknown, "timeout", 1),
        ("reset_before", Unknown, "reset", 0),
        ("reset_after", Unknown, "reset", 1),
        ("error_before", Unknown, "status_500", 0),
        ("error_after", Unknown, "status_500", 1),
        ("drip", Unknown, "timeout", 1),
        ("drip_headers", Unknown, "timeout", 1),
        ("cut", Unknown, "protocol", 1),
        ("not_an_image", Settled, "not_an_image", 1),
        ("huge", Settled, "reply_too_large", 1),
    ],
)
def test_one_try_is_classified_as_the_books_allow(
    plain_service: Service, make: Make, fault: str, kind: type, name: str, charges: int
) -> None:
    before = plain_service.charges
    plain_service.order({"kind": fault, "seconds": 0.2 if fault.startswith("drip") else 5.0})
    done, sent = buy(make(plain_service.url, PLAIN, deadline_s=1.0, max_reply_mb=1), retries=ONCE)
    assert type(done) is kind
    said = {FailedFree: "code", Unknown: "reason", Settled: "fault"}[kind]
    assert getattr(done, said) == name
    assert (plain_service.charges - before, done.attempts, len(sent)) == (charges, 1, 1)


@by_form
def test_a_garbled_reply_is_paid_with_its_fault_named(plain_service: Service, make: Make) -> None:
    plain_service.order("garbage")
    done, _ = buy(make(plain_service.url, PLAIN))
    assert isinstance(done, Settled)
    raw = make is FORMS[1]
    assert done.fault == ("not_an_image" if raw else "reply_unreadable")
    assert (done.content[:4], done.charged_micro_usd) == (b"\x00\xff{]", 39_000)


@pytest.mark.parametrize(("free", "kind"), [(True, FailedFree), (False, Settled)])
def test_a_blocked_prompt_costs_what_the_declaration_says(plain_service: Service, free: bool, kind: type) -> None:
    plain_service.order("blocked")
    done, _ = buy(google(plain_service.url, PLAIN, refusals_are_free=free))
    assert type(done) is kind
    if isinstance(done, FailedFree):
        assert (done.code, done.transient) == ("refused", False)
        assert "SAFETY" in done.proof
    if isinstance(done, Settled):
        assert (done.fault, done.detail, done.usage) == (
            "blocked",
            "the prompt was blocked: SAFETY",
            {"promptTokenCount": 7},
        )


def test_a_withheld_image_is_named_with_its_reason(plain_service: Service) -> None:
    plain_service.order("withheld")
    done, _ = buy(google(plain_service.url, PLAIN))
    assert isinstance(done, Settled)
    assert (done.fault, done.detail) == ("blocked", "the image was withheld: IMAGE_SAFETY (try other words)")


def test_a_service_that_is_not_there_costs_nothing_and_is_tried_again() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    done, sent = buy(generic(f"http://127.0.0.1:{port}", PLAIN), retries=Retries(attempts=3))
    assert isinstance(done, FailedFree)
    assert (done.code, done.attempts, [attempt.number for attempt in sent]) == ("unreachable", 3, [1, 2, 3])
    assert "not one byte" in done.proof


def test_a_name_that_does_not_resolve_costs_nothing() -> None:
    done, _ = buy(generic("http://nowhere.invalid", PLAIN, deadline_s=2.0), retries=ONCE)
    assert isinstance(done, FailedFree)
    assert done.code == "unreachable"


def test_a_port_that_speaks_no_tls_sees_nothing_of_the_request(plain_service: Service) -> None:
    url = plain_service.url.replace("http:", "https:")
    done, _ = buy(generic(url, PLAIN, deadline_s=2.0), retries=ONCE)
    assert isinstance(done, FailedFree)
    assert done.code == "unreachable"


@pytest.mark.parametrize("fault", ["reset_before", "reset_after", "error_before", "error_after", "timeout_after"])
def test_without_keys_an_unknown_end_is_never_sent_again(tmp_path: Path, fault: str) -> None:
    with shop(tmp_path, PLAIN, fault, deadline_s=10.0, attempt_s=0.4) as (service, adapter):
        done, sent = buy(adapter)
        assert isinstance(done, Unknown)
        assert (service.requests, len(sent)) == (1, 1)


@pytest.mark.parametrize(
    "fault", ["reset_before", "reset_after", "error_before", "error_after", "timeout_after", "cut"]
)
def test_with_keys_an_unknown_end_is_sent_again_under_the_same_key_and_charged_once(tmp_path: Path, fault: str) -> None:
    with shop(tmp_path, KEYED, fault, "unavailable", deadline_s=10.0, attempt_s=0.4) as (service, adapter):
        done, sent = buy(adapter)
        assert isinstance(done, Settled)
        assert (done.fault, done.attempts, service.charges) == (None, 3, 1)
        assert service.totals["keys"] == ["order-1"] * 3
        assert [attempt.idempotency_key for attempt in sent] == ["order-1"] * 3


@pytest.mark.parametrize("make", [FORMS[1], google], ids=["multipart", "google"])
def test_tries_send_the_same_bytes_or_the_service_would_refuse_the_key(tmp_path: Path, make: Make) -> None:
    with serve(tmp_path, KEYED) as service:
        service.order("reset_after")
        done, _ = buy(make(service.url, KEYED))
        assert isinstance(done, Settled)
        assert service.charges == 1


def test_a_replayed_error_is_not_asked_for_again_and_needs_a_new_key(tmp_path: Path) -> None:
    rules = Rules(keys=True, replay_errors=True)
    with shop(tmp_path, rules, "error_after") as (service, adapter):
        done, _ = buy(adapter)
        assert isinstance(done, Unknown)
        assert (done.reason, done.needs_new_key, service.requests, service.charges) == ("status_500", True, 1, 1)
        again, _ = buy(adapter, retries=ONCE)
        assert isinstance(again, Unknown)
        assert (again.reason, service.charges) == ("status_500", 1)


def test_a_key_is_not_sent_again_after_its_window(tmp_path: Path) -> None:
    still = StillClock()
    rules = Rules(keys=True, key_window_s=60.0)
    with shop(tmp_path, rules, {"kind": "error_after"}, deadline_s=600.0) as (service, adapter):
        done, _ = buy(adapter, clock=still.clock, retries=Retries(base_s=200.0, cap_s=200.0))
        assert isinstance(done, Unknown)
        assert (service.requests, still.slept) == (1, [])
        service.order("error_before")
        done, _ = buy(adapter, idempotency_key="order-2", clock=still.clock, key_age_s=53.9)
        assert isinstance(done, Unknown)  # 53.9 s and the pause of 0.25 s are beyond nine tenths of the window
        assert (service.requests, still.slept) == (2, [])


def test_after_an_unknown_end_a_free_one_proves_nothing(tmp_path: Path) -> None:
    with shop(tmp_path, KEYED, "reset_after", "unavailable", "unavailable", "bad_request") as (service, adapter):
        done, _ = buy(adapter)
        assert isinstance(done, Unknown)
        assert (done.reason, done.attempts, service.charges) == ("reset", 4, 1)


def test_a_key_that_was_sent_before_cannot_end_as_free(tmp_path: Path) -> None:
    with shop(tmp_path, KEYED, "bad_request") as (_, adapter):
        done, _ = buy(adapter, key_age_s=5.0)
        assert isinstance(done, Unknown)
        assert done.reason == "earlier_request"


def test_an_open_circuit_makes_no_call(tmp_path: Path) -> None:
    with shop(tmp_path) as (service, adapter):
        breaker = Listener(opens_after=0)
        done, sent = buy(adapter, breaker=breaker)
        assert done == Deferred(NOON, attempts=0)
        assert (service.requests, sent, breaker.heard) == (0, [], [])


def test_a_circuit_that_opens_between_tries_ends_them(tmp_path: Path) -> None:
    with shop(tmp_path, KEYED, "unavailable") as (service, adapter):
        done, _ = buy(adapter, breaker=Listener(opens_after=1))
        assert done == Deferred(NOON, attempts=1)
        service.order("reset_after")
        done, _ = buy(adapter, idempotency_key="order-2", breaker=Listener(opens_after=1))
        assert isinstance(done, Unknown)
        assert service.requests == 2


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ("ok", None), ("bad_request", None), ("garbage", None), ("unavailable", "overloaded"),
        ("too_many", "overloaded"), ("reset_after", "reset"), ("error_before", "error"), ("timeout_before", "timeout"),
    ],
)  # fmt: skip
def test_the_breaker_hears_how_the_service_is(plain_service: Service, fault: str, kind: str | None) -> None:
    plain_service.order({"kind": fault, "retry_after": 7, "seconds": 3})
    breaker = Listener()
    buy(generic(plain_service.url, PLAIN, deadline_s=1.0), breaker=breaker, retries=ONCE)
    asked = 7.0 if fault in ("unavailable", "too_many", "error_before") else None
    assert breaker.heard == [("paid-test", kind, asked)]


def test_nothing_is_sent_before_the_ledger_has_it(tmp_path: Path) -> None:
    class DiskFullError(Exception): ...

    def refuse(_: object) -> None:
        raise DiskFullError

    breaker = Listener()
    with shop(tmp_path) as (service, adapter):
        with pytest.raises(DiskFullError):
            buy(adapter, before_send=refuse, breaker=breaker)
        seen: list[int] = []
        buy(adapter, before_send=lambda _: seen.append(service.requests))
        assert (seen, service.requests) == ([0], 1)
    assert breaker.heard == [("paid-test", "not_sent", None)]


@pytest.mark.parametrize("keys", [True, False])
def test_by_chance_no_purchase_is_charged_twice_and_what_is_called_free_is(tmp_path: Path, keys: bool) -> None:
    rules = Rules(keys=keys, fault_rate=0.5)
    ends: dict[str, str] = {}
    with shop(tmp_path, rules) as (service, adapter):
        for number in range(40):
            done, _ = buy(adapter, idempotency_key=f"order-{number}", retries=Retries(attempts=12 if keys else 2))
            ends[f"order-{number}"] = type(done).__name__
        by_key = service.totals["by_key"]
    assert set(by_key.values()) == {1}
    assert {ends[key] for key in by_key} == ({"Settled"} if keys else {"Settled", "Unknown"})
    assert {ends[key] for key in ends.keys() - by_key.keys()} == (set() if keys else {"Unknown", "FailedFree"})


def test_a_503_storm_costs_nothing_and_no_time_of_the_tests(tmp_path: Path) -> None:
    """Forty purchases into a service that refuses three of four requests; every pause is at least what it asks for."""
    storm = [{"kind": "unavailable", "retry_after": 2}] * 3
    slept: list[float] = []
    with shop(tmp_path, PLAIN, *([*storm, "ok"] * 40), deadline_s=3600.0) as (service, adapter):
        for number in range(40):
            still = StillClock(chance=number / 40)
            done, _ = buy(adapter, idempotency_key=f"order-{number}", clock=still.clock)
            assert isinstance(done, Settled)
            slept += still.slept
        assert (service.charges, service.requests, len(slept)) == (40, 160, 120)
    assert min(slept) >= 2.0
    assert max(slept) < 2.0 + 2.0


def test_what_does_not_fit_the_deadline_is_not_waited_for(tmp_path: Path) -> None:
    still = StillClock()
    with shop(tmp_path, PLAIN, {"kind": "unavailable", "retry_after": 3600}) as (service, adapter):
        done, _ = buy(adapter, clock=still.clock)
        assert isinstance(done, FailedFree)
        assert (done.retry_after_s, done.transient, still.slept, service.requests) == (3600.0, True, [], 1)


def test_a_date_to_come_back_is_obeyed(tmp_path: Path) -> None:
    still = StillClock(chance=0.0)
    fault = {"kind": "too_many", "retry_after": "Thu, 01 Jan 2026 12:00:09 GMT"}
    with shop(tmp_path, PLAIN, fault) as (_, adapter):
        done, sent = buy(adapter, clock=still.clock)
    assert isinstance(done, Settled)
    assert still.slept == [9.0]
    assert sent[1].at - sent[0].at == timedelta(seconds=9)


def test_googles_own_delay_is_obeyed(tmp_path: Path) -> None:
    still = StillClock(chance=0.0)
    with serve(tmp_path) as service:
        service.order({"kind": "too_many", "delay": "3.5s"})
        done, _ = buy(google(service.url, PLAIN), clock=still.clock)
    assert isinstance(done, Settled)
    assert still.slept == [3.5]


@pytest.mark.parametrize("key", ["", "x" * 256, "line\nend", "zwölf"])
def test_a_key_that_no_header_holds_is_refused(plain_service: Service, key: str) -> None:
    with pytest.raises(UsageError, match="idempotency key"):
        buy(generic(plain_service.url, PLAIN), idempotency_key=key)


def test_units_are_paid_each(plain_service: Service) -> None:
    done, _ = buy(google(plain_service.url, PLAIN), PaidRequest("two cups", units=2))
    assert isinstance(done, Settled)
    assert (done.charged_micro_usd, done.price_source) == (78_000, "declared")


def test_no_proxy_of_the_environment_is_used(plain_service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert isinstance(buy(generic(plain_service.url, PLAIN))[0], Settled)


def test_a_missing_key_stops_before_the_ledger_is_asked(plain_service: Service) -> None:
    from dataclasses import replace

    from pydantic import SecretStr

    from model_blocks.adapters.credentials import Credential

    adapter = replace(generic(plain_service.url, PLAIN), credential=Credential(lambda: SecretStr("")))
    sent: list[object] = []
    with pytest.raises(SettingsError, match="Authorization"):
        buy(adapter, before_send=sent.append)
    assert sent == []
