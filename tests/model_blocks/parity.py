"""Reference data of the models' authors: weights by a recipe, inputs, and what their own code made of them.

A module ``parity_<family>`` beside this one holds ``RUNS``: by the name of a manifest the registered model and a
function that opens a file with the public loader, feeds the inputs end to end, and returns the outputs by name. Tests
and ``make bench-parity`` run the same functions.
"""

import importlib
import importlib.util
import io
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from tests.shared_data import SHARED

FAMILIES = ("realesrgan", "sam2", "xmem", "matting", "inpainting", "rife", "faces", "depth")
Arrays = Mapping[str, np.ndarray[Any, Any]]


@dataclass(frozen=True)
class ParityRun:
    """How a model is held against its authors' outputs.

    Attributes:
        model: Its registered name.
        run: From the path of a file in the authors' container and the inputs, named without ``in_``, to the outputs,
            named without ``out_``. Outputs that are left out are not compared, and count as missing.
    """

    model: str
    run: Callable[[Path, Arrays], dict[str, np.ndarray[Any, Any]]]


@dataclass(frozen=True)
class Compared:
    """One output against the reference."""

    output: str
    passed: bool
    words: str


def folder() -> Path:
    """Where the reference data lie: ``PARITY``, else the shared folder's."""
    return Path(os.environ.get("PARITY") or SHARED / "parity")


def reference(relative: str) -> Path:
    """A file of the reference data, or a skipped test."""
    path = folder() / relative
    if not path.exists():
        pytest.skip(f"needs the reference data {relative}; set STILLMOTION_SHARED to the folder that holds parity/")
    return path


@lru_cache
def recipe() -> ModuleType:
    """The module that makes the weights and compares outputs."""
    spec = importlib.util.spec_from_file_location("parity_recipe", reference("recipe.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@lru_cache
def manifest(name: str) -> Any:
    return recipe().load_manifest(reference(f"manifests/{name}.json"))


def golden(name: str) -> tuple[dict[str, np.ndarray[Any, Any]], dict[str, np.ndarray[Any, Any]]]:
    """Inputs and expected outputs of a model."""
    with np.load(reference(f"golden/{name}.npz")) as arrays:
        inputs = {key[3:]: arrays[key] for key in arrays.files if key.startswith("in_")}
        outputs = {key[4:]: arrays[key] for key in arrays.files if key.startswith("out_")}
    return inputs, outputs


def checkpoint(name: str, path: Path, *, with_extras: bool = True) -> Path:
    """A file such as the authors publish, with weights by the recipe and the keys that inference ignores."""
    seed = manifest(name)["seeds"]["shared"]
    recipe().save_checkpoint(path, manifest(name), seed, with_extras)
    return path


def compared(name: str, made: Arrays) -> list[Compared]:
    """Every expected output against what was made, with the manifest's tolerances."""
    _, expected = golden(name)
    found = []
    for output, want in expected.items():
        if output in made:
            passed, words = recipe().check(output, made[output], want, manifest(name)["tolerance"][output])
            found.append(Compared(output, passed, words))
        else:
            found.append(Compared(output, False, f"{output}: missing"))
    return found


def assert_parity(name: str, made: Arrays) -> None:
    """Raise AssertionError with every output that is not the reference's."""
    wrong = [each.words for each in compared(name, made) if not each.passed]
    assert not wrong, "; ".join(wrong)


def kept(state: Any) -> dict[str, np.ndarray[Any, Any]]:
    """What a state is after it was kept in a file, as a stage keeps it at the end of a chunk."""
    stream = io.BytesIO()
    np.savez(stream, **state.to_arrays())
    with np.load(io.BytesIO(stream.getvalue())) as held:
        return {name: held[name] for name in held.files}


def runs_with_saved_states() -> dict[str, ParityRun]:
    """Models that remember, with what they remember kept in a file and read again after every frame."""
    found: dict[str, ParityRun] = {}
    for family in FAMILIES:
        found |= getattr(importlib.import_module(f"tests.model_blocks.parity_{family}"), "SAVED", {})
    return found


def runs() -> dict[str, ParityRun]:
    """All models with reference data, by the name of their manifest."""
    found: dict[str, ParityRun] = {}
    for family in FAMILIES:
        found |= importlib.import_module(f"tests.model_blocks.parity_{family}").RUNS
    return found
