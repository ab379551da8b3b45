"""The charging service as a process of its own, for tests that kill its clients."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from tests.services.paid_service import Rules, Service

ROOT = Path(__file__).parents[2]


@contextmanager
def serve_apart(folder: Path, rules: Rules | None = None) -> Iterator[Service]:
    """The service in its own process until the block ends."""
    command = [sys.executable, "-m", "tests.services.paid_service", "--folder", str(folder)]
    for name, value in asdict(rules or Rules()).items():
        if isinstance(value, bool):
            command += [f"--{name.replace('_', '-')}"] if value else []
        else:
            command += [f"--{name.replace('_', '-')}", str(value)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield Service(process.stdout.readline().strip())
    finally:
        process.terminate()
        process.wait()
