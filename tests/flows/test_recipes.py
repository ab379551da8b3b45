"""Recipes: checked at the door, with the stage and the field in the message."""

import json
from pathlib import Path

import pytest

from datasets.errors import RecipeError
from flows.items import grouped
from flows.recipes import NAMED, RecipeName, check_recipe, parse_recipe


@pytest.mark.parametrize("name", list(RecipeName))
def test_every_named_recipe_holds_and_delivers(name: RecipeName) -> None:
    recipe = parse_recipe(name.value)
    assert recipe.title == name.value
    assert any(step.role for step in recipe.steps)
    assert set(NAMED) == set(RecipeName)


def test_roles_are_told_by_the_nearest_stage_that_makes_one() -> None:
    roles = [step.role for step in parse_recipe("complete").steps if step.role]
    assert roles == ["cutout", "packshot", "thumbnail", "enlarged"]


def test_a_publish_stage_is_no_input_for_what_follows() -> None:
    recipe = parse_recipe([{"stage": "cutout"}, {"stage": "publish"}, {"stage": "grade"}, {"stage": "publish"}])
    assert [step.source for step in recipe.steps] == ["intake", "stage_1", "stage_1", "stage_3"]
    assert [step.number for step in recipe.steps if step.role == "cutout"] == [1, 2]


def test_neighbouring_local_stages_share_a_pass() -> None:
    stages = [{"stage": "upscale"}, {"stage": "grade", "exposure_stops": 1}, {"stage": "grade"}, {"stage": "publish"}]
    assert [len(group) for group in grouped(parse_recipe(stages))] == [3, 1]


@pytest.mark.parametrize(
    "second",
    [
        {"stage": "grade", "white_balance": "gray_world"},  # measures its input first
        {"stage": "grade", "when": {"fact": "width", "below": 10}},  # decided by the input's facts
        {"stage": "grade", "input": "intake"},  # does not follow
    ],
)
def test_what_must_not_share_a_pass_does_not(second: dict[str, object]) -> None:
    recipe = parse_recipe([{"stage": "upscale"}, second, {"stage": "publish"}])
    assert [len(group) for group in grouped(recipe)] == [1, 1, 1]


def test_a_picture_that_two_stages_need_is_kept() -> None:
    stages = [{"stage": "upscale", "id": "large"}, {"stage": "grade"}, {"stage": "publish", "input": "large"}]
    assert [len(group) for group in grouped(parse_recipe(stages))] == [1, 1, 1]


@pytest.mark.parametrize(
    ("stages", "words"),
    [
        ([{"stage": "cutout"}], "delivers nothing"),
        ([], "delivers nothing"),
        ([{"stage": "cutuot"}], "0"),
        ([{"stage": "upscale", "facter": 2}, {"stage": "publish"}], "facter"),
        ([{"stage": "upscale", "factor": 99}, {"stage": "publish"}], "factor"),
        ([{"stage": "grade", "input": "nowhere"}, {"stage": "publish"}], "nowhere"),
        ([{"stage": "publish", "id": "file"}, {"stage": "grade", "input": "file"}], "file"),
        ([{"stage": "grade", "id": "a"}, {"stage": "grade", "id": "a"}, {"stage": "publish"}], "'a'"),
        ([{"stage": "grade", "when": {"fact": "width"}}, {"stage": "publish"}], "when"),
        ("not a list", "unknown recipe"),
    ],
)
def test_a_recipe_that_does_not_hold_says_where(stages: object, words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        parse_recipe(stages)  # type: ignore[arg-type]


def test_a_recipe_comes_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "own.json"
    path.write_text(json.dumps([{"stage": "thumbnails", "sizes": [64]}]))
    assert parse_recipe(str(path)).title == "own"
    path.write_text("[")
    with pytest.raises(RecipeError, match="not valid JSON"):
        parse_recipe(str(path))


def test_an_empty_recipe_is_refused() -> None:
    with pytest.raises(RecipeError):
        check_recipe("own", [])


def test_a_denoise_strength_needs_the_second_model() -> None:
    def needed(**settings: object) -> tuple[str, ...]:
        return parse_recipe([{"stage": "upscale", **settings}, {"stage": "publish"}]).capabilities

    assert needed() == needed(denoise=1) == ("upscale",)
    assert needed(denoise=0.5) == ("upscale", "upscale_blend")
