"""A tenant's rules: what a file may say, and which field is named where it does not hold."""

import json
from pathlib import Path
from typing import Any

import pytest

from datasets.errors import SettingsError
from model_blocks.routing_rules import read_rules
from model_blocks.routing_types import Conditions, RouteRequest, Rule

USE = "realesr-general-x4v3"


def read(folder: Path, rules: Any) -> tuple[Rule, ...]:
    path = folder / "rules.json"
    path.write_text(rules if isinstance(rules, str) else json.dumps(rules))
    return read_rules(path)


def test_a_file_of_rules_is_read_whole(tmp_path: Path) -> None:
    when = {"capability": "upscale", "long_side_above": 4000, "recipe": "packshot", "purpose": "personal"}
    (rule,) = read(tmp_path, [{"priority": 10, "when": when, "use": USE, "fallbacks": ["embedded-upscaler"]}])
    assert rule.models == (USE, "embedded-upscaler")
    asked = RouteRequest(capability="upscale", recipe="packshot", purpose="personal", long_side=4001)
    assert rule.when.hold(asked)
    for other in ({"long_side": 4000}, {"long_side": None}, {"recipe": "hero"}, {"purpose": "research"}):
        assert not rule.when.hold(asked.model_copy(update=other))
    assert not Conditions(device="cuda").hold(asked)


def test_without_a_file_there_are_no_rules() -> None:
    assert read_rules(None) == ()


@pytest.mark.parametrize(
    ("rules", "where", "told"),
    [
        ([{"use": USE, "wen": {}}], "0.wen", "not permitted"),
        ([{"use": USE}, {"use": USE, "when": {"size": 3}}], "1.when.size", "not permitted"),
        ([{"use": USE, "when": {"capability": "paint"}}], "0.when.capability", "upscale"),
        ([{"priority": 1}], "0.use", "required"),
        ([{"use": "upscaler-xl"}], "0.use", "'upscaler-xl' is no model; registered: embedded-segmenter"),
        ([{"use": USE, "fallbacks": ["embedded-upscaler", "embedded-matter"]}], "0.fallbacks.1", "no model to upscale"),
        ([{"use": USE, "when": {"capability": "matte"}}], "0.use", "no model to matte; registered: embedded-matter"),
        ({"use": USE}, "the list", "tuple"),
    ],
)
def test_what_does_not_hold_is_named(tmp_path: Path, rules: Any, where: str, told: str) -> None:
    with pytest.raises(SettingsError) as caught:
        read(tmp_path, rules)
    assert caught.value.facts["where"] == where
    assert told in caught.value.message


def test_a_file_that_is_not_there_or_no_json_is_said(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="STILLMOTION_ROUTING"):
        read_rules(tmp_path / "nowhere.json")
    with pytest.raises(SettingsError, match="no JSON"):
        read(tmp_path, "[{")
