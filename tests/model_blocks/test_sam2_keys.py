"""Every tensor of the authors' files has its place in the networks, by its name and shape."""

from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Any

import pytest
import torch

from model_blocks.registry import MODELS, find_model
from model_blocks.sam2.configs import SIZES, image_network, video_network
from model_blocks.sam2.keys import converted, official_keys
from model_blocks.weight_errors import WeightsKeysError
from tests.model_blocks.parity import manifest

EVERY_SIZE = pytest.mark.parametrize("size", list(SIZES))


@lru_cache
def empty(size: str, *, video: bool) -> Any:
    """The shapes of a network, without its memory."""
    with torch.device("meta"):
        return (video_network if video else image_network)(SIZES[size]).state_dict()


def published(size: str) -> dict[str, torch.Tensor]:
    listed = manifest(f"sam2.1_hiera_{size.replace('-', '_')}")["tensors"]
    return {key: torch.empty(shape, device="meta") for key, shape, _ in listed}


@EVERY_SIZE
def test_every_tensor_is_used_on_shots(size: str) -> None:
    made = converted(published(size), empty(size, video=True))
    assert {key: value.shape for key, value in made.items()} == {
        key: value.shape for key, value in empty(size, video=True).items()
    }
    assert find_model(f"sam2.1-{size}-video").ignored_keys == ()


@EVERY_SIZE
def test_on_pictures_all_are_used_but_those_listed_in_the_facts(size: str) -> None:
    used = {name for key in empty(size, video=False) for name in official_keys(key)}
    ignored = find_model(f"sam2.1-{size}").ignored_keys
    rest = published(size).keys() - used
    assert rest == {key for key in published(size) if any(fnmatchcase(key, pattern) for pattern in ignored)}
    assert used | rest == set(published(size))


def test_missing_unknown_and_misshapen_tensors_are_named_as_the_authors_do() -> None:
    own, state = empty("tiny", video=True), published("tiny")
    lacking = {key: value for key, value in state.items() if key != "maskmem_tpos_enc"}
    with pytest.raises(WeightsKeysError, match=r"1 missing: maskmem_tpos_enc"):
        converted(lacking, own)
    with pytest.raises(WeightsKeysError, match=r"1 unknown: obj_ptr_extra"):
        converted(state | {"obj_ptr_extra": torch.empty(1)}, own)
    with pytest.raises(WeightsKeysError, match=r"another shape: sam_prompt_encoder\.point_embeddings\.2\.weight"):
        converted(state | {"sam_prompt_encoder.point_embeddings.2.weight": torch.empty(2, 256)}, own)


def test_an_older_file_without_what_2_1_added_is_refused() -> None:
    added = ("no_obj_embed_spatial", "obj_ptr_tpos_proj.weight", "obj_ptr_tpos_proj.bias")
    older = {key: value for key, value in published("tiny").items() if key not in added}
    with pytest.raises(WeightsKeysError, match="3 missing: no_obj_embed_spatial, obj_ptr_tpos_proj"):
        converted(older, empty("tiny", video=True))


def test_the_points_of_a_file_come_in_their_order() -> None:
    names = official_keys("prompt_encoder.point_embed.weight")
    own = {"prompt_encoder.point_embed.weight": torch.empty(4, 2)}
    made = converted({name: torch.full((1, 2), float(row)) for row, name in enumerate(names)}, own)
    assert made["prompt_encoder.point_embed.weight"][:, 0].tolist() == [0, 1, 2, 3]


def test_pictures_and_shots_are_registered_with_the_same_files() -> None:
    for size in SIZES:
        picture, shot = find_model(f"sam2.1-{size}"), find_model(f"sam2.1-{size}-video")
        assert (picture.capability, shot.capability) == ("segment", "propagate")
        assert (picture.file_url, picture.sha256, picture.bytes) == (shot.file_url, shot.sha256, shot.bytes)
    assert sum(facts.name.startswith("sam2.1-") for facts in MODELS) == 8
