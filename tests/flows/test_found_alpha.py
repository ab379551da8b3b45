"""Photographs and clips cut out by models that find an alpha by themselves, end to end, with weights by the recipe."""

from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from PIL import Image

from datasets.settings import read_settings
from flows.order import ProductOrder
from flows.product import product
from flows.summary import ItemResult, RunSummary
from flows.video import run_video
from flows.video_order import VideoOrder
from model_blocks.modnet import open_modnet
from tasks.prefect_stage import value_of
from tests.model_blocks.parity import checkpoint
from tests.moving_square import FRAMES, HEIGHT, WIDTH, save
from tests.photographs import product_pixels, save_product

pytestmark = pytest.mark.usefixtures("prefect_api")

PORTRAIT, COMPARING = "modnet-photographic", "bmv2-mobilenetv2"
CUTOUT = ({"stage": "cutout"}, {"stage": "publish", "format": "png"})
ALPHA_CLIP = {"stage": "encode", "codec": "prores4444", "container": "mov"}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("weights")
    return {
        PORTRAIT: str(checkpoint("modnet", folder / "modnet.ckpt")),
        COMPARING: str(sure(checkpoint(COMPARING, folder / "bmv2.pth"))),
    }


def sure(path: Path) -> Path:
    """The weights changed so that most of a picture is object; by the recipe none of it is."""
    state = torch.load(path, weights_only=True)
    for layer in ("decoder", "refiner"):
        state[f"{layer}.conv4.bias"][0] += 0.4
    torch.save(state, path)
    return path


def photograph(photo: Path, model: str, weights: dict[str, str], recipe: Any = CUTOUT) -> RunSummary:
    order = ProductOrder(
        photos=(str(photo),),
        recipe=recipe,
        out=str(Path("out").absolute()),
        models={"matte": model},
        weights={model: weights[model]},
    )
    summary = value_of(product(order, return_state=True))
    assert isinstance(summary, RunSummary)
    return summary


def delivered(summary: RunSummary) -> ItemResult:
    (item,) = summary.items
    assert item.status == "delivered", item.reasons
    return item


def test_a_portrait_is_cut_out_without_a_segmenter(tmp_path: Path, weights: dict[str, str]) -> None:
    summary = photograph(save_product(tmp_path / "a.png", 150, 110), PORTRAIT, weights, "cutout")
    item = delivered(summary)
    with Image.open(item.outputs[0].path) as picture:
        assert (picture.mode, picture.size) == ("RGBA", (150, 110))
        alpha = np.asarray(picture)[..., 3]
    assert len(np.unique(alpha)) > 20  # something was found, and softly
    cut = next(stage for stage in item.stages if stage.stage == "cutout")
    assert cut.model is not None
    assert cut.model.startswith(PORTRAIT)
    assert "segmenter" not in cut.model


def test_the_alpha_of_a_photograph_is_the_models_own(tmp_path: Path, weights: dict[str, str]) -> None:
    path = save_product(tmp_path / "a.png", 150, 110)
    item = delivered(photograph(path, PORTRAIT, weights))
    pixels = torch.from_numpy(product_pixels(150, 110)).permute(2, 0, 1)[None].float() / 255
    alpha = open_modnet(PORTRAIT, weights[PORTRAIT]).find_alpha(pixels)[0][0, 0].numpy()
    with Image.open(item.outputs[0].path) as picture:
        made = np.asarray(picture)[..., 3]
    assert np.abs(made - np.rint(alpha * 255)).max() <= 1


def test_without_a_background_the_remedy_is_named(tmp_path: Path, weights: dict[str, str]) -> None:
    summary = photograph(save_product(tmp_path / "a.png"), COMPARING, weights)
    (item,) = summary.items
    assert item.status == "failed"
    assert item.reasons[0].code == "recipe"
    assert "'background'" in item.reasons[0].message
    assert "modnet-photographic" in item.reasons[0].message


def test_a_photograph_is_compared_with_its_background(tmp_path: Path, weights: dict[str, str]) -> None:
    photo = save_product(tmp_path / "a.png")
    behind, other = tmp_path / "empty.png", tmp_path / "other.png"
    Image.fromarray(np.full((80, 96, 3), 230, np.uint8)).save(behind)
    recipe = ({"stage": "cutout", "background": str(behind)}, {"stage": "publish", "format": "png"})
    first = delivered(photograph(photo, COMPARING, weights, recipe))
    with Image.open(first.outputs[0].path) as picture:
        assert (picture.mode, picture.size) == ("RGBA", (96, 80))
        before = np.asarray(picture)
    Image.fromarray(np.full((80, 96, 3), 20, np.uint8)).save(behind)  # another picture under the same name
    with Image.open(delivered(photograph(photo, COMPARING, weights, recipe)).outputs[0].path) as picture:
        assert (np.asarray(picture) != before).any()
    Image.fromarray(np.full((40, 96, 3), 230, np.uint8)).save(other)
    recipe = ({"stage": "cutout", "background": str(other)}, {"stage": "publish", "format": "png"})
    (item,) = photograph(photo, COMPARING, weights, recipe).items
    assert item.reasons[0].code == "recipe"
    assert "96×40" in item.reasons[0].message


def test_where_nothing_is_found_the_picture_is_delivered_uncut(tmp_path: Path) -> None:
    behind = save_product(tmp_path / "empty.png")
    plain = {COMPARING: str(checkpoint(COMPARING, tmp_path / "bmv2.pth"))}
    recipe = ({"stage": "cutout", "background": str(behind)}, {"stage": "publish", "format": "png"})
    item = delivered(photograph(save_product(tmp_path / "a.png"), COMPARING, plain, recipe))
    assert [notice.code for stage in item.stages for notice in stage.notices] == ["no_object"]
    with Image.open(item.outputs[0].path) as picture:
        assert picture.mode == "RGB"


def test_a_background_nobody_compares_with_is_refused(tmp_path: Path, weights: dict[str, str]) -> None:
    behind = save_product(tmp_path / "empty.png")
    recipe = ({"stage": "cutout", "background": str(behind)}, {"stage": "publish", "format": "png"})
    (item,) = photograph(save_product(tmp_path / "a.png"), PORTRAIT, weights, recipe).items
    assert item.reasons[0].code == "recipe"
    assert "makes no use of it" in item.reasons[0].message


def clip(
    path: Path, model: str, weights: dict[str, str], *stages: dict[str, Any], store: str = "store", **more: Any
) -> ItemResult:
    order = VideoOrder(
        clips=(str(path),),
        recipe=stages,
        out=str(Path(f"out-{store}").absolute()),
        models={"matte": model},
        weights={model: weights[model]},
        **more,
    )
    return delivered(run_video(order, read_settings(storage_root=str(Path(store).absolute()))))


def frames_of(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgba") for frame in container.decode(video=0)])


def test_a_clip_is_matted_against_what_most_of_it_shows(tmp_path: Path, weights: dict[str, str]) -> None:
    source = save(tmp_path / "in.mp4", "libx264", "yuv420p", {"crf": "1"})
    item = clip(source, COMPARING, weights, {"stage": "matte"}, ALPHA_CLIP)
    made = frames_of(item.outputs[0].path)
    assert made.shape == (FRAMES, HEIGHT, WIDTH, 4)
    assert len(np.unique(made[..., 3])) > 10
    again = clip(source, COMPARING, weights, {"stage": "matte"}, ALPHA_CLIP, store="again", keep=True)
    assert again.outputs[0].path.read_bytes() == item.outputs[0].path.read_bytes()


def test_a_given_background_takes_the_place_of_the_estimate(tmp_path: Path, weights: dict[str, str]) -> None:
    source = save(tmp_path / "in.mp4", "libx264", "yuv420p", {"crf": "1"})
    behind = tmp_path / "behind.png"
    Image.fromarray(np.full((HEIGHT, WIDTH, 3), 10, np.uint8)).save(behind)
    estimated = frames_of(clip(source, COMPARING, weights, {"stage": "matte"}, ALPHA_CLIP).outputs[0].path)
    matte = {"stage": "matte", "background": str(behind)}
    given = frames_of(clip(source, COMPARING, weights, matte, ALPHA_CLIP).outputs[0].path)
    assert given.shape == estimated.shape == (FRAMES, HEIGHT, WIDTH, 4)
    assert (given != estimated).any()


@pytest.mark.slow
def test_the_clip_recipe_with_a_mask_and_fused_stages(tmp_path: Path, weights: dict[str, str]) -> None:
    source = save(tmp_path / "in.mp4", "libx264", "yuv420p", {"crf": "1"})
    upscaled = clip(
        source, COMPARING, weights, {"stage": "propagate"}, {"stage": "upscale", "factor": 2}, {"stage": "matte"},
        {"stage": "grade", "saturation": 0.5}, ALPHA_CLIP,
    )  # fmt: skip
    made = frames_of(upscaled.outputs[0].path)
    assert made.shape == (FRAMES, 2 * HEIGHT, 2 * WIDTH, 4)


@pytest.mark.slow
def test_a_clip_is_matted_by_a_model_for_portraits(tmp_path: Path, weights: dict[str, str]) -> None:
    source = save(tmp_path / "in.mp4", "libx264", "yuv420p", {"crf": "1"})
    made = frames_of(clip(source, PORTRAIT, weights, {"stage": "matte"}, ALPHA_CLIP).outputs[0].path)
    assert made.shape == (FRAMES, HEIGHT, WIDTH, 4)
    assert len(np.unique(made[..., 3])) > 10
