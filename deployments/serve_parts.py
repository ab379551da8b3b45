"""A part of ``stillmotion serve``: a process with a log, started again when it dies, ended in good order."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from deployments.api_server import log_tail

LOG_LIMIT_BYTES = 5_000_000
LOG_KEPT_BYTES = 500_000
QUICK_S = 20.0  # a part that lives shorter did not really start
QUICK_DEATHS = 5  # of those in a row, after which nothing will help
LONGEST_PAUSE_S = 10.0


@dataclass
class Part:
    """One process.

    Attributes:
        name: What users call it.
        module: The Python module that it runs.
        arguments: Its arguments.
        environment: Its whole environment.
        log: Where its words go.
        is_ready: Whether it does its work yet.
        descriptors: Open files handed down to it.
        end_s: How long it may take to end when it is told to.
    """

    name: str
    module: str
    arguments: Sequence[str]
    environment: Mapping[str, str]
    log: Path
    is_ready: Callable[[], bool]
    descriptors: Sequence[int] = ()
    end_s: float = 10.0
    process: "subprocess.Popen[bytes] | None" = field(default=None, repr=False)
    _begun: float = 0.0
    _quick_deaths: int = 0
    _again_at: float = 0.0

    def start(self) -> None:
        """Start it in a session of its own: Ctrl-C in the terminal is for whoever supervises.

        Its standard input is a pipe that nobody writes to: it closes when the supervisor is gone, however it went.
        """
        bound_log(self.log)
        log = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            self.process = subprocess.Popen(  # noqa: S603 - our own program
                [sys.executable, "-m", self.module, *self.arguments],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                pass_fds=tuple(self.descriptors),
                start_new_session=True,
                env=dict(self.environment),
            )
        finally:
            os.close(log)
        self._begun = time.monotonic()

    @property
    def status(self) -> int | None:
        """How it ended; None while it runs."""
        return None if self.process is None else self.process.poll()

    @property
    def is_hopeless(self) -> bool:
        """Whether it keeps dying as soon as it is started."""
        return self._quick_deaths >= QUICK_DEATHS

    def note_death(self) -> float:
        """Reckon when it is to be started again; the pause grows while it keeps dying at once. Seconds from now."""
        was_quick = time.monotonic() - self._begun < QUICK_S
        self._quick_deaths = self._quick_deaths + 1 if was_quick else 0
        pause_s = min(LONGEST_PAUSE_S, 0.25 * 2.0**self._quick_deaths) if was_quick else 0.0
        self.process = None
        self._again_at = time.monotonic() + pause_s
        return pause_s

    @property
    def is_due(self) -> bool:
        """Whether it is down and its pause is over."""
        return self.process is None and time.monotonic() >= self._again_at

    def end(self) -> bool:
        """Tell it to end and wait; kill it and its children if it does not. Whether it ended by itself."""
        if self.process is None:
            return True
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(self.end_s)
        except subprocess.TimeoutExpired:
            self.kill()
            return False
        self.kill()  # what it left behind in its session
        return True

    def kill(self) -> None:
        """End it and all of its session at once."""
        if self.process is None:
            return
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        if self.process.stdin is not None:
            self.process.stdin.close()

    def last_words(self) -> str:
        return log_tail(self.log)


def bound_log(log: Path) -> None:
    """Keep the end of a log that grew too long; its writer appends, so goes on behind what stays."""
    if not log.exists() or log.stat().st_size <= LOG_LIMIT_BYTES:
        return
    with log.open("r+b") as file:
        file.seek(-LOG_KEPT_BYTES, os.SEEK_END)
        kept = file.read()
        file.seek(0)
        file.write(kept)
        file.truncate()
