"""What a paid service did to the product: the delivery gate stops it, tells by which measure, and publishes nothing."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datasets.settings import read_settings
from tests.flows.hero_runs import CANVAS, codes, hero, hero_service, ledger
from tests.product_photographs import product_photo
from tests.services.paid_service import Service

pytestmark = pytest.mark.usefixtures("prefect_api")

DISHONEST = {
    "hue": "hues_kept",
    "scale": "size_kept",
    "blur": "detail_kept",
    "replace": "product_kept",
    "crop": "parts_kept",
    "move": "in_place",
    "mirror": "parts_kept",
    "repaint": "parts_kept",
    "grey": "hues_kept",
    "wide_hue": "hues_kept",
    "wide_crop": "parts_kept",
    "wide_replace": "product_kept",
}


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    with hero_service(tmp_path / "service", monkeypatch) as running:
        yield running


@pytest.fixture
def mug(tmp_path: Path) -> Path:
    Image.fromarray(product_photo("mug", 640)).save(tmp_path / "mug.png")
    return tmp_path / "mug.png"


@pytest.mark.parametrize("paint", DISHONEST)
def test_a_product_that_was_tampered_with_is_paid_for_and_not_published(
    service: Service, mug: Path, paint: str
) -> None:
    service.order(paint)
    summary = hero(mug)
    (item,) = summary.items
    assert (item.status, summary.exit_status) == ("stopped", 3)
    assert DISHONEST[paint] in codes(item)
    assert {reason.facts["gate"] for reason in item.reasons if reason.level == "error"} == {"delivery"}
    assert (service.charges, summary.money.spent, summary.money.avoided_net) == (1, 0.039, 0)
    assert list(Path("out").glob("*placed*")) == []
    with ledger().session(read_settings().tenant, read_only=True) as session:
        (held,) = session.quarantined()
    assert (held.item, held.gate) == ("mug", "delivery")
    assert [reason["code"] for reason in held.reasons] == codes(item)
    again = hero(mug)
    assert (again.items[0].status, service.charges) == ("stopped", 1)


@pytest.mark.parametrize(
    ("paint", "size", "warned"),
    [
        ("honest", (CANVAS, CANVAS), []),
        ("relit", (CANVAS, CANVAS), []),
        ("jpeg", (CANVAS, CANVAS), []),
        ("smaller", (CANVAS * 3 // 4, CANVAS * 3 // 4), []),
        ("with_alpha", (CANVAS, CANVAS), []),
        ("wide", (CANVAS * 4 // 3, CANVAS), ["another_layout"]),
    ],
)
def test_an_honest_picture_of_any_kind_is_published(
    service: Service, mug: Path, paint: str, size: tuple[int, int], warned: list[str]
) -> None:
    service.order(paint)
    (item,) = hero(mug).items
    assert (item.status, [r.code for r in item.reasons if r.code == "another_layout"]) == ("delivered", warned)
    (output,) = item.outputs
    assert output.file.role == "placed"
    with Image.open(output.path) as picture:
        assert (picture.mode, picture.size) == ("RGB", size)


def test_an_answer_that_is_too_large_is_paid_for_kept_and_not_published(
    service: Service, mug: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STILLMOTION_MAX_MEGAPIXELS", "2")
    service.order("huge_picture")
    for _ in range(2):
        (item,) = hero(mug).items
        assert (item.status, codes(item), item.outputs) == ("failed", ["too_many_pixels"], ())
        assert service.charges == 1


def test_a_photograph_without_a_product_is_not_sent(service: Service, tmp_path: Path) -> None:
    noise = np.random.default_rng(1).normal(128, 3, (300, 300, 3))
    Image.fromarray(noise.astype(np.uint8)).save(tmp_path / "nothing.png")
    (item,) = hero(tmp_path / "nothing.png").items
    assert (item.status, service.requests) == ("stopped", 0)
    assert "object_found" in codes(item)
