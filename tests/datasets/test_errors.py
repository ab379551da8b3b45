"""The error tree: codes are unique and stable, errors survive the way back from a worker."""

import importlib
import pickle
import pkgutil

import pytest

import datasets.errors
import expectations
import model_blocks
import tasks
from datasets.errors import PipelineError, RetryableError, WorkerLostError, worth_retrying


def every_error() -> list[type[PipelineError]]:
    for package in (datasets, expectations, model_blocks, tasks):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if ".migrations" not in module.name:
                importlib.import_module(module.name)
    found: list[type[PipelineError]] = [PipelineError]
    for kind in found:
        found.extend(kind.__subclasses__())
    ours = ("datasets", "expectations", "model_blocks", "tasks")
    return [kind for kind in dict.fromkeys(found) if kind.__module__.split(".")[0] in ours]


def test_every_code_is_given_once() -> None:
    own = [kind.__dict__.get("code") for kind in every_error()]
    codes = [code for code in own if code is not None]
    assert len(codes) == len(set(codes))


def test_every_leaf_has_a_code_of_its_own() -> None:
    leaves = [kind for kind in every_error() if not kind.__subclasses__()]
    assert [kind.__name__ for kind in leaves if "code" not in kind.__dict__] == []


def test_the_tree_names_every_error_outside_intake() -> None:
    drawn = datasets.errors.__doc__ or ""
    leaves = [kind for kind in every_error() if not kind.__module__.endswith(("photo_errors", "video_errors"))]
    assert [kind.__name__ for kind in leaves if kind.__name__ not in drawn] == []


@pytest.mark.parametrize("kind", every_error())
def test_errors_survive_pickling_with_message_and_facts(kind: type[PipelineError]) -> None:
    error = kind("expected a cup, got a saucer", width=3, names=["a"])
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind
    assert (again.message, again.facts) == ("expected a cup, got a saucer", {"width": 3, "names": ["a"]})


def test_only_retryable_errors_are_worth_another_try() -> None:
    assert [kind.__name__ for kind in every_error() if worth_retrying(kind("x"))] == [
        kind.__name__ for kind in every_error() if issubclass(kind, RetryableError)
    ]
    assert worth_retrying(WorkerLostError("gone"))
    assert not worth_retrying(ValueError("x"))
