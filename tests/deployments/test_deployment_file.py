"""What ``prefect.yaml`` declares, the forms it makes, and that containers run the same deployments."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from datasets.errors import SettingsError
from deployments.deployment_file import Declared, read_deployments
from deployments.limits import POOLS, check_names

ROOT = Path(__file__).parents[2]
NAMES = ("product", "catalogue", "video", "upkeep")
ONE = """
deployments:
  - name: one
    description: One.
    entrypoint: flows/product.py:product
    work_pool: {name: stillmotion, work_queue_name: by-hand}
    concurrency_limit: {limit: 1}
"""


def _declared(name: str) -> Declared:
    (found,) = [each for each in read_deployments(ROOT / "prefect.yaml").deployments if each.name == name]
    return found


def _fields(schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every field that a form asks for, those of nested parts too, by its name."""
    for model, definition in schema["definitions"].items():
        for name, field in definition.get("properties", {}).items():
            yield f"{model}.{name}", field


def test_the_file_declares_the_four_deployments_with_queues_that_exist() -> None:
    declared = read_deployments(ROOT / "prefect.yaml").deployments
    assert tuple(each.name for each in declared) == NAMES
    check_names(declared)
    assert {each.name: each.work_pool.work_queue_name for each in declared} == {
        "product": "by-hand",
        "catalogue": "nightly",
        "video": "by-hand",
        "upkeep": "nightly",
    }
    assert [each.name for each in declared if each.schedules] == ["catalogue", "upkeep"]


@pytest.mark.parametrize("name", NAMES)
def test_a_deployment_names_a_flow_whose_form_takes_its_parameters(name: str) -> None:
    declared = _declared(name)
    flow = declared.load_flow()
    assert flow.name == declared.full_name.partition("/")[0]
    assert flow.validate_parameters(declared.parameters) is not None


@pytest.mark.parametrize("name", NAMES)
def test_every_field_of_a_form_is_described(name: str) -> None:
    schema = _declared(name).load_flow().parameters.model_dump()
    fields = dict(_fields(schema))
    assert fields
    assert [field for field, facts in fields.items() if not facts.get("description")] == []


@pytest.mark.parametrize("name", NAMES)
def test_a_form_asks_only_for_what_has_no_default(name: str) -> None:
    wanted = {"product": ["photos"], "catalogue": ["table"], "video": ["clips"], "upkeep": []}[name]
    schema = _declared(name).load_flow().parameters.model_dump()
    orders = [each for model, each in schema["definitions"].items() if model.endswith("Order")]
    assert [field for order in orders for field in order.get("required", [])] == wanted


@pytest.mark.parametrize(
    ("name", "order", "first"),
    [
        ("product", "ProductOrder", ["photos", "recipe", "out"]),
        ("catalogue", "CatalogueOrder", ["table", "mapping", "recipe"]),
        ("video", "VideoOrder", ["clips", "recipe", "mask"]),
    ],
)
def test_a_form_begins_with_what_users_come_for(name: str, order: str, first: list[str]) -> None:
    fields = _declared(name).load_flow().parameters.model_dump()["definitions"][order]["properties"]
    assert sorted(fields, key=lambda field: fields[field]["position"])[:3] == first
    assert sorted(field["position"] for field in fields.values()) == list(range(len(fields)))


def test_choices_and_bounds_reach_the_form() -> None:
    schema = _declared("product").load_flow().parameters.model_dump()
    order = schema["definitions"]["ProductOrder"]["properties"]
    assert order["quality"]["enum"] == ["economy", "balanced", "premium"]
    assert order["budget_usd"]["anyOf"][0] == {"type": "number", "minimum": 0}
    assert "minItems" in order["photos"]


@pytest.mark.parametrize(("kind", "pool"), [("docker", "stillmotion-docker"), ("kubernetes", "stillmotion-kubernetes")])
def test_containers_run_the_same_deployments(kind: str, pool: str) -> None:
    here = read_deployments(ROOT / "prefect.yaml").deployments
    there = read_deployments(ROOT / "deployments" / f"prefect.{kind}.yaml").deployments
    check_names(there)
    assert {each.work_pool.name for each in there} == {pool}
    assert [each.model_dump(exclude={"work_pool"}) for each in here] == [
        each.model_dump(exclude={"work_pool"}) for each in there
    ]
    assert [each.work_pool.work_queue_name for each in here] == [each.work_pool.work_queue_name for each in there]
    known = {field for fields in _variables(kind) for field in fields}
    assert {name for each in there for name in each.work_pool.job_variables} <= known


def _variables(kind: str) -> Iterator[list[str]]:
    """What jobs of this kind can be told, as Prefect knows it."""
    import json

    import prefect.server.api

    place = Path(prefect.server.api.__file__).parent / "collections_data" / "views" / "aggregate-worker-metadata.json"
    for workers in json.loads(place.read_text(encoding="utf-8")).values():
        if kind in workers:
            yield list(workers[kind]["default_base_job_configuration"]["variables"]["properties"])


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ("limit: 1", "limit: 0", r"deployment 'one', concurrency_limit.limit: .*greater than or equal to 1"),
        ("concurrency_limit", "concurency_limit", r"deployment 'one', concurrency_limit: Field required"),
        ("flows/product.py:product", "flows/product.py", r"deployment 'one', entrypoint: String should match"),
        ("{limit: 1}", "{limit: 1", r"is no YAML: .*line \d"),
        ("deployments:", "deployment:", r"has no list `deployments`"),
    ],
)
def test_what_does_not_hold_is_refused_with_its_place(tmp_path: Path, before: str, after: str, words: str) -> None:
    file = tmp_path / "prefect.yaml"
    file.write_text(ONE.replace(before, after))
    with pytest.raises(SettingsError, match=words):
        read_deployments(file)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"cannot read .*none\.yaml: No such file"):
        read_deployments(tmp_path / "none.yaml")


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ("name: stillmotion,", "name: stilmotion,", "work pool 'stilmotion'; known: stillmotion, stillmotion-docker"),
        ("by-hand", "by_hand", "queue 'by_hand'; stillmotion has by-hand, nightly"),
    ],
)
def test_a_misspelt_pool_or_queue_is_refused(tmp_path: Path, before: str, after: str, words: str) -> None:
    file = tmp_path / "prefect.yaml"
    file.write_text(ONE.replace(before, after))
    with pytest.raises(SettingsError, match=words):
        check_names(read_deployments(file).deployments, POOLS)


def test_the_version_changes_with_the_file_and_with_the_form() -> None:
    declared = _declared("product")
    changed = declared.model_copy(update={"description": "Another."})
    versions = [declared.version({"a": 1}), declared.version({"a": 2}), changed.version({"a": 1})]
    assert len(set(versions)) == 3
    assert declared.version({"a": 1}) == versions[0]
