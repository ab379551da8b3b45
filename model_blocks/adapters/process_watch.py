"""Runs a command apart and watches it: its time, its memory, how many processes it has, how much it says and writes."""

import json
import os
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from datasets.settings import MEBIBYTE
from model_blocks.adapters import launcher
from model_blocks.adapters.frames_errors import (
    AdapterError,
    AdapterExitError,
    AdapterFloodError,
    AdapterMemoryError,
    AdapterProcessesError,
    AdapterTimeoutError,
)

LOOK_S = 0.1  # between two looks at a command's processes
DISK_LOOKS = 5  # looks at processes for each look at the disk
END_S = 1.0  # that the launcher has to end everything
PIECE = 1 << 16  # bytes read at a time
LONGEST_LINE = 4096  # bytes; what is longer is cut
KEPT_ERROR = 2000  # bytes of the end of what it says on standard error
SPARE_DATA = 256 * MEBIBYTE  # of address space for what is reserved and never used


@dataclass(frozen=True)
class Limits:
    """What a command may use.

    Attributes:
        deadline_s: Wall time.
        cpu_s: Processor time of any one process.
        memory_bytes: Resident memory of all its processes together.
        processes: How many it may have at a time.
        said_bytes: On standard output and error together.
        disk_bytes: In its working folder.
        network: Whether it may use the network.
    """

    deadline_s: float
    cpu_s: int
    memory_bytes: int
    processes: int
    said_bytes: int
    disk_bytes: int
    network: bool

    @property
    def of_the_system(self) -> dict[str, int]:
        """Bounds that the system holds for every single process; the watch holds the sums."""
        return {
            "RLIMIT_CPU": self.cpu_s,
            "RLIMIT_DATA": 2 * self.memory_bytes + SPARE_DATA,
            "RLIMIT_FSIZE": self.disk_bytes,
            "RLIMIT_CORE": 0,
            "RLIMIT_NPROC": self.processes,
        }


@contextmanager
def own_folder() -> Iterator[Path]:
    """A working folder that is removed in the end, whatever rights a command gave what is in it."""
    folder = Path(tempfile.mkdtemp(prefix="stillmotion-adapter-")).resolve()
    try:
        yield folder
    finally:
        for path, _, _ in os.walk(folder):
            with suppress(OSError):
                Path(path).chmod(0o700)
        shutil.rmtree(folder, ignore_errors=True)


class Watch:
    """One run of a command."""

    def __init__(self, name: str, limits: Limits, folder: Path, heard: Callable[[str], None]) -> None:
        """
        Args:
            name: Of the adapter, for messages.
            folder: Where it works.
            heard: Given every line of its standard output.
        """
        self._name, self._limits, self._folder, self._heard = name, limits, folder, heard
        self._family: dict[int, psutil.Process] = {}
        self._line, self._error, self._said = b"", b"", 0
        self.apart: dict[str, bool] = {}

    def run(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        """Run a command to its end; when this returns or raises, nothing of it is alive any more.

        Raises:
            AdapterError: One of its leaves.
        """
        told, telling = os.pipe()
        begun = time.monotonic()
        try:
            process = self._started(command, environment, telling)
        finally:
            os.close(telling)
        try:
            with os.fdopen(told, "rb") as says:
                self.apart = json.loads(says.readline() or b"{}")
            self._watch(process, begun + self._limits.deadline_s)
        finally:
            self._end(process)
        self._judge(process.returncode)

    def _started(
        self, command: Sequence[str], environment: Mapping[str, str], telling: int
    ) -> "subprocess.Popen[bytes]":
        spec = {
            "command": list(command),
            "environment": dict(environment),
            "folder": str(self._folder),
            "limits": self._limits.of_the_system,
            "network": self._limits.network,
            "parent": os.getpid(),
            "told": telling,
        }
        process = subprocess.Popen(  # noqa: S603 - the user's own command is what is to run
            [sys.executable, "-I", "-S", launcher.__file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=dict(environment),
            pass_fds=(telling,),
            start_new_session=True,
        )
        assert process.stdin is not None
        with process.stdin as stdin, suppress(BrokenPipeError):
            stdin.write(json.dumps(spec).encode())
        return process

    def _watch(self, process: "subprocess.Popen[bytes]", until: float) -> None:
        assert process.stdout is not None
        assert process.stderr is not None
        look, looks = 0.0, 0
        with selectors.DefaultSelector() as pipes:
            for pipe, take in ((process.stdout, self._take), (process.stderr, self._take_error)):
                os.set_blocking(pipe.fileno(), False)
                pipes.register(pipe, selectors.EVENT_READ, take)
            while pipes.get_map() and process.poll() is None:
                for key, _ in pipes.select(LOOK_S / 2):
                    self._read(pipes, key)
                now = time.monotonic()
                if now > until:
                    raise self._error_of(
                        AdapterTimeoutError, f"was not done after {self._limits.deadline_s:g} s and was ended"
                    )
                if now > look + LOOK_S:
                    self._look(process.pid, disk=looks % DISK_LOOKS == 0)
                    look, looks = time.monotonic(), looks + 1
            self._rest(process, pipes, until)

    def _rest(self, process: "subprocess.Popen[bytes]", pipes: selectors.BaseSelector, until: float) -> None:
        """What is left in the pipes of an ended process, or the end of one that closed them."""
        for key in list(pipes.get_map().values()):
            while key.fd in pipes.get_map() and self._read(pipes, key):
                continue
        while process.poll() is None:
            if time.monotonic() > until:
                raise self._error_of(
                    AdapterTimeoutError, f"was not done after {self._limits.deadline_s:g} s and was ended"
                )
            self._look(process.pid, disk=False)
            time.sleep(LOOK_S / 2)
        if self._line:
            self._heard(self._line.decode("utf-8", "replace"))

    def _read(self, pipes: selectors.BaseSelector, key: selectors.SelectorKey) -> bool:
        """Take a piece from a pipe; whether there may be more."""
        try:
            piece = os.read(key.fd, PIECE)
        except BlockingIOError:
            return False
        if not piece:
            pipes.unregister(key.fileobj)
            return False
        self._said += len(piece)
        key.data(piece)
        if self._said > self._limits.said_bytes:
            most = self._limits.said_bytes // MEBIBYTE
            raise self._error_of(AdapterFloodError, f"wrote more than {most} MiB to its outputs and was ended")
        return True

    def _take(self, piece: bytes) -> None:
        *lines, last = (self._line + piece).split(b"\n")
        for line in lines:
            self._heard(line[:LONGEST_LINE].decode("utf-8", "replace"))
        self._line = last[:LONGEST_LINE]

    def _take_error(self, piece: bytes) -> None:
        self._error = (self._error + piece)[-KEPT_ERROR:]

    def _look(self, pid: int, *, disk: bool) -> None:
        """Compare what the command's processes and its folder take with what they may."""
        memory, limits = 0, self._limits
        with suppress(psutil.Error):
            family = psutil.Process(pid).children(recursive=True)
            self._family |= {each.pid: each for each in family}
            if len(family) > limits.processes + 1:  # the first process in its namespaces is ours
                raise self._error_of(
                    AdapterProcessesError, f"had more than {limits.processes} processes at a time and was ended"
                )
            for each in family:
                with suppress(psutil.Error):
                    memory += each.memory_info().rss
        if memory > limits.memory_bytes:
            raise self._error_of(
                AdapterMemoryError,
                f"used {memory // MEBIBYTE:,} MiB of memory, may use {limits.memory_bytes // MEBIBYTE:,} MiB, and was "
                "ended; make its work smaller or raise memory_mb in its declaration",
            )
        if disk and _bytes_in(self._folder) > limits.disk_bytes:
            raise self._error_of(
                AdapterFloodError,
                f"wrote more than {limits.disk_bytes // MEBIBYTE:,} MiB to its folder and was ended; raise disk_mb in "
                "its declaration if it needs that much",
            )

    def _end(self, process: "subprocess.Popen[bytes]") -> None:
        """See that nothing is alive: the launcher ends what is its own; what it cannot any more is ended here."""
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(END_S)
        process.kill()
        process.wait()
        for each in self._family.values():
            with suppress(psutil.Error):
                each.kill()  # checks that the number was not given to another
        for pipe in (process.stdout, process.stderr):
            assert pipe is not None
            pipe.close()

    def _judge(self, status: int) -> None:
        if status == 0:
            return
        if status == 128 + signal.SIGXFSZ:
            raise self._error_of(AdapterFloodError, "wrote a file that is larger than all it may keep")
        if status == 128 + signal.SIGXCPU:
            raise self._error_of(
                AdapterTimeoutError, f"used {self._limits.cpu_s} s of processor time, all it may, and was ended"
            )
        how = f"signal {status - 128}" if status > 128 else f"status {status}"
        raise self._error_of(AdapterExitError, f"ended with {how}", status=status)

    def _error_of(self, kind: type[AdapterError], what: str, **facts: object) -> AdapterError:
        said = self._error.decode("utf-8", "replace").strip()
        told = f"; it said last: {said[-500:]}" if said else ""
        return kind(f"the command of the adapter {self._name!r} {what}{told}", adapter=self._name, **facts)


def _bytes_in(folder: Path) -> int:
    total = 0
    for path, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                total += os.lstat(f"{path}/{name}").st_size
    return total
