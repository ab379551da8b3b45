"""Adapters to the charging service, declared as its rules say."""

from typing import Any

from pydantic import SecretStr

from model_blocks.adapters.generate_content import GenerateContent, generate_content
from model_blocks.adapters.generic_http import GenericHttp, generic_http
from tests.services.paid_service import API_KEY, KEY_HEADER, MODEL, Rules

LOOK_UP = {
    "path": "/v1/requests/{key}",
    "state": "/state",
    "charged_states": ["charged"],
    "none_states": ["none"],
    "result": {"image": "/image", "reference": "/id", "price": "/price_micro_usd", "price_unit": "micro_usd"},
}
JSON_REPLY = {"image": "/data/0/image", "reference": "/id", "price": "/price_micro_usd", "price_unit": "micro_usd"}
RAW_REPLY = {
    "body": "image", "reference_header": "X-Reference", "price_header": "X-Price", "price_unit": "micro_usd"
}  # fmt: skip


def facts(url: str, rules: Rules, **changes: Any) -> dict[str, Any]:
    """The declaration that fits the rules; a second is long on loopback, so deadlines are short."""
    return {
        "name": "paid-test",
        "version": "1",
        "endpoint": url,
        "price_micro_usd": rules.price_micro_usd,
        "price_list": "2026-01",
        "honours_idempotency_keys": rules.keys,
        "key_window_s": rules.key_window_s if rules.keys else 0,
        "replays_errors": rules.replay_errors,
        "can_look_up": rules.look_up,
        "settle_time_s": rules.settle_s,
        "deadline_s": 20.0,
        "free_statuses": [400, 401, 404, 422, 429, 503],
        **changes,
    }


def google(url: str, rules: Rules, **changes: Any) -> GenerateContent:
    """Google's form. The public service has neither keys nor look-up; a gateway in front of it may."""
    return generate_content(
        facts(url, rules, **changes),
        model=MODEL,
        secret=SecretStr(API_KEY),
        key_header=KEY_HEADER,
        look_up=LOOK_UP if rules.look_up else None,
    )


def generic(url: str, rules: Rules, *, raw: bool = False, **changes: Any) -> GenericHttp:
    """The generic form: JSON both ways, or with ``raw`` multipart in and the image itself out."""
    form: dict[str, Any] = {
        "path": "/v1/edits" if raw else "/v1/images",
        "body": "multipart" if raw else "json",
        "key_header": KEY_HEADER,
        "reply": RAW_REPLY if raw else JSON_REPLY,
        "look_up": LOOK_UP if rules.look_up else None,
    }
    return generic_http(facts(url, rules, **changes), form, SecretStr(API_KEY))
