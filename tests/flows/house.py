"""A house of its own for commands: storage, Prefect, results and temporary files in one folder that can be searched."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
CLI = (sys.executable, "-m", "deployments.cli")
KEPT = ("PATH", "LANG", "LD_LIBRARY_PATH", "VIRTUAL_ENV", "OMP_NUM_THREADS")
SERVER_ENDS_S = 10.0
TRIES = 5


@dataclass
class House:
    """Where commands live and what their environment says.

    Attributes:
        inside: Everything that commands may write.
        given: What they are given: photographs, recipes, descriptions of services.
        environment: Of every command, besides what all programs need.
    """

    inside: Path
    given: Path
    environment: dict[str, str] = field(default_factory=dict)
    calls: int = 0

    def __post_init__(self) -> None:
        for folder in (*(self.inside / name for name in ("said", "tmp", "home", "work")), self.given):
            folder.mkdir(parents=True, exist_ok=True)

    def open(self) -> None:
        """Start the house's Prefect server; on a busy machine the first start takes longer than a command waits."""
        while self.run("secrets", "list").returncode:
            assert self.calls < TRIES

    @property
    def out(self) -> Path:
        return self.inside / "out"

    @property
    def _environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if name in KEPT}
        return kept | {
            "HOME": str(self.inside / "home"),
            "TMPDIR": str(self.inside / "tmp"),
            "PYTHONPATH": str(ROOT),
            "PREFECT_HOME": str(self.inside / "prefect"),
            "STILLMOTION_STORAGE_ROOT": str(self.inside / "store"),
            "STILLMOTION_SERVICE_PATIENCE_S": "3",
            "DO_NOT_TRACK": "1",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            **self.environment,
        }

    def run(
        self,
        *command: str,
        stdin: str = "",
        more: Mapping[str, str] | None = None,
        program: Sequence[str] = CLI,
    ) -> "subprocess.CompletedProcess[str]":
        """A command; what it says is kept in the house, too."""
        done = subprocess.run(
            [*program, *command],
            input=stdin,
            env=self._environment | dict(more or {}),
            cwd=self.inside / "work",
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        self.calls += 1
        said = self.inside / "said" / f"{self.calls:02d}-{'-'.join(command[:2])[:40].replace('/', '_')}"
        said.with_suffix(".out").write_text(done.stdout)
        said.with_suffix(".err").write_text(done.stderr)
        return done

    def document(self, *command: str, **more: Any) -> Any:
        """What a command says with ``--json``."""
        done = self.run(*command, "--json", **more)
        try:
            return json.loads(done.stdout)
        except ValueError:
            raise AssertionError(f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}") from None

    def write(self, name: str, document: Any) -> str:
        """A file that commands are given."""
        path = self.given / name
        path.write_text(document if isinstance(document, str) else json.dumps(document))
        return str(path)

    def close(self) -> None:
        """Wait until the house's Prefect server has ended, so that its folder can be removed."""
        record = self.inside / "prefect" / "stillmotion-api" / "server.json"
        pid = json.loads(record.read_text()).get("pid") if record.exists() else None
        end = time.monotonic() + SERVER_ENDS_S
        if pid is None:
            return
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
            while time.monotonic() < end:
                os.kill(pid, 0)
                time.sleep(0.1)
            os.kill(pid, signal.SIGKILL)
