"""Adapters that make frames by name: ``mock``, a JSON file, or a Prefect Block says what an adapter is."""

import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from datasets.errors import SettingsError
from datasets.known_secrets import told_block
from model_blocks.adapters.declaration import declared
from model_blocks.adapters.frames_adapter import AdapterDeclaration, FramesAdapter
from model_blocks.adapters.frames_errors import AdapterMissingError
from model_blocks.adapters.frames_http import HttpAdapter, HttpDeclaration
from model_blocks.adapters.mock import MockAdapter, MockDeclaration
from model_blocks.adapters.sagemaker import SageMakerAdapter, SageMakerDeclaration
from model_blocks.adapters.subprocess_adapter import SubprocessAdapter, SubprocessDeclaration

Declaration = SubprocessDeclaration | HttpDeclaration | SageMakerDeclaration | MockDeclaration
MOCK = "mock"
WAYS = (
    "use --adapter mock to try a workflow, --adapter FILE.json with a declaration (kind subprocess, http or sagemaker; "
    "README: Your own adapters), or the name of a saved Prefect block of type stillmotion-adapter"
)


KINDS: dict[str, type[Declaration]] = {
    "subprocess": SubprocessDeclaration,
    "http": HttpDeclaration,
    "sagemaker": SageMakerDeclaration,
    "mock": MockDeclaration,
}


def declare_adapter(facts: Mapping[str, Any]) -> Declaration:
    """A declaration from settings.

    Raises:
        SettingsError: Something does not hold; the message names the field.
    """
    kind = KINDS.get(str(facts.get("kind")))
    if kind is None:
        raise SettingsError(f"the declaration of the adapter names no known kind; known: {', '.join(KINDS)}")
    return declared(kind, facts, what="the adapter")


def find_adapter(name: str) -> Declaration:
    """What is declared under a name or in a file.

    Args:
        name: ``mock``, the path of a JSON file, or the name of a block.

    Raises:
        AdapterMissingError: No name is given, or nothing is there.
        SettingsError: What is there does not hold.
    """
    if not name:
        raise AdapterMissingError(f"the recipe restyles and no adapter is named; {WAYS}")
    if name == MOCK:
        return MockDeclaration()
    path = Path(name)
    if path.suffix == ".json" or path.is_file():
        return _from_file(path)
    return declare_adapter(_from_block(name))


def make_adapter(declaration: AdapterDeclaration) -> FramesAdapter:
    """The adapter that a declaration is of; cheap, so workers make their own."""
    match declaration:
        case SubprocessDeclaration():
            return SubprocessAdapter(declaration)
        case HttpDeclaration():
            return HttpAdapter(declaration)
        case SageMakerDeclaration():
            return SageMakerAdapter(declaration)
        case MockDeclaration():
            return MockAdapter(declaration)
    raise AssertionError(f"no adapter is made of {type(declaration).__name__}")


def _from_file(path: Path) -> Declaration:
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise AdapterMissingError(f"the adapter {str(path)!r} is not there; {WAYS}", path=str(path)) from error
    except (OSError, ValueError) as error:
        raise SettingsError(f"the adapter {str(path)!r} cannot be read as JSON: {error}", path=str(path)) from None
    if not isinstance(facts, dict):
        raise SettingsError(f"the adapter {str(path)!r} is no JSON object", path=str(path))
    found = declare_adapter(facts)
    if isinstance(found, SubprocessDeclaration):
        return found.model_copy(update={"command": tuple(_beside(part, path) for part in found.command)})
    return found


def _beside(part: str, declaration: Path) -> str:
    """A part of a command that begins with ``./`` as a path: it lies in the folder of the declaration."""
    return str(declaration.absolute().parent / part) if part.startswith(("./", "../")) else part


@lru_cache(maxsize=8)
def _from_block(name: str) -> dict[str, Any]:
    from model_blocks.adapters.blocks import FramesAdapterBlock  # imports Prefect

    try:
        block = FramesAdapterBlock.load(name)
    except ValueError:
        raise AdapterMissingError(f"there is no saved adapter called {told_block(name)}; {WAYS}") from None
    assert isinstance(block, FramesAdapterBlock)
    return block.facts
