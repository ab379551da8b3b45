"""A command as an adapter: it is given frames as files, and leaves frames as files.

It is called as ``COMMAND --input PATH --prompt TEXT --style NAME --seed N --output-dir DIR``. For a photograph ``PATH``
is a PNG file; for a clip it is a folder of them, ``000000.png`` and so on, 8 or 16 bits, sRGB without transparency. The
command may say ``progress: N`` (0..100) and says ``frames_path: DIR`` on standard output, and leaves there as many
numbered PNG files as it was given, all of one size. It ends with status 0.

It works in a folder of its own, which is removed, with an environment that holds no secrets, without a network unless
its declaration asks for one, and within limits of time, memory, processes and output. Nothing it started outlives it.
These limits hold against accidents and not against an enemy: it runs as the user who runs Stillmotion.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from os import cpu_count, environ
from pathlib import Path
from shutil import which
from typing import Literal

from pydantic import Field, field_validator

from datasets.identity import digest_file
from datasets.known_secrets import SECRET_FIELD
from datasets.settings import MEBIBYTE
from model_blocks.adapters.frames_adapter import AdapterDeclaration, Frames, FramesRequest, Report, unheard
from model_blocks.adapters.frames_errors import AdapterError, AdapterExitError
from model_blocks.adapters.frames_files import folder_below, frame_name, read_frames, save_frames
from model_blocks.adapters.process_watch import Limits, Watch, own_folder

ALWAYS = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES")
SCRIPT_BYTES = 1 << 20  # files of a command up to this size count by their content, others by their name
SPOKEN = re.compile(r"\s*(progress|frames_path)\s*:\s*(.+?)\s*")


class SubprocessDeclaration(AdapterDeclaration):
    """A command on this machine."""

    kind: Literal["subprocess"] = "subprocess"
    command: tuple[str, ...] = Field(
        min_length=1, description="The program and its first arguments; './' is the folder of the declaration."
    )
    memory_mb: int = Field(default=4096, ge=16, description="Most memory of all its processes together, in MiB.")
    cpu_s: int | None = Field(
        default=None, ge=1, description="Most processor time of a process, in seconds; empty: all cores to the end."
    )
    max_processes: int = Field(default=64, ge=1, le=4096, description="Most processes at a time.")
    output_mb: int = Field(default=4, ge=1, le=1024, description="Most that it may say, in MiB.")
    disk_mb: int = Field(default=4096, ge=1, description="Most that it may keep in its folder, in MiB.")
    network: bool = Field(default=False, description="Whether it may use the network.")
    environment: dict[str, str] = Field(default_factory=dict, description="Variables that it is given; no secrets.")
    pass_environment: tuple[str, ...] = Field(default=(), description="Names of variables that are handed on.")

    @field_validator("pass_environment")
    @classmethod
    def _no_secrets(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        held = [name for name in names if SECRET_FIELD.search(name) or name.startswith(("STILLMOTION_", "PREFECT_"))]
        if held:
            raise ValueError(f"{held[0]} may hold a secret and is not handed to a command")
        return names

    def deciding(self) -> dict[str, object]:
        return {"command": [_content(each) for each in self.command], "environment": self.environment}


def _content(part: str) -> str:
    """A part of a command as what decides what it does: a script by its content, anything else as it is."""
    path = Path(part)
    try:
        if path.is_file() and path.stat().st_size <= SCRIPT_BYTES:
            return digest_file(path)
    except OSError:
        return part
    return path.name if path.is_absolute() else part


@dataclass(frozen=True)
class SubprocessAdapter:
    """Calls the command, anew for every call."""

    declaration: SubprocessDeclaration

    def restyle(self, frames: Frames, request: FramesRequest, report: Report = unheard) -> Frames:
        with own_folder() as folder:
            given, made = folder / "input", folder / "output"
            for each in (given, made, folder / "tmp"):
                each.mkdir()
            save_frames(frames, given)
            heard = _Heard(report)
            watch = Watch(self.declaration.name, self._limits, folder, heard)
            source = given / frame_name(0) if request.still else given
            try:
                watch.run(self._command(source, request, made), self._environment(folder))
            except AdapterError as error:
                raise type(error)(
                    f"{error.message} (at {heard.percent} %)", **error.facts, percent=heard.percent
                ) from None
            found = folder_below(heard.frames_path or str(made), folder, folder)
            return read_frames(found, len(frames), max_megapixels=self.declaration.max_megapixels)

    def ping(self) -> str:
        program = self.declaration.command[0]
        if which(program) is None:
            raise AdapterExitError(
                f"the command of the adapter {self.declaration.name!r} is not there: {program}; check its declaration",
                command=program,
            )
        return "ready"

    @property
    def _limits(self) -> Limits:
        told = self.declaration
        cpu_s = told.cpu_s or int(told.deadline_s * (cpu_count() or 1)) + 1
        return Limits(
            told.deadline_s,
            cpu_s,
            told.memory_mb * MEBIBYTE,
            told.max_processes,
            told.output_mb * MEBIBYTE,
            told.disk_mb * MEBIBYTE,
            told.network,
        )

    def _command(self, source: Path, request: FramesRequest, made: Path) -> list[str]:
        return [
            *self.declaration.command,
            *("--input", str(source)),
            *("--prompt", request.prompt),
            *("--style", request.style),
            *("--seed", str(request.seed)),
            *("--output-dir", str(made)),
        ]

    def _environment(self, folder: Path) -> Mapping[str, str]:
        kept = {name: environ[name] for name in (*ALWAYS, *self.declaration.pass_environment) if name in environ}
        return kept | {"HOME": str(folder), "TMPDIR": str(folder / "tmp"), **self.declaration.environment}


class _Heard:
    """What the command says of its work; other lines are its own affair."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self.percent = 0
        self.frames_path = ""

    def __call__(self, line: str) -> None:
        match = SPOKEN.fullmatch(line)
        if match is None:
            return
        if match[1] == "frames_path":
            self.frames_path = match[2]
        elif match[2].isascii() and match[2].isdigit():
            self.percent = min(100, int(match[2][:4]))
            self._report(self.percent)
