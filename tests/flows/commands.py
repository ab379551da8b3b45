"""Real commands in processes of their own, for tests that kill and interrupt them."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from datasets.lineage.beside import ENDING
from datasets.lineage.record import core_of, parse_record

ROOT = Path(__file__).parents[2]


def product_command(
    photos: Sequence[Path], out: Path, *options: str, environment: Mapping[str, str] | None = None
) -> "subprocess.Popen[str]":
    """``stillmotion product`` in a session of its own, its outputs as pipes."""
    return _command("product", photos, out, options, environment)


def video_command(
    clips: Sequence[Path], out: Path, *options: str, environment: Mapping[str, str] | None = None
) -> "subprocess.Popen[str]":
    """``stillmotion video`` in a session of its own, its outputs as pipes."""
    return _command("video", clips, out, options, environment)


def _command(
    name: str, sources: Sequence[Path], out: Path, options: Sequence[str], environment: Mapping[str, str] | None
) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "deployments.cli", name, *map(str, sources), "--out", str(out), *options],
        env={**os.environ, "PYTHONPATH": str(ROOT), **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wait_for_line(running: "subprocess.Popen[str]", text: str) -> None:
    """Until a line with the text comes on standard error."""
    assert running.stderr is not None
    while text not in (line := running.stderr.readline()):
        assert line or running.poll() is None


def delivered(folder: Path) -> dict[str, str]:
    """sha256 of every delivered file, by its place; the report is not one. Of records, what no run adds to."""
    return {
        str(path.relative_to(folder)): _record_core(path)
        if path.name.endswith(ENDING)
        else hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and path.suffix != ".html"
    }


def _record_core(path: Path) -> str:
    return core_of(parse_record(path.read_bytes()))
