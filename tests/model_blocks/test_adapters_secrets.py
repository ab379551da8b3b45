"""A key goes over the wire and nowhere else, even when the service repeats it in all it says."""

import logging
import traceback
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from datasets.errors import SettingsError
from model_blocks.adapters.adapter import PaidAdapter
from model_blocks.adapters.credentials import Credential
from model_blocks.adapters.looking_up import look_up
from model_blocks.adapters.outcomes import Settled, Unknown
from model_blocks.adapters.waiting import Retries
from tests.model_blocks.paid_calls import NOON, PLAIN, buy
from tests.services.paid_adapters import generic, google
from tests.services.paid_service import API_KEY, BEFORE, Rules, serve

CANARY = "canary"
FAULTS = (
    *BEFORE,
    "reset_after",
    "error_after",
    "timeout_after",
    "garbage",
    "echo",
    "not_an_image",
    "withheld",
    "cut",
    "ok",
)


@pytest.mark.parametrize("make", [generic, google])
def test_no_end_of_a_call_shows_the_key(
    tmp_path: Path, make: Callable[..., PaidAdapter], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    rules = Rules(look_up=True)
    with serve(tmp_path, rules) as service:
        adapter = make(service.url, rules, deadline_s=0.3)
        for fault in FAULTS:
            service.order({"kind": fault, "seconds": 2})
            done, sent = buy(adapter, retries=Retries(attempts=1))
            found = look_up(adapter, "order-1", sent_at=NOON)
            assert CANARY not in f"{done!r} {sent!r} {found!r} {vars(done)!r}"
            assert not (isinstance(done, Settled) and CANARY.encode() in done.content)
    assert CANARY not in f"{adapter!r} {adapter} {vars(adapter)!r}"
    assert CANARY not in caplog.text


def test_a_paid_reply_that_repeats_the_key_is_kept_without_it(tmp_path: Path) -> None:
    with serve(tmp_path) as service:
        service.order("echo")
        done, _ = buy(google(service.url, PLAIN))
    assert isinstance(done, Settled)
    assert done.fault == "no_image"
    assert b'"x-goog-api-key": "**********"' in done.content


def test_where_a_key_comes_from_is_not_shown_either() -> None:
    assert CANARY not in repr(Credential(partial(SecretStr, API_KEY)))


def test_what_the_service_repeats_is_struck_out(tmp_path: Path) -> None:
    with serve(tmp_path) as service:
        service.order("error_before")
        done, _ = buy(google(service.url, PLAIN))
    assert isinstance(done, Unknown)
    assert "your key was **********" in done.detail


@pytest.mark.parametrize("bad", ["canary\r\nX-Other: 1", "canary key", "canäry-key", "canary", ""])
def test_a_key_no_header_holds_is_refused_without_being_shown(tmp_path: Path, bad: str) -> None:
    with serve(tmp_path) as service:
        adapter = replace(google(service.url, PLAIN), credential=Credential(SecretStr(bad), "x-goog-api-key", ""))
        with pytest.raises(SettingsError, match="x-goog-api-key") as caught:
            buy(adapter)
        assert service.requests == 0
    shown = "".join(traceback.TracebackException.from_exception(caught.value, capture_locals=True).format())
    assert not bad or bad not in f"{caught.value.message} {caught.value.facts}"
    assert "credentials.py" in shown


def test_errors_of_the_ledger_show_no_key_even_with_all_local_values(tmp_path: Path) -> None:
    def refuse(_: object) -> None:
        raise RuntimeError("disk full")

    with serve(tmp_path) as service, pytest.raises(RuntimeError) as caught:
        buy(google(service.url, PLAIN), before_send=refuse)
    shown = "".join(traceback.TracebackException.from_exception(caught.value, capture_locals=True).format())
    assert "disk full" in shown
    assert API_KEY not in shown


def test_a_key_is_fetched_for_each_try(tmp_path: Path) -> None:
    keys = iter([SecretStr("an-old-key-of-last-week"), SecretStr(API_KEY)])
    with serve(tmp_path) as service:
        adapter = replace(generic(service.url, PLAIN), credential=Credential(lambda: next(keys)))
        first, _ = buy(adapter)
        second, _ = buy(adapter)
        assert (type(second), service.charges) == (Settled, 1)
    assert "status_401" in repr(first)


def test_settings_that_do_not_hold_are_not_shown() -> None:
    rules: Any = PLAIN
    with pytest.raises(SettingsError, match="endpoint") as caught:
        generic("https://user:canary-password@service.example", rules)
    assert CANARY not in f"{caught.value!r} {caught.value.facts}"
    assert caught.value.__cause__ is None
