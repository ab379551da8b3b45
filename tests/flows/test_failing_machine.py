"""Where stages run out of memory on this machine, a run buys nothing more, and does not wait for that to change."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

import flows.items
from datasets.errors import (
    DiskTooSmallError,
    PipelineError,
    PlanTooLargeError,
    StorageUnavailableError,
    WorkerLostError,
)
from datasets.ledger import open_ledger
from datasets.settings import read_settings
from datasets.vault import open_vault
from flows.order import ProductOrder
from flows.product import product
from flows.summary import RunSummary
from tasks.cutout import cutout as real_cutout
from tasks.local_failures import is_local
from tasks.prefect_stage import value_of
from tests.photographs import save_product
from tests.services.paid_adapters import JSON_REPLY, facts
from tests.services.paid_service import API_KEY, KEY_HEADER, Rules, Service, serve

RULES = Rules(keys=True)
RECIPE = [
    {"stage": "cutout"},
    {"stage": "gate", "gate": "spend"},
    {"stage": "place", "width": 96, "height": 96},
    {"stage": "publish", "format": "png"},
]
EXPECTED = {"bad": ("failed", "unexpected"), "goo": ("deferred", "machine_failing")}
FAILS = 5  # as many as open a circuit


def set_up(service: Service, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The installation's paid service, its key in the vault."""
    form = {"path": "/v1/images", "body": "json", "key_header": KEY_HEADER, "reply": JSON_REPLY}
    described = {"kind": "generic_http", "credential": "paid", "declaration": facts(service.url, RULES), "form": form}
    (folder / "service.json").write_text(json.dumps(described))
    monkeypatch.setenv("STILLMOTION_PLACE_SERVICE", str(folder / "service.json"))
    monkeypatch.setenv("STILLMOTION_PAID_CALLS", "2")
    monkeypatch.setenv("STILLMOTION_MASTER_KEY_FILE", str(folder / "master.key"))
    open_vault(read_settings(), reader="test").put("paid", API_KEY)


def state() -> str:
    settings = read_settings()
    return open_ledger(settings.ledger).breaker(settings.tenant).state("paid-test")


@pytest.mark.usefixtures("prefect_api")
def test_items_after_several_that_ran_out_of_memory_are_deferred_unpaid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cutout(item: str, *args: Any, **given: Any) -> Any:
        if item.startswith("bad"):
            raise MemoryError
        while state() != "open":
            time.sleep(0.05)
        return real_cutout(item, *args, **given)

    photos = [save_product(tmp_path / f"bad{number}.png", hue=number) for number in range(FAILS)]
    photos += [save_product(tmp_path / f"good{number}.png", 320, 240, hue=number) for number in range(3)]
    with serve(tmp_path / "service", RULES) as service:
        set_up(service, tmp_path, monkeypatch)
        with monkeypatch.context() as patch:
            patch.setattr(flows.items, "cutout", cutout)
            begun = time.monotonic()
            summary = run(photos)
        assert time.monotonic() - begun < 200  # and not the quarter of an hour that a service would be waited for
        found = {item.item: (item.status, next(reason.code for reason in item.reasons)) for item in summary.items}
        assert found == {photo.stem: EXPECTED[photo.stem[:3]] for photo in photos}
        assert "failed on this machine" in summary.items[-1].reasons[0].message
        assert service.requests == 0
        assert summary.money is not None
        assert (summary.money.spent, summary.money.held) == (0, 0)


def run(photos: list[Path]) -> RunSummary:
    order = ProductOrder(photos=tuple(map(str, photos)), recipe=RECIPE, out=str(Path("out").absolute()))
    summary = value_of(product(order, return_state=True))
    assert isinstance(summary, RunSummary)
    return summary


def _from(cause: BaseException) -> PipelineError:
    error = PipelineError("cannot be read")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "local"),
    [
        (MemoryError(), True),
        (_from(MemoryError()), True),
        (OSError(28, "No space left on device"), True),
        (WorkerLostError("gone"), True),
        (DiskTooSmallError("small"), True),
        (StorageUnavailableError("full"), True),
        (PlanTooLargeError("this picture is large"), False),
        (FileNotFoundError(2, "not there"), False),
        (ValueError(), False),
    ],
)
def test_what_speaks_against_the_machine(error: BaseException, local: bool) -> None:
    assert is_local(error) is local
