"""The bytes of a table, local or in an object store, through the project's own storage access."""

import hashlib
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, cast

from datasets.catalogue.records import TableChangedError
from datasets.errors import StorageUnavailableError, UsageError
from datasets.object_store import open_filesystem, service_errors

BLOCK = 1 << 18  # bytes read at once


@dataclass
class Reading:
    """What one pass over a table learns of it besides its rows.

    Attributes:
        digest: Of the bytes read so far.
        size: How many they are.
        columns: Name and type of every column, complete at the end.
    """

    digest: "hashlib._Hash" = field(default_factory=hashlib.sha256)
    size: int = 0  # bytes
    columns: tuple[tuple[str, str], ...] = ()

    def take(self, block: bytes) -> None:
        self.digest.update(block)
        self.size += len(block)


@dataclass(frozen=True)
class Source:
    """Where a table lies.

    Attributes:
        url: As the user wrote it.
        options: What an object store needs.
    """

    url: str
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def local(self) -> Path | None:
        """As a local path, or None where it is elsewhere."""
        if self.url.startswith("file://"):
            return Path(self.url.removeprefix("file://"))
        return None if "://" in self.url else Path(self.url).expanduser()

    @contextmanager
    def opened(self) -> Iterator[BinaryIO]:
        """A binary stream of the whole table.

        Raises:
            UsageError: There is none, it is a folder, or the address is of no known kind.
            TableChangedError: A local file was written to meanwhile.
            StorageUnavailableError: The storage does not answer, or stops in the middle.
        """
        with self._in_our_words(), self._stream() as stream:
            before = _state(stream)
            yield stream
            if _state(stream) != before:
                raise TableChangedError(f"{self.url} was written to while it was read; run again", table=self.url)

    def blocks(self, stream: BinaryIO, reading: Reading) -> Iterator[bytes]:
        """All bytes from where the stream stands, each told to the reading."""
        while block := stream.read(BLOCK):
            reading.take(block)
            yield block

    def _stream(self) -> BinaryIO:
        if self.local is not None:
            return self.local.open("rb")
        try:
            filesystem, path = open_filesystem(self.url, self.options)
        except (ImportError, ValueError) as error:
            raise UsageError(
                f"the table {self.url} cannot be opened: {error}; use a local path, file:// or s3://", table=self.url
            ) from error
        return cast("BinaryIO", filesystem.open(path, "rb", block_size=8 * BLOCK, cache_type="readahead"))

    @contextmanager
    def _in_our_words(self) -> Iterator[None]:
        try:
            yield
        except (FileNotFoundError, NotADirectoryError) as error:
            raise UsageError(f"there is no table {self.url}; check its name", table=self.url) from error
        except IsADirectoryError as error:
            raise UsageError(f"{self.url} is a folder; name a file, or a Delta table", table=self.url) from error
        except service_errors(self.url) as error:
            raise StorageUnavailableError(
                f"could not read {self.url}: {type(error).__name__}: {error}; check rights and service", table=self.url
            ) from error


class Copy:
    """A local temporary copy of a table, gone with this object.

    Attributes:
        path: Of the copy.
        reading: What it holds.
    """

    def __init__(self, source: Source) -> None:
        self.reading = Reading()
        self._file = tempfile.NamedTemporaryFile(prefix="stillmotion-table-")  # noqa: SIM115 - lives as long as this
        with source.opened() as stream:
            self._file.writelines(source.blocks(stream, self.reading))
        self._file.flush()
        self.path = Path(self._file.name)


def _state(stream: BinaryIO) -> tuple[int, int] | None:
    """Size and time of a local file; object stores refuse by themselves to go on with another object."""
    try:
        status = os.fstat(stream.fileno())
    except (OSError, AttributeError):
        return None
    return status.st_size, status.st_mtime_ns
