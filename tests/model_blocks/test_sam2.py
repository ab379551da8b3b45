"""SAM 2.1 on pictures computes what its authors' code computes, and takes no other file."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import model_blocks.sam2.network as network_subject
import model_blocks.sam2.pictures as pictures
import model_blocks.sam2.predictor as subject
import model_blocks.sam2.prompts as prompts
from datasets.errors import FrameShapeError, ModelUnknownError, UsageError
from model_blocks.capabilities import Segmenter
from model_blocks.choice import ModelRef
from model_blocks.registry import find_model
from model_blocks.runtime import segmenter
from model_blocks.sam2.pictures import as_image, frame_pixels, picture_pixels
from model_blocks.sam2.predictor import EncodedImage, Sam2Predictor, open_sam2, salient_box
from model_blocks.weight_errors import WeightsDigestError, WeightsKeysError
from tests.model_blocks.parity import assert_parity, checkpoint, golden, manifest, recipe
from tests.model_blocks.parity_sam2 import PATHS, RUNS, image_outputs, prompt_of

TINY = "sam2.1_hiera_tiny"


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoint(TINY, tmp_path_factory.mktemp("weights") / "tiny.pt")


@pytest.fixture(scope="module")
def model(weights: Path) -> Sam2Predictor:
    return open_sam2("sam2.1-tiny", weights)


@pytest.fixture(scope="module")
def inputs() -> Any:
    return golden(TINY)[0]


@pytest.fixture(scope="module")
def encoded(model: Sam2Predictor, inputs: Any) -> EncodedImage:
    return model.encode(inputs["image_u8"])


def meets(output: str, made: np.ndarray[Any, Any]) -> tuple[bool, str]:
    ok, words = recipe().check(output, made, golden(TINY)[1][output], manifest(TINY)["tolerance"][output])
    return ok, words


class Encoded(Sam2Predictor):
    """A predictor that has seen the picture already."""

    def __init__(self, model: Sam2Predictor, seen: EncodedImage) -> None:
        super().__init__(model.network)
        self._seen = seen

    def encode(self, image: Any) -> EncodedImage:
        return self._seen


def test_every_output_for_a_picture_is_the_reference(model: Sam2Predictor, encoded: EncodedImage, inputs: Any) -> None:
    made = image_outputs(Encoded(model, encoded), inputs)
    wanted = [name for name in golden(TINY)[1] if not name.startswith(("v", "obj", "occ"))]
    wrong = [words for name in wanted for ok, words in [meets(name, made[name])] if not ok]
    assert len(wanted) == 16
    assert not wrong


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(PATHS))
def test_the_larger_ones_give_the_reference(name: str, tmp_path: Path) -> None:
    assert_parity(name, RUNS[name].run(checkpoint(name, tmp_path / "weights.pt"), golden(name)[0]))


def test_other_preparation_misses_the_reference(inputs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    image = as_image(inputs["image_u8"])

    def sub(pixels: torch.Tensor) -> np.ndarray[Any, Any]:
        return pixels[:, ::16, ::16].numpy()

    assert meets("pixels_sub", sub(picture_pixels(image)))[0]
    assert not meets("pixels_sub", sub(picture_pixels(image.flip(0))))[0]
    assert not meets("pixels_sub", sub(frame_pixels(image)))[0]
    monkeypatch.setattr(pictures, "MEAN", (0.5, 0.5, 0.5))
    assert not meets("pixels_sub", sub(picture_pixels(image)))[0]


def test_large_pictures_are_made_smaller_without_aliasing() -> None:
    stripes = (torch.arange(4096) % 2).float().expand(3, 8, 4096)  # every fourth column alone would be one colour
    grey = (0.5 - torch.tensor(pictures.MEAN)) / torch.tensor(pictures.STD)
    inner = picture_pixels(stripes)[:, :, 2:-2]
    assert torch.allclose(inner, grey.view(3, 1, 1).expand_as(inner), atol=0.01)


def test_arrays_and_tensors_of_bytes_and_floats_are_the_same_picture(inputs: Any) -> None:
    pixels = inputs["image_u8"]
    tensor = torch.from_numpy(pixels).permute(2, 0, 1)
    for same in (tensor, pixels.astype(np.float32) / 255, tensor.float() / 255):
        assert torch.equal(as_image(same), as_image(pixels))


@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 4), (1, 3, 4, 5), (0, 5, 3)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(FrameShapeError, match="RGB picture"):
        as_image(np.zeros(shape, np.uint8))


def _low(model: Sam2Predictor, encoded: EncodedImage, inputs: Any, prompt: str) -> np.ndarray[Any, Any]:
    return model.predict(encoded, **prompt_of(inputs, prompt)).low_res[:, ::2, ::2].numpy()


def test_swapped_coordinates_miss_the_reference(model: Sam2Predictor, encoded: EncodedImage, inputs: Any) -> None:
    point = dict(inputs) | {"p_point_point_coords": inputs["p_point_point_coords"][:, ::-1].copy()}
    assert not meets("point_low_sub", _low(model, encoded, point, "point"))[0]


def test_labels_the_other_way_round_miss_the_reference(
    model: Sam2Predictor, encoded: EncodedImage, inputs: Any
) -> None:
    labels = dict(inputs) | {"p_points_point_labels": 1 - inputs["p_points_point_labels"]}
    assert not meets("points_low_sub", _low(model, encoded, labels, "points"))[0]


def test_corners_the_other_way_round_miss_the_reference(
    model: Sam2Predictor, encoded: EncodedImage, inputs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prompts, "NEAR", 3)
    monkeypatch.setattr(prompts, "FAR", 2)
    assert not meets("box_low_sub", _low(model, encoded, inputs, "box"))[0]


def test_unclamped_logits_miss_the_reference(
    model: Sam2Predictor, encoded: EncodedImage, inputs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subject, "LIMIT", 1e9)
    assert not meets("point_low_sub", _low(model, encoded, inputs, "point"))[0]


def test_a_picture_without_the_sign_of_no_memory_misses_the_reference(
    model: Sam2Predictor, encoded: EncodedImage
) -> None:
    without = encoded.features.embedding - model.network.no_memory_embedding.view(1, -1, 1, 1)
    assert not meets("embed_sub", without[0, ::4, ::4, ::4].numpy())[0]


def test_one_unstable_mask_gives_way_to_the_best_of_three(
    model: Sam2Predictor, encoded: EncodedImage, monkeypatch: pytest.MonkeyPatch
) -> None:
    point: dict[str, Any] = {"points": [[10, 20]], "labels": [1]}
    three = model.predict(encoded, **point, multimask=True)
    decoder = model.network.mask_decoder
    monkeypatch.setattr(decoder, "dynamic_multimask_stability_thresh", 1.1)  # nothing is stable enough
    best = model.predict(encoded, **point)
    assert torch.equal(best.low_res[0], three.low_res[three.ious.argmax()])
    monkeypatch.setattr(decoder, "dynamic_multimask_stability_thresh", -1.0)
    assert not torch.equal(model.predict(encoded, **point).low_res, best.low_res)


def test_a_mask_alone_is_a_prompt(model: Sam2Predictor, encoded: EncodedImage) -> None:
    mask = torch.full((1, 256, 256), -8.0)
    mask[:, 100:150, 60:120] = 8.0
    here, elsewhere = (model.predict(encoded, mask=each).low_res for each in (mask, mask.flip(1, 2)))
    assert torch.isfinite(here).all()
    assert not torch.equal(here, elsewhere)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "nothing is pointed at"),
        ({"points": [[1, 2]]}, "belong together"),
        ({"labels": [1]}, "belong together"),
        ({"points": [[1, 2]], "labels": [1, 0]}, "one for each label"),
        ({"box": [1, 2, 3]}, "left, top, right, bottom"),
        ({"mask": torch.zeros(1, 64, 64)}, "logits of a mask"),
    ],
)
def test_prompts_that_mean_nothing_are_refused(given: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        prompts.prompt_at((10, 20), **given)


def test_points_are_scaled_to_the_square_and_a_box_comes_first() -> None:
    made = prompts.prompt_at((100, 200), points=[[50, 50]], labels=[0], box=[0, 25, 200, 100])
    assert made.points.tolist() == [[0, 256], [1024, 1024], [256, 512]]
    assert made.labels.tolist() == [2, 3, 0]


def shapes_picture(height: int, width: int) -> torch.Tensor:
    image = torch.full((3, height, width), 0.9)
    image[:, height // 4 : height // 2, width // 2 : 3 * width // 4] = torch.tensor((0.8, 0.1, 0.1)).view(3, 1, 1)
    return image


def test_what_stands_out_is_boxed() -> None:
    box, confidence = salient_box(shapes_picture(240, 320))
    assert box == pytest.approx((160, 60, 240, 120), abs=3)
    assert confidence > 0.5


def test_the_salient_object_is_what_the_network_sees_in_the_box(
    model: Sam2Predictor, encoded: EncodedImage, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture = shapes_picture(*encoded.size)
    found = Encoded(model, encoded).segment(picture[None])
    box, confidence = salient_box(picture)
    assert box is not None
    answer = model.predict(encoded, box=box)
    assert found.probability.shape == (1, 1, *encoded.size)
    assert torch.equal(found.probability[0, 0] > 0.5, answer.logits[0] > 0)
    assert found.confidence == (min(confidence, float(answer.ious[0])),)
    monkeypatch.setattr(subject, "salient_box", lambda _: (box, 0.1))
    assert Encoded(model, encoded).segment(picture[None]).confidence == (0.1,)


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (50, 1), (3, 2), (64, 48)])
def test_where_nothing_stands_out_nothing_is_found(size: tuple[int, int], model: Sam2Predictor) -> None:
    found = model.segment(torch.full((2, 3, *size), 0.5))
    assert found.probability.shape == (2, 1, *size)
    assert not found.probability.any()
    assert found.confidence == (0.0, 0.0)


@pytest.mark.slow
@pytest.mark.parametrize("size", [(1, 1), (1, 37), (41, 1), (33, 65)])
def test_any_size_has_a_mask(size: tuple[int, int], model: Sam2Predictor) -> None:
    made = model.predict(model.encode(torch.rand(3, *size)), box=(0, 0, size[1], size[0]), multimask=True)
    assert made.logits.shape == (3, *size)
    assert torch.isfinite(made.logits).all()


@pytest.mark.slow
def test_in_half_precision_masks_are_nearly_the_same(
    weights: Path, model: Sam2Predictor, encoded: EncodedImage, inputs: Any
) -> None:
    half = open_sam2("sam2.1-tiny", weights, precision="bfloat16")
    point = prompt_of(inputs, "box")
    full, near = model.predict(encoded, **point), half.predict(half.encode(inputs["image_u8"]), **point)
    assert near.logits.dtype == torch.float32
    assert recipe().rel_err(near.logits.numpy(), full.logits.numpy()) < 0.05  # 8 bits through 12 blocks
    assert ((near.logits > 0) == (full.logits > 0)).float().mean() > 0.98


def test_coordinates_are_exact_in_half_precision(
    model: Sam2Predictor, encoded: EncodedImage, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[torch.dtype] = []

    def embed(points: torch.Tensor, _: Any) -> torch.Tensor:
        seen.append((points @ torch.ones(2, 2)).dtype)
        return torch.zeros(*points.shape[:-1], 256)

    monkeypatch.setattr(model.network.prompt_encoder.shared_embedding, "forward", embed)
    prompt = prompts.prompt_at((4, 4), points=[[1, 1]], labels=[1])
    with network_subject.computing("cpu", "bfloat16"):
        network_subject.decode(model.network, encoded.features, prompt, multimask=False)
    assert seen == [torch.float32]


def test_the_digest_is_compared(weights: Path) -> None:
    with pytest.raises(WeightsDigestError):
        open_sam2("sam2.1-tiny", weights, sha256=find_model("sam2.1-tiny").sha256)


def test_another_size_is_refused_and_the_authors_names_are_said(weights: Path) -> None:
    with pytest.raises(WeightsKeysError, match=r"image_encoder\.trunk\.blocks\.\d+\.") as raised:
        open_sam2("sam2.1-small", weights)
    assert raised.value.facts["missing_count"] == 50  # four blocks of twelve tensors, and a projection in another block


def test_a_model_for_shots_is_none_for_pictures(weights: Path) -> None:
    with pytest.raises(ModelUnknownError, match="for segment"):
        open_sam2("sam2.1-tiny-video", weights)


def test_it_is_opened_as_the_registry_says(weights: Path) -> None:
    ref = ModelRef("sam2.1-tiny", "", "cpu", path=str(weights))
    assert isinstance(segmenter(ref), Segmenter)
