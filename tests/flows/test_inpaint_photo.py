"""Removing something from a photograph through the public flow: by mask, box and alpha, with either model."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from datasets.settings import read_settings
from flows.order import ProductOrder
from flows.product import plan_product, product
from flows.summary import ItemResult, RunSummary
from tasks.prefect_stage import value_of
from tests.model_blocks.parity import checkpoint

pytestmark = pytest.mark.usefixtures("prefect_api")

PUBLISH = {"stage": "publish", "format": "png"}
BOX = (20, 16, 44, 36)  # left, top, right, bottom of the disc's surroundings
UInt8 = NDArray[np.uint8]


def scene() -> tuple[UInt8, NDArray[np.bool_]]:
    """A grey slope with a red square on it, and where the square is."""
    rows, columns = np.mgrid[0:64, 0:80]
    pixels = np.repeat((80 + rows + columns)[..., None], 3, axis=2).astype(np.uint8)
    inside = (columns >= 24) & (columns < 40) & (rows >= 20) & (rows < 32)
    pixels[inside] = (220, 20, 20)
    return pixels, inside


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    Image.fromarray(scene()[0]).save(path)
    return path


@pytest.fixture
def mask(tmp_path: Path) -> Path:
    path = tmp_path / "mask.png"
    Image.fromarray(scene()[1].astype(np.uint8) * 255).save(path)
    return path


def run(photo: Path, stage: dict[str, Any], **more: Any) -> ItemResult:
    order = ProductOrder(
        photos=(str(photo),),
        recipe=({"stage": "inpaint", **stage}, PUBLISH),
        out=str(Path("out").absolute()),
        **({"models": "embedded"} | more),
    )
    summary = value_of(product(order, return_state=True))
    assert isinstance(summary, RunSummary)
    (item,) = summary.items
    return item


def made(item: ItemResult) -> UInt8:
    assert item.status == "delivered", item.reasons
    with Image.open(item.outputs[0].path) as picture:
        return np.asarray(picture)


def far(inside: NDArray[np.bool_], pixels: int) -> NDArray[np.bool_]:
    """Where no covered pixel is within so many pixels."""
    places = np.argwhere(inside)
    (top, left), (bottom, right) = places.min(0) - pixels, places.max(0) + pixels + 1
    free = np.ones(inside.shape, bool)
    free[max(0, top) : bottom, max(0, left) : right] = False
    return free


@pytest.mark.parametrize("by", ["mask", "box", "alpha"])
def test_what_is_covered_is_gone_and_all_else_is_as_it_was(by: str, photo: Path, mask: Path) -> None:
    pixels, inside = scene()
    if by == "alpha":
        Image.fromarray(np.dstack([pixels, inside * np.uint8(255)])).save(photo)
    given: dict[str, dict[str, Any]] = {"mask": {"mask": str(mask)}, "box": {"box": BOX}, "alpha": {}}
    result = made(run(photo, given[by]))
    assert result.shape == (64, 80, 3)
    red = result[inside].astype(int)
    assert (red[:, 0] - red[:, 1]).max() < 60  # it was 200
    touched = inside.copy()
    if by == "box":
        touched[BOX[1] : BOX[3], BOX[0] : BOX[2]] = True
    assert np.array_equal(result[far(touched, 3)], pixels[far(touched, 3)])


def test_a_mask_leaves_the_pictures_own_alpha_alone(photo: Path, mask: Path) -> None:
    pixels, _ = scene()
    alpha = np.tile(np.arange(80, dtype=np.uint8) * 3, (64, 1))
    Image.fromarray(np.dstack([pixels, alpha])).save(photo)
    result = made(run(photo, {"mask": str(mask)}))
    assert np.array_equal(result[..., 3], alpha)


def test_the_mask_counts_by_its_content_and_not_by_its_path(photo: Path, mask: Path, tmp_path: Path) -> None:
    assert not run(photo, {"mask": str(mask)}).stages[1].cached
    copy = tmp_path / "copy.png"
    copy.write_bytes(mask.read_bytes())
    assert run(photo, {"mask": str(copy)}).stages[1].cached
    Image.fromarray(np.roll(scene()[1], 5, axis=0).astype(np.uint8) * 255).save(mask)
    assert not run(photo, {"mask": str(mask)}).stages[1].cached
    assert not run(photo, {"mask": str(copy), "grow": 0}).stages[1].cached


def test_a_mask_that_covers_nothing_changes_nothing(photo: Path, mask: Path) -> None:
    Image.fromarray(np.zeros((64, 80), np.uint8)).save(mask)
    assert np.array_equal(made(run(photo, {"mask": str(mask)})), scene()[0])


@pytest.mark.parametrize(
    ("stage", "code", "words"),
    [
        ({"box": (0, 0, 80, 64)}, "recipe", "covers the whole picture"),
        ({"box": (3, 3, 77, 61), "grow": 8}, "recipe", "covers the whole picture"),
        ({"box": (100, 3, 120, 10)}, "recipe", "holds no pixel of a picture of 80×64"),
        ({}, "recipe", "give 'mask' or 'box'"),
        ({"mask": "small.png"}, "recipe", "the mask is 8×8 and the picture 80×64"),
        ({"mask": "nowhere.png"}, "not_found", "nowhere.png"),
    ],
)
def test_what_cannot_be_removed_is_said(
    stage: dict[str, Any], code: str, words: str, photo: Path, tmp_path: Path
) -> None:
    Image.new("L", (8, 8), 255).save(tmp_path / "small.png")
    if "mask" in stage:
        stage = {"mask": str(tmp_path / stage["mask"])}
    item = run(photo, stage)
    assert item.status == "failed"
    assert [reason.code for reason in item.reasons] == [code]
    assert words in item.reasons[0].message


def test_a_picture_that_is_too_large_is_refused_by_both_numbers(photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.inpaint.BYTES_PER_PIXEL", 1e9)
    (reason,) = run(photo, {"box": BOX}).reasons
    assert reason.code == "plan_too_large"
    assert "removing something from a picture of 80×64" in reason.message
    assert reason.facts["needed_bytes"] > reason.facts["limit_bytes"]  # type: ignore[operator]


def test_a_dry_run_names_the_stage(photo: Path, mask: Path) -> None:
    recipe: tuple[dict[str, Any], ...] = ({"stage": "inpaint", "mask": str(mask)}, PUBLISH)
    order = ProductOrder(photos=(str(photo),), recipe=recipe, out=str(Path("out").absolute()), models="embedded")
    assert run(photo, {"box": BOX}).status == "delivered"  # so that the photograph itself is in the store
    (item,) = plan_product(order, read_settings()).items
    assert item.reasons[0].facts["stages"] == "inpaint, publish"


@pytest.mark.slow
def test_lama_removes_it_and_is_named(photo: Path, mask: Path, tmp_path: Path) -> None:
    weights = {"lama": str(checkpoint("big-lama", tmp_path / "best.ckpt"))}
    item = run(photo, {"mask": str(mask)}, models={"inpaint": "lama"}, weights=weights)
    pixels, inside = scene()
    result = made(item)
    assert str(item.stages[1].model).startswith("lama (unpublished weights ")
    assert np.array_equal(result[far(inside, 3)], pixels[far(inside, 3)])
    assert not np.array_equal(result[inside], pixels[inside])
