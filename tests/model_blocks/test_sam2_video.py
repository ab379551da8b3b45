"""SAM 2.1 on shots computes what its authors' code computes, also where it was stopped between any two frames."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import model_blocks.sam2.memory as memory_subject
import model_blocks.sam2.tracking as tracking_subject
from datasets.errors import FrameShapeError, UsageError
from model_blocks.capabilities import Propagator
from model_blocks.choice import ModelRef
from model_blocks.runtime import propagator
from model_blocks.sam2.attending import remembering, sine_encoding
from model_blocks.sam2.memory import Remembered, Sam2State
from model_blocks.sam2.network import Features, encode_image
from model_blocks.sam2.pictures import as_image, frame_pixels, picture_pixels
from model_blocks.sam2.prompts import prompt_at
from model_blocks.sam2.propagator import Sam2Propagator, _enlarged, open_sam2_video
from model_blocks.sam2.tracking import ABSENT, Found, found_by_mask, found_by_memory, found_by_prompt
from tests.model_blocks.parity import assert_parity, checkpoint, golden, manifest, recipe
from tests.model_blocks.parity_sam2 import absent, image_outputs, video_outputs

TINY = "sam2.1_hiera_tiny"


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoint(TINY, tmp_path_factory.mktemp("weights") / "tiny.pt")


@pytest.fixture(scope="module")
def model(weights: Path) -> Sam2Propagator:
    return open_sam2_video("sam2.1-tiny-video", weights)


@pytest.fixture(scope="module")
def frames() -> list[torch.Tensor]:
    return [as_image(frame) for frame in golden(TINY)[0]["frames_u8"]]


@pytest.fixture(scope="module")
def features(model: Sam2Propagator, frames: list[torch.Tensor]) -> list[Features]:
    """Of the first two frames, encoded once."""
    with torch.inference_mode():
        return [encode_image(model.network, frame_pixels(frame)) for frame in frames[:2]]


@pytest.fixture
def pointed(model: Sam2Propagator, features: list[Features]) -> Found:
    return first_found(model, features[0])


def first_found(model: Sam2Propagator, seen: Features) -> Found:
    prompt = prompt_at((110, 142), points=torch.from_numpy(golden(TINY)[0]["vpoint"]), labels=[1])
    with torch.inference_mode():
        return found_by_prompt(model.network, seen, prompt)


def followed(model: Sam2Propagator, seen: Features, begun: Found, frames: int = 4) -> Found:
    with torch.inference_mode():
        return found_by_memory(model.network, seen, Sam2State((110, 142), 0, frames, begun.remembered))


def missed(found: Found, name: str, frame: int) -> list[str]:
    """Which of the reference's outputs for one object and frame are not met."""
    step = 4 if name.startswith("obj") else 16
    made = {
        "score": found.presence,
        "ptr": found.remembered.pointer,
        "lowres_sub": found.low_res[::step, ::step],
        "mem_sub": found.remembered.features[::8, ::8, ::8].float(),
    }
    expected, limits = golden(TINY)[1], manifest(TINY)["tolerance"]
    return [
        kind
        for kind, value in made.items()
        if not recipe().check(kind, value.numpy(), expected[f"{name}_{kind}"][frame], limits[f"{name}_{kind}"])[0]
    ]


@pytest.mark.slow
def test_every_output_is_the_reference_also_where_each_state_was_saved(model: Sam2Propagator, weights: Path) -> None:
    def saved(state: Sam2State) -> Sam2State:
        return model.restore(stored(state))

    inputs = golden(TINY)[0]
    whole, made = video_outputs(model, inputs), video_outputs(model, inputs, saved)
    assert_parity(TINY, image_outputs(predictor(weights), inputs) | whole)
    assert all(np.array_equal(made[name], whole[name]) for name in whole)


def predictor(weights: Path) -> Any:
    from model_blocks.sam2.predictor import open_sam2

    return open_sam2("sam2.1-tiny", weights)


def stored(state: Sam2State) -> dict[str, Any]:
    """As a chunk's end is kept: in a file of arrays."""
    stream = io.BytesIO()
    np.savez(stream, **state.to_arrays())
    stream.seek(0)
    with np.load(stream) as arrays:
        return {name: arrays[name] for name in arrays.files}


def test_the_first_two_frames_give_the_reference(model: Sam2Propagator, features: list[Features]) -> None:
    begun = first_found(model, features[0])
    assert missed(begun, "obj1", 0) == []
    assert missed(followed(model, features[1], begun), "obj1", 1) == []


def test_frames_prepared_as_pictures_miss_the_reference(frames: list[torch.Tensor]) -> None:
    def sub(prepare: Any) -> Any:
        return np.stack([prepare(frame)[:, ::32, ::32].numpy() for frame in frames[:2]])

    expected, limit = golden(TINY)[1]["vpixels_sub"], manifest(TINY)["tolerance"]["vpixels_sub"]
    assert recipe().check("vpixels_sub", sub(frame_pixels), expected, limit)[0]
    assert not recipe().check("vpixels_sub", sub(picture_pixels), expected, limit)[0]


def test_a_soft_mask_in_memory_misses_the_reference(
    model: Sam2Propagator, features: list[Features], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = tracking_subject._kept
    monkeypatch.setattr(tracking_subject, "_kept", lambda *given, **_: kept(*given, given=False))
    assert missed(first_found(model, features[0]), "obj1", 0) == ["mem_sub"]


def test_one_mask_for_an_ambiguous_point_misses_the_reference(
    model: Sam2Propagator, features: list[Features], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracking_subject, "AMBIGUOUS", 0)
    assert missed(first_found(model, features[0]), "obj1", 0)


@pytest.mark.slow
def test_memory_from_another_time_misses_the_reference(
    model: Sam2Propagator, features: list[Features], pointed: Found
) -> None:
    state = Sam2State((110, 142), 5, 4, pointed.remembered)
    with torch.inference_mode():
        late = found_by_memory(model.network, features[1], state)
    assert missed(late, "obj1", 1)
    assert missed(followed(model, features[1], pointed, frames=0), "obj1", 1)  # a shot of unknown length


def test_an_absent_object_is_the_reference(model: Sam2Propagator, features: list[Features]) -> None:
    with absent(model):
        begun = first_found(model, features[0])
        assert missed(begun, "occ", 0) == []
        later = followed(model, features[1], begun)
        assert missed(later, "occ", 1) == []
    assert (begun.low_res == ABSENT).all()
    assert not _enlarged(later, (110, 142)).sigmoid().any()


def test_an_absent_object_without_its_sign_misses_the_reference(
    model: Sam2Propagator, features: list[Features], monkeypatch: pytest.MonkeyPatch
) -> None:
    network = model.network
    monkeypatch.setattr(network.occlusion_spatial_embedding_parameter, "data", torch.zeros(1, 64))
    monkeypatch.setattr(network.no_object_pointer, "data", torch.zeros(1, 256))
    with absent(model):
        assert missed(first_found(model, features[0]), "occ", 0) == ["ptr", "mem_sub"]


@pytest.mark.slow
def test_training_mode_misses_the_reference(model: Sam2Propagator, features: list[Features], pointed: Found) -> None:
    assert not any(part.training for part in model.network.modules())
    model.network.memory_attention.train()
    try:
        assert missed(followed(model, features[1], pointed), "obj1", 1)
    finally:
        model.network.eval()


def test_an_empty_mask_begins_with_an_absent_object(model: Sam2Propagator, features: list[Features]) -> None:
    with torch.inference_mode():
        found = found_by_mask(model.network, features[0], torch.zeros(110, 142, dtype=torch.bool))
    assert found.presence.tolist() == [-10.0]
    assert torch.equal(found.remembered.pointer, model.network.no_object_pointer[0])


def test_a_given_mask_is_the_answer_and_is_seen_at_its_own_place(
    model: Sam2Propagator, features: list[Features]
) -> None:
    mask = torch.zeros(128, 256, dtype=torch.bool)
    mask[32:96, 64:128] = True
    with torch.inference_mode():
        found = found_by_mask(model.network, features[0], mask)
    assert found.presence.tolist() == [10.0]
    inside = found.low_res > 0
    assert inside[64:192, 64:128].all()
    assert int(inside.sum()) == 128 * 64
    assert (found.low_res[70:180, 70:120] == 10).all()


def test_a_given_mask_is_remembered_as_the_authors_code_does(model: Sam2Propagator, features: list[Features]) -> None:
    """The numbers are what the authors' own predictor made of a disc with the reference weights."""
    with torch.inference_mode():
        found = found_by_mask(model.network, features[0], disc())
    assert found.remembered.pointer[:4].tolist() == pytest.approx([-0.370171, 0.664961, 0.511841, 0.086011], abs=1e-4)
    kept = found.remembered.features[0, ::32, ::32].float().flatten().tolist()
    assert kept == pytest.approx([0.055908, 0.265625, 0.128906, 0.157227], rel=0.01)
    assert float(found.low_res.sum()) == pytest.approx(-419683.75, rel=1e-5)


@pytest.mark.slow
def test_a_given_mask_is_followed_as_the_authors_code_does(model: Sam2Propagator, frames: list[torch.Tensor]) -> None:
    """The numbers are what the authors' own predictor made of a disc with the reference weights."""
    state = model.begin(frames[0], disc().float()[None], frames=20)
    (later,) = model.track([state], frames[1])
    pointer = later.found.remembered.pointer[:4].tolist()
    assert pointer == pytest.approx([0.785804, -0.32559, 0.284122, 0.721821], abs=1e-3)
    assert later.found.presence.item() == pytest.approx(1.785868, abs=1e-3)
    assert later.state.index == 1


def disc() -> torch.Tensor:
    rows, columns = torch.meshgrid(torch.arange(110), torch.arange(142), indexing="ij")
    return (rows - 50) ** 2 + (columns - 70) ** 2 < 30**2


def state_after(frames: int) -> Sam2State:
    """A state whose memories say which frame they are of."""

    def of(frame: int) -> Remembered:
        return Remembered(torch.full((64, 64, 64), float(frame), dtype=torch.bfloat16), torch.full((256,), frame / 3))

    state = Sam2State((4, 5), 0, 0, of(0))
    for frame in range(1, frames + 1):
        state = state.after(of(frame))
    return state


def test_memory_is_bounded_and_keeps_the_first_and_the_latest() -> None:
    state = state_after(100)
    assert state.index == 100
    assert [int(features[0, 0, 0]) for features in (state.first.features, *state.features)] == [0, *range(95, 101)]
    assert [round(float(pointer[0]) * 3) for pointer in state.pointers] == list(range(86, 101))
    sizes = [sum(array.nbytes for array in state_after(frames).to_arrays().values()) for frames in (40, 200)]
    assert sizes[0] == sizes[1]


@pytest.mark.parametrize("index", [0, 3, 30])
def test_a_saved_state_is_the_same_to_the_last_bit(index: int, model: Sam2Propagator) -> None:
    state = state_after(index)
    again = model.restore(stored(state))
    assert (again.size, again.index, again.frames) == (state.size, state.index, state.frames)
    for ours, theirs in zip(
        (state.first.features, state.first.pointer, *state.features, *state.pointers),
        (again.first.features, again.first.pointer, *again.features, *again.pointers),
        strict=True,
    ):
        assert ours.dtype == theirs.dtype
        assert torch.equal(ours, theirs)


def others_memory(network: Any, state: Sam2State, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What transformers' own bookkeeping gives the attention for the same frames."""
    from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoInferenceSession

    place = network.memory_encoder.position_encoding(torch.Size((1, 64, 64, 64)), "cpu", torch.float32)
    kept = {0: state.first}
    for ago, pointer in enumerate(reversed(state.pointers)):
        features = state.features[-1 - ago] if ago < len(state.features) else state.first.features
        kept[state.index - ago] = Remembered(features, pointer)
    outputs = {
        number: {
            "maskmem_features": each.features.float().flatten(1).t()[:, None],
            "maskmem_pos_enc": place.flatten(2).permute(2, 0, 1),
            "object_pointer": each.pointer[None],
        }
        for number, each in kept.items()
    }
    session = Sam2VideoInferenceSession(dtype=torch.float32)
    index = session.obj_id_to_idx(1)
    session.output_dict_per_obj[index]["cond_frame_outputs"][0] = outputs.pop(0)
    session.output_dict_per_obj[index]["non_cond_frame_outputs"] |= outputs
    seen: dict[str, Any] = {}
    with monkeypatch.context() as patch:
        patch.setattr(network.memory_attention, "forward", recorder(seen))
        network._prepare_memory_conditioned_features(
            session, state.index + 1, index, False, torch.zeros(4096, 1, 256), torch.zeros(4096, 1, 256), 9, False, True
        )
    return seen


def recorder(seen: dict[str, Any]) -> Any:
    def record(**given: Any) -> torch.Tensor:
        seen.update(given)
        return torch.zeros(1, 1, 4096, 256)

    return record


@pytest.mark.parametrize("index", [0, 1, 5, 6, 14, 15, 16, 1000])
def test_what_is_attended_to_is_what_another_implementation_takes(
    index: int, model: Sam2Propagator, features: list[Features], monkeypatch: pytest.MonkeyPatch
) -> None:
    state = state_after(index)
    ours: dict[str, Any] = {}
    with monkeypatch.context() as patch, torch.inference_mode():
        patch.setattr(model.network.memory_attention, "forward", recorder(ours))
        remembering(model.network, features[0], state)
    with torch.inference_mode():
        theirs = others_memory(model.network, state, monkeypatch)
    assert ours["num_object_pointer_tokens"] == theirs["num_object_pointer_tokens"]
    assert torch.equal(ours["memory"], theirs["memory"])
    assert torch.allclose(ours["memory_posision_embeddings"], theirs["memory_posision_embeddings"], atol=1e-5)


def test_sine_encodings_by_hand() -> None:
    made = sine_encoding(torch.tensor([0.0, 1.0]), 8)
    assert made[0].tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    expected = [0.8415, 0.8415, 0.01, 0.01, 0.5403, 0.5403, 0.99995, 0.99995]  # frequencies 1 and 1/100
    assert made[1].tolist() == pytest.approx(expected, abs=1e-4)


def test_frames_and_masks_of_other_sizes_are_refused(model: Sam2Propagator) -> None:
    image = torch.zeros(3, 6, 8)
    with pytest.raises(FrameShapeError, match="its mask"):
        model.begin(image, torch.zeros(1, 8, 6))
    with pytest.raises(FrameShapeError, match="shot's size"):
        model.step(state_after(1), image)
    with pytest.raises(UsageError, match="nothing is pointed at"):
        model.begin_pointing(image)


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (5, 3)])
def test_frames_of_any_size_are_seen(size: tuple[int, int]) -> None:
    pixels = frame_pixels(torch.rand(3, *size))
    assert pixels.shape == (3, 1024, 1024)
    assert torch.isfinite(pixels).all()


def test_it_is_opened_as_the_registry_says(weights: Path) -> None:
    assert isinstance(propagator(ModelRef("sam2.1-tiny-video", "", "cpu", path=str(weights))), Propagator)
    assert memory_subject.RECENT + 1 == 7  # frames with a time of their own in the authors' file


@pytest.mark.slow
def test_in_half_precision_masks_are_nearly_the_same(
    weights: Path, model: Sam2Propagator, frames: list[torch.Tensor]
) -> None:
    half = open_sam2_video("sam2.1-tiny-video", weights, precision="bfloat16")
    point = torch.from_numpy(golden(TINY)[0]["vpoint"])
    made = []
    for each in (model, half):
        begun = each.begin_pointing(frames[0], points=point, labels=[1])
        made.append(each.step(begun.state, frames[1])[0])
    full, near = made
    assert near.dtype == torch.float32
    assert ((near > 0.5) == (full > 0.5)).float().mean() > 0.97
