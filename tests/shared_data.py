"""Where the shared check data lies. Tests that need it skip, with the reason, on machines without it."""

import os
from pathlib import Path

import pytest

SHARED = Path(os.environ.get("STILLMOTION_SHARED", Path(__file__).parents[2] / "shared"))


def fixture(relative: str) -> Path:
    """The path of a shared fixture, or a skipped test."""
    return shared(f"fixtures/{relative}")


def shared(relative: str) -> Path:
    """The path of shared check data below ``fixtures/``, ``parity/`` or ``weights/``, or a skipped test."""
    path = SHARED / relative
    if not path.exists():
        pytest.skip(f"needs the shared data {relative}; set STILLMOTION_SHARED to the folder that holds fixtures/")
    return path
