"""Adapters for tests: commands of a few lines, frames to send, and a look for processes that were left behind."""

import os
import sys
import textwrap
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np

from model_blocks.adapters.frames_adapter import Frames
from model_blocks.adapters.subprocess_adapter import SubprocessAdapter, SubprocessDeclaration

MARK = "STILLMOTION_TEST_MARK"
READ = """
import argparse, os, pathlib, shutil, sys, time
parser = argparse.ArgumentParser()
for name in ("--input", "--prompt", "--style", "--seed", "--output-dir"):
    parser.add_argument(name)
told = parser.parse_args()
source, target = pathlib.Path(told.input), pathlib.Path(told.output_dir)
files = sorted(source.glob("*.png")) if source.is_dir() else [source]
def give(count=None):
    for number, file in enumerate(files[:count]):
        shutil.copy(file, target / f"{number:06d}.png")
"""


def command(folder: Path, body: str, **more: Any) -> SubprocessAdapter:
    """A command whose arguments are read already; its processes bear a mark of their own."""
    path = folder / f"{uuid4().hex}.py"
    path.write_text(READ + textwrap.dedent(body))
    facts = {"deadline_s": 20, "environment": {MARK: path.stem}, "command": (sys.executable, str(path)), **more}
    return SubprocessAdapter(SubprocessDeclaration(name="test", version="1", **facts))


def noise(count: int = 3, height: int = 12, width: int = 16, dtype: type = np.uint8) -> Frames:
    """(T, H, W, 3) at random."""
    return np.random.default_rng(3).integers(0, np.iinfo(dtype).max, (count, height, width, 3), dtype=dtype)


def left_of(adapter: SubprocessAdapter) -> list[int]:
    """Processes of a command's that are alive, told by their environment."""
    mark = f"{MARK}={adapter.declaration.environment[MARK]}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            if entry.name.isdigit() and int(entry.name) != os.getpid() and mark in (entry / "environ").read_bytes():
                found.append(int(entry.name))
    return found
