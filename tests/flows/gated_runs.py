"""Runs with gates and a paid stage: the charging service set up for a tenant, small recipes, what the books say."""

import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from datasets.ledger import Ledger, Summary, open_ledger
from datasets.settings import Settings, read_settings
from datasets.vault import open_vault
from flows.order import ProductOrder
from flows.product import run_product
from flows.summary import RunSummary
from tests.services.paid_adapters import JSON_REPLY, LOOK_UP, facts
from tests.services.paid_service import API_KEY, KEY_HEADER, Rules, Service, serve

RULES = Rules(keys=True, look_up=True)
PRICE = RULES.price_micro_usd
PUBLISH = {"stage": "publish", "format": "png"}


def guarded_recipe(**thresholds: Any) -> list[dict[str, Any]]:
    """A gate on the photograph, then what comes after it and costs nothing."""
    return [{"stage": "gate", "gate": "intake", "thresholds": thresholds}, PUBLISH]


def paid_recipe(intake: dict[str, Any] | None = None, spend: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    """The way of the recipe hero to its placed picture, on a small canvas."""
    return [
        {"stage": "gate", "gate": "intake", "thresholds": intake or {}},
        {"stage": "cutout"},
        {"stage": "gate", "gate": "spend", "thresholds": spend or {}},
        {"stage": "place", "width": 256, "height": 256},
        {"stage": "gate", "gate": "delivery"},
        PUBLISH,
    ]


@contextmanager
def paid_service(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    """The charging service, described and its key kept for a tenant of this test's own."""
    with serve(folder / "service", RULES) as service:
        described = {
            "kind": "generic_http",
            "credential": "paid-key",
            "declaration": facts(service.url, RULES),
            "form": {
                "path": "/v1/images",
                "body": "json",
                "key_header": KEY_HEADER,
                "reply": JSON_REPLY,
                "look_up": LOOK_UP,
            },
        }
        (folder / "service.json").write_text(json.dumps(described))
        monkeypatch.setenv("STILLMOTION_PLACE_SERVICE", str(folder / "service.json"))
        monkeypatch.setenv("STILLMOTION_MASTER_KEY_FILE", str(folder / "master.key"))
        monkeypatch.setenv("STILLMOTION_TENANT", f"t{uuid.uuid4().hex[:12]}")
        open_vault(read_settings(), reader="test").put("paid-key", API_KEY)
        yield service


def produce(*photos: Path, recipe: Any, **more: Any) -> RunSummary:
    """The product flow's body, outside a flow run."""
    order = ProductOrder(
        photos=tuple(map(str, photos)), recipe=recipe, out=str(Path("out").absolute()), models="embedded", **more
    )
    return run_product(order, read_settings())


def books() -> tuple[Settings, Ledger]:
    settings = read_settings()
    return settings, open_ledger(settings.ledger, owner_url=settings.ledger_owner_url)


def money(**bounds: str) -> Summary:
    """Sums of the tenant, in all its runs."""
    settings, ledger = books()
    with ledger.spending(settings.tenant, read_only=True) as session:
        return session.summary(**bounds)
