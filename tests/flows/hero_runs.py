"""Runs of the recipe hero in this process, against the charging service, with a small canvas to be quick."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from datasets.ledger import AvoidedRecord, Ledger, open_ledger
from datasets.settings import read_settings
from datasets.vault import open_vault
from flows.order import ProductOrder
from flows.product import product
from flows.summary import ItemResult, RunSummary
from tasks.prefect_stage import value_of
from tests.services.paid_adapters import JSON_REPLY, LOOK_UP, facts
from tests.services.paid_service import API_KEY, KEY_HEADER, Rules, Service, serve

CANVAS = 384  # px
KEY_NAME = f"paid-key-{os.getpid()}"  # test processes share a server, and each has a master key of its own


def stages(canvas: int = CANVAS, **place: Any) -> list[dict[str, Any]]:
    """What hero does, without enlarging, on a small canvas, with one file at the end."""
    return [
        {"stage": "gate", "gate": "intake"},
        {"stage": "cutout"},
        {"stage": "gate", "gate": "spend"},
        {"stage": "place", "width": canvas, "height": canvas, **place},
        {"stage": "gate", "gate": "delivery"},
        {"stage": "publish", "format": "png"},
    ]


@contextmanager
def hero_service(folder: Path, monkeypatch: pytest.MonkeyPatch, rules: Rules | None = None) -> Iterator[Service]:
    """The service, set up for runs of this process: its description in a file, its key in the vault."""
    rules = rules or Rules(keys=True, look_up=True)
    folder.mkdir(parents=True, exist_ok=True)
    with serve(folder / "books", rules) as service:
        form = {
            "path": "/v1/images",
            "body": "json",
            "key_header": KEY_HEADER,
            "reply": JSON_REPLY,
            "look_up": LOOK_UP if rules.look_up else None,
        }
        told = {
            "kind": "generic_http",
            "credential": KEY_NAME,
            "declaration": facts(service.url, rules),
            "form": form,
        }
        (folder / "service.json").write_text(json.dumps(told))
        monkeypatch.setenv("STILLMOTION_PLACE_SERVICE", str(folder / "service.json"))
        monkeypatch.setenv("STILLMOTION_MASTER_KEY_FILE", str(folder / "master.key"))
        open_vault(read_settings(), reader="test").put(KEY_NAME, API_KEY)
        yield service


def hero(*photos: Path, recipe: Any = None, **more: Any) -> RunSummary:
    order = ProductOrder(
        photos=tuple(map(str, photos)), recipe=recipe or stages(), out=str(Path("out").absolute()), **more
    )
    summary = value_of(product(order, return_state=True))
    assert isinstance(summary, RunSummary), summary
    return summary


def by_name(summary: RunSummary) -> dict[str, ItemResult]:
    return {item.item: item for item in summary.items}


def codes(item: ItemResult) -> list[str]:
    """Why it ended as it did; warnings aside."""
    return [reason.code for reason in item.reasons if reason.level == "error"]


def ledger() -> Ledger:
    return open_ledger(read_settings().ledger)


def avoided(run_id: str) -> list[AvoidedRecord]:
    with ledger().spending(read_settings().tenant, read_only=True) as session:
        return session.avoided(run_id)
