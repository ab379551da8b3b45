"""One root on fsspec for everything that is kept, one folder below it for every tenant."""

import os
import secrets
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import fsspec
import psutil

from datasets.errors import NotFoundError, SettingsError, StorageUnavailableError
from datasets.identity import check_tenant, digest_bytes

LOCAL = ("file", "local")
SHARED_BETWEEN_PROCESSES_NOT = ("memory",)
PART = ".part-"  # files being written carry it in their name, with host and process, until they are whole
PARTS = "parts"  # where a local storage writes files before it moves them to their place


@dataclass(frozen=True)
class Storage:
    """A tenant's part of the storage root. Small and picklable: workers open their own file system.

    Attributes:
        root: A local folder or an fsspec URL.
        tenant: A valid tenant name.
    """

    root: str
    tenant: str

    def __post_init__(self) -> None:
        check_tenant(self.tenant)

    @cached_property
    def _place(self) -> tuple[Any, str]:
        try:
            filesystem, path = fsspec.core.url_to_fs(self.root)
        except (ImportError, ValueError) as error:
            raise SettingsError(
                f"the storage root {self.root!r} cannot be opened: {error}; use a folder, file:// or memory://",
                root=self.root,
            ) from error
        return filesystem, f"{path.rstrip('/')}/tenants/{self.tenant}"

    def __getstate__(self) -> dict[str, str]:
        return {"root": self.root, "tenant": self.tenant}

    def __setstate__(self, state: dict[str, str]) -> None:
        self.__dict__.update(state)

    @property
    def filesystem(self) -> Any:
        return self._place[0]

    @property
    def is_local(self) -> bool:
        protocol = self.filesystem.protocol
        return any(name in LOCAL for name in ([protocol] if isinstance(protocol, str) else protocol))

    @property
    def is_shared(self) -> bool:
        """Whether other processes see the same bytes."""
        protocol = self.filesystem.protocol
        names = [protocol] if isinstance(protocol, str) else protocol
        return not any(name in SHARED_BETWEEN_PROCESSES_NOT for name in names)

    def path(self, relative: str) -> str:
        """The full path of something below the tenant's folder."""
        return f"{self._place[1]}/{relative}"

    def local_path(self, relative: str) -> Path | None:
        """The same as a local path, or None where the storage is not local."""
        return Path(self.path(relative)) if self.is_local else None

    def exists(self, relative: str) -> bool:
        return bool(self.filesystem.exists(self.path(relative)))

    def size(self, relative: str) -> int | None:
        """Size in bytes, or None if there is no such file."""
        try:
            return int(self.filesystem.size(self.path(relative)))
        except FileNotFoundError:
            return None

    def read_bytes(self, relative: str) -> bytes:
        """All bytes of a file.

        Raises:
            NotFoundError: There is no such file.
        """
        try:
            return bytes(self.filesystem.cat_file(self.path(relative)))
        except FileNotFoundError as error:
            raise NotFoundError(f"{relative} is not in the storage", path=relative) from error

    def write_bytes(self, relative: str, data: bytes, *, durable: bool = True) -> None:
        """Write a whole file so that a reader sees all of it or nothing of it.

        Args:
            durable: Whether it must outlive a power cut; a killed process never takes anything with it.

        Raises:
            StorageUnavailableError: The storage did not take the bytes (a full disk among the reasons).
        """
        target = self.path(relative)
        try:
            if self.is_local:
                write_atomically(Path(target), data, parts=Path(self.path(PARTS)), durable=durable)
            else:
                self.filesystem.makedirs(target.rsplit("/", 1)[0], exist_ok=True)
                self.filesystem.pipe_file(target, data)  # object stores and memory show whole objects only
        except OSError as error:
            raise StorageUnavailableError(
                f"could not write {relative}: {error}; check space and rights below {self.root}", path=relative
            ) from error

    def remove_tree(self, relative: str) -> None:
        """Remove a file or folder and all below it, if it is there."""
        try:
            self.filesystem.rm(self.path(relative), recursive=True)
        except FileNotFoundError:
            return

    def sweep(self) -> None:
        """Remove what killed processes left half-written."""
        if self.is_local:
            sweep_parts(Path(self.path(PARTS)))

    def list_names(self, relative: str) -> list[str]:
        """Sorted names directly below a folder; empty if there is no such folder."""
        return sorted(self._names(relative))

    def _names(self, relative: str) -> Iterator[str]:
        try:
            for path in self.filesystem.ls(self.path(relative), detail=False, refresh=True):
                yield path.rstrip("/").rsplit("/", 1)[-1]
        except (FileNotFoundError, NotADirectoryError):
            return


def write_atomically(target: Path, data: bytes, *, parts: Path | None = None, durable: bool = True) -> None:
    """Write a local file under a temporary name, then rename: no reader ever sees half of it.

    Args:
        target: Where it goes; folders are made.
        data: The whole content.
        parts: Folder on the same disk for the temporary file; beside the target without one.
        durable: Whether to wait until the disk has it, so that a power cut leaves all of it or nothing.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    folder = parts or target.parent
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f"{PART}{_host_tag()}-{os.getpid()}-{secrets.token_hex(6)}"
    try:
        with part.open("wb") as stream:
            stream.write(data)
            stream.flush()
            if durable:
                os.fsync(stream.fileno())
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def sweep_parts(folder: Path) -> int:
    """Remove what killed processes of this host left half-written in a folder; returns how many files."""
    swept = 0
    for part in folder.glob(f"{PART}{_host_tag()}-*"):
        pid = part.name.removeprefix(f"{PART}{_host_tag()}-").split("-")[0]
        if pid.isdigit() and not psutil.pid_exists(int(pid)):
            part.unlink(missing_ok=True)
            swept += 1
    return swept


def _host_tag() -> str:
    """A short name of this host that is safe in a file name: process numbers mean nothing on another."""
    return digest_bytes(socket.gethostname().encode())[:8]


def open_storage(root: str, tenant: str) -> Storage:
    """The tenant's storage; local roots are made absolute so that workers in other folders agree.

    Raises:
        SettingsError: No fsspec package for the URL.
    """
    absolute = root if "://" in root else str(Path(root).expanduser().absolute())
    storage = Storage(absolute, tenant)
    _ = storage.filesystem
    return storage
