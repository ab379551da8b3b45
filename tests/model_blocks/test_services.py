"""A paid service by name: from a file, from a Prefect block, or a clear word about what is missing."""

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from datasets.errors import SettingsError
from model_blocks.adapters.generate_content import GenerateContent
from model_blocks.adapters.generic_http import GenericHttp
from model_blocks.services import PaidServiceBlock, ServiceMissingError, find_facts, make_service

DECLARATION = {"name": "studio", "version": "1", "price_micro_usd": 39000, "price_list": "2026-01"}
GOOGLE: dict[str, Any] = {
    "kind": "generate_content",
    "model": "tiny-image-1",
    "credential": "studio-key",
    "declaration": DECLARATION,
}
GENERIC: dict[str, Any] = {
    "kind": "generic_http",
    "declaration": {**DECLARATION, "endpoint": "https://studio.example"},
    "form": {"path": "/v1/images", "reply": {"image": "/image"}},
}


def secret(name: str) -> SecretStr:
    return SecretStr(f"the value of {name}")


def test_a_file_describes_a_service_and_its_key_is_asked_for_each_time(tmp_path: Path) -> None:
    asked: list[str] = []

    def read(name: str) -> SecretStr:
        asked.append(name)
        return SecretStr(f"value-number-{len(asked)}")

    file = tmp_path / "service.json"
    file.write_text(json.dumps(GOOGLE))
    adapter = make_service(find_facts(str(file)), read)
    assert isinstance(adapter, GenerateContent)
    assert asked == []
    assert adapter.credential is not None
    assert [adapter.credential.reveal().get_secret_value() for _ in range(2)] == ["value-number-1", "value-number-2"]
    assert asked == ["studio-key", "studio-key"]


@pytest.mark.usefixtures("prefect_api")
def test_a_block_describes_a_service() -> None:
    PaidServiceBlock(facts=GENERIC).save("studio")
    adapter = make_service(find_facts("studio"), secret)
    assert isinstance(adapter, GenericHttp)
    assert adapter.credential is None
    assert adapter.declaration.price_of(2) == 78_000


@pytest.mark.usefixtures("prefect_api")
def test_a_block_that_is_not_there_is_named_with_the_remedy() -> None:
    with pytest.raises(ServiceMissingError, match=r"'nobody'.*stillmotion-paid-service"):
        find_facts("nobody")


def test_without_a_service_the_way_to_one_and_the_local_way_are_told() -> None:
    with pytest.raises(ServiceMissingError, match=r"STILLMOTION_PLACE_SERVICE.*--recipe packshot.*compose"):
        find_facts("")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ServiceMissingError, match=r"away\.json"):
        find_facts(str(tmp_path / "away.json"))


@pytest.mark.parametrize("text", ["{", "[]", '"x"'])
def test_a_file_that_is_no_description_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "service.json"
    file.write_text(text)
    with pytest.raises(SettingsError, match=r"service\.json"):
        make_service(find_facts(str(file)), secret)


@pytest.mark.parametrize(
    ("facts", "field"),
    [
        ({**GOOGLE, "kind": "magic"}, "kind"),
        ({**GOOGLE, "key": "sk-live-123456789"}, "key"),
        ({**GOOGLE, "declaration": {**DECLARATION, "price_micro_usd": 0.039}}, "price_micro_usd"),
        ({**GENERIC, "form": {"path": "no slash"}}, "path"),
    ],
)
def test_what_does_not_hold_is_named_and_its_value_is_not_repeated(facts: dict[str, Any], field: str) -> None:
    with pytest.raises(SettingsError, match=field) as refused:
        make_service(facts, secret)
    assert "sk-live" not in str(refused.value)
