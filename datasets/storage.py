"""One root on fsspec for everything that is kept, one folder below it for every tenant."""

import errno
import os
import secrets
import shutil
import socket
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, cast

import psutil

from datasets.errors import NotFoundError, SettingsError, StorageUnavailableError
from datasets.identity import check_tenant, digest_bytes, fingerprint
from datasets.object_store import S3, open_filesystem, service_errors

LOCAL = ("file", "local")
SHARED_BETWEEN_PROCESSES_NOT = ("memory",)
PART = ".part-"  # files being written carry it in their name, with host and process, until they are whole
NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EXDEV, errno.EMLINK)
COPY_BLOCK = 1 << 20  # bytes
PARTS = "parts"  # where a local storage writes files before it moves them to their place


@dataclass(frozen=True)
class Storage:
    """A tenant's part of the storage root. Small and picklable: workers open their own file system.

    Attributes:
        root: A local folder or an fsspec URL.
        tenant: A valid tenant name.
        options: What the file system needs besides its URL: endpoint, region, credentials. Never shown.
        atomic_create: Whether the storage can write an object only if there is none, as far as is known.
    """

    root: str
    tenant: str
    options: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)
    atomic_create: bool = True

    def __post_init__(self) -> None:
        check_tenant(self.tenant)

    @property
    def _place(self) -> tuple[Any, str]:
        if self._opened[0] != os.getpid():  # a forked process cannot use its parent's connections
            del self.__dict__["_opened"]
        return self._opened[1]

    @cached_property
    def _opened(self) -> tuple[int, tuple[Any, str]]:
        try:
            filesystem, path = open_filesystem(self.root, self.options)
        except (ImportError, ValueError) as error:
            raise SettingsError(
                f"the storage root {self.root!r} cannot be opened: {error}; use a folder, file://, s3:// or memory://",
                root=self.root,
            ) from error
        return os.getpid(), (filesystem, f"{path.rstrip('/')}/tenants/{self.tenant}")

    @property
    def access(self) -> str:
        """A digest of process and options: what was opened under another is not to be used under this."""
        return fingerprint({"pid": os.getpid(), "options": dict(self.options)})

    def __getstate__(self) -> dict[str, object]:
        return {name: getattr(self, name) for name in ("root", "tenant", "options", "atomic_create")}

    def __setstate__(self, state: dict[str, object]) -> None:
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

    @contextmanager
    def serving(self, what: str) -> Iterator[None]:
        """Say in the project's words that the storage does not do what it should. What is not there is no such fault.

        Raises:
            StorageUnavailableError: No space, no rights, no answer, or one that says so.
        """
        try:
            yield
        except (FileNotFoundError, FileExistsError, NotADirectoryError):
            raise
        except service_errors(self.root) as error:
            raise StorageUnavailableError(
                f"could not {what}: {type(error).__name__}: {error}; check space, rights and service of {self.root}",
                root=self.root,
            ) from error

    def exists(self, relative: str) -> bool:
        with self.serving(f"look for {relative}"):
            return bool(self.filesystem.exists(self.path(relative)))

    def size(self, relative: str) -> int | None:
        """Size in bytes, or None if there is no such file."""
        try:
            with self.serving(f"look for {relative}"):
                return int(self.filesystem.size(self.path(relative)))
        except FileNotFoundError:
            return None

    def read_bytes(self, relative: str) -> bytes:
        """All bytes of a file.

        Raises:
            NotFoundError: There is no such file.
            StorageUnavailableError: The storage does not answer; nothing is known about the file.
        """
        try:
            with self.serving(f"read {relative}"):
                return bytes(self.filesystem.cat_file(self.path(relative)))
        except FileNotFoundError as error:
            raise NotFoundError(f"{relative} is not in the storage", path=relative) from error

    def write_bytes(self, relative: str, *data: bytes | memoryview, durable: bool = True) -> None:
        """Write a whole file so that a reader sees all of it or nothing of it.

        Args:
            data: What it holds, one part after the other.
            durable: Whether it must outlive a power cut; a killed process never takes anything with it.

        Raises:
            StorageUnavailableError: The storage did not take the bytes (a full disk among the reasons).
        """
        target = self.path(relative)
        with self._writing(relative):
            if self.is_local:
                write_atomically(Path(target), *data, parts=Path(self.path(PARTS)), durable=durable)
            else:
                self._make_folder_of(target)
                self.filesystem.pipe_file(target, b"".join(data))  # object stores and memory show whole objects only

    @contextmanager
    def temporary_file(self) -> Iterator[Path]:
        """A path for a local file that is to become an object: on the same disk where that is local; swept if left."""
        folder = Path(self.path(PARTS)) if self.is_local else Path(tempfile.gettempdir()) / "stillmotion-parts"
        with self.serving("make a temporary file"):
            folder.mkdir(parents=True, exist_ok=True)
        part = folder / part_name()
        try:
            yield part
        finally:
            part.unlink(missing_ok=True)

    def move_in(self, relative: str, file: Path) -> None:
        """Make a local temporary file the whole object of this name; for objects too large to be held in memory.

        Raises:
            StorageUnavailableError: The storage did not take it.
        """
        target = self.path(relative)
        with self._writing(relative):
            if self.is_local:
                with file.open("rb") as stream:
                    os.fsync(stream.fileno())
                Path(target).parent.mkdir(parents=True, exist_ok=True)
                file.replace(target)
            else:
                self._make_folder_of(target)
                self.filesystem.put_file(str(file), target)

    def fetch(self, relative: str, target: Path) -> None:
        """Copy an object to a local file.

        Raises:
            NotFoundError: There is no such object.
        """
        with self.opened(relative) as source, target.open("wb") as copy:
            shutil.copyfileobj(source, copy, COPY_BLOCK)

    @contextmanager
    def opened(self, relative: str) -> Iterator[BinaryIO]:
        """A seekable binary stream of an object, for readers that need only parts of it.

        Raises:
            NotFoundError: There is no such file.
        """
        try:
            with self.serving(f"open {relative}"):
                stream = self.filesystem.open(self.path(relative), "rb")
        except FileNotFoundError as error:
            raise NotFoundError(f"{relative} is not in the storage", path=relative) from error
        with stream:
            yield cast("BinaryIO", stream)

    def create_bytes(self, relative: str, data: bytes) -> bool:
        """Write a whole file unless there is one: of several writers at once, one is told that it was the one.

        Returns:
            False if there was a file already; it stays as it is. A storage without atomic create looks first, which
            two writers may do at the same time.

        Raises:
            StorageUnavailableError: The storage did not take the bytes.
        """
        target = self.path(relative)
        with self._writing(relative):
            if self.is_local:
                return create_atomically(Path(target), data, parts=Path(self.path(PARTS)))
            if not self.atomic_create or not self.is_shared:
                if self.filesystem.exists(target):
                    return False
                self._make_folder_of(target)
                self.filesystem.pipe_file(target, data)
                return True
            return self._create_object(relative, data)

    def _make_folder_of(self, target: str) -> None:
        if not self.root.startswith(S3):  # which has no folders, and would make a bucket that is not there
            self.filesystem.makedirs(target.rsplit("/", 1)[0], exist_ok=True)

    def _create_object(self, relative: str, data: bytes) -> bool:
        try:
            self.filesystem.pipe_file(self.path(relative), data, mode="create")
        except FileExistsError:
            # The answer to an earlier attempt may have been lost on its way: then what is there is ours.
            return self.read_bytes(relative) == data
        return True

    @contextmanager
    def _writing(self, relative: str) -> Iterator[None]:
        try:
            with self.serving(f"write {relative}"):
                yield
        except (FileNotFoundError, FileExistsError, NotADirectoryError) as error:  # a bucket or folder is gone
            raise StorageUnavailableError(
                f"could not write {relative}: {error}; check that {self.root} is there", root=self.root
            ) from error

    def remove_tree(self, relative: str) -> None:
        """Remove a file or folder and all below it, if it is there."""
        try:
            with self.serving(f"remove {relative}"):
                self.filesystem.rm(self.path(relative), recursive=True)
        except FileNotFoundError:
            return

    def list_tree(self, relative: str) -> dict[str, int]:
        """Size in bytes of every file below a folder, by its path inside it; empty if there is no such folder."""
        root = self.path(relative).rstrip("/") + "/"
        if self.is_local:
            with self.serving(f"list {relative}"):
                return dict(_local_files(root, ""))
        try:
            with self.serving(f"list {relative}"):
                found = self.filesystem.find(root, detail=True, **self._fresh)
        except FileNotFoundError:
            return {}
        name = root.lstrip("/")
        return {path.lstrip("/").removeprefix(name): int(entry["size"]) for path, entry in found.items()}

    @property
    def _fresh(self) -> dict[str, bool]:
        """Ask for what is there now, where the file system would remember; object stores are opened without memory."""
        return {} if self.root.startswith(S3) else {"refresh": True}

    def sweep(self) -> None:
        """Remove what killed processes left half-written."""
        if self.is_local:
            sweep_parts(Path(self.path(PARTS)))

    def list_names(self, relative: str) -> list[str]:
        """Sorted names directly below a folder; empty if there is no such folder."""
        return sorted(self._names(relative))

    def _names(self, relative: str) -> Iterator[str]:
        try:
            with self.serving(f"list {relative}"):
                found = self.filesystem.ls(self.path(relative), detail=False, refresh=True)
            for path in found:
                yield path.rstrip("/").rsplit("/", 1)[-1]
        except (FileNotFoundError, NotADirectoryError):
            return


def _local_files(root: str, inside: str) -> Iterator[tuple[str, int]]:
    """Path inside a local folder, and size in bytes, of every file below it."""
    try:
        with os.scandir(root + inside) as found:
            for entry in found:
                if entry.is_dir():
                    yield from _local_files(root, f"{inside}{entry.name}/")
                else:
                    with suppress(FileNotFoundError):  # gone since
                        yield f"{inside}{entry.name}", entry.stat().st_size
    except (FileNotFoundError, NotADirectoryError):
        return


def write_atomically(target: Path, *data: bytes | memoryview, parts: Path | None = None, durable: bool = True) -> None:
    """Write a local file under a temporary name, then rename: no reader ever sees half of it.

    Args:
        target: Where it goes; folders are made.
        data: The whole content, one part after the other.
        parts: Folder on the same disk for the temporary file; beside the target without one.
        durable: Whether to wait until the disk has it, so that a power cut leaves all of it or nothing.
    """
    with _written_part(parts or target.parent, *data, durable=durable) as part:
        target.parent.mkdir(parents=True, exist_ok=True)
        part.replace(target)


def create_atomically(target: Path, data: bytes, *, parts: Path) -> bool:
    """The same if there is no such file; False, and nothing changed, if there is one."""
    with _written_part(parts, data, durable=True) as part:
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(part, target)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in NO_LINKS:
                raise
            if target.exists():  # a file system without hard links: look first, which two may do at the same time
                return False
            part.replace(target)
    return True


@contextmanager
def _written_part(folder: Path, *data: bytes | memoryview, durable: bool) -> Iterator[Path]:
    """A temporary file that holds the data; gone at the end unless it was moved away."""
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / part_name()
    try:
        with part.open("wb") as stream:
            stream.writelines(data)
            stream.flush()
            if durable:
                os.fsync(stream.fileno())
        yield part
    finally:
        part.unlink(missing_ok=True)


def part_name() -> str:
    """A new name for a file that is being written; it tells whose it is, so that those of the dead can be swept."""
    return f"{PART}{_host_tag()}-{os.getpid()}-{secrets.token_hex(6)}"


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


def open_storage(root: str, tenant: str, options: Mapping[str, Any] | None = None) -> Storage:
    """The tenant's storage; local roots are made absolute so that workers in other folders agree.

    Args:
        root: A local folder or an fsspec URL.
        tenant: Whose part of it.
        options: What the file system needs besides its URL.

    Raises:
        SettingsError: No fsspec package for the URL.
    """
    absolute = root if "://" in root else str(Path(root).expanduser().absolute())
    storage = Storage(absolute, tenant, options or {})
    _ = storage.filesystem
    return storage
