"""Assets: immutable bytes named by their sha256. A changed file behind the same path is another asset."""

import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from datasets.errors import NotFoundError, OutputDamagedError
from datasets.identity import READ_BLOCK, check_digest, digest_bytes, digest_file, digest_stream
from datasets.storage import Storage
from datasets.stored import facts_of, modified_at

RENEW_AFTER_S = 1800.0  # half of the shortest time for which upkeep lets new things be


def asset_path(digest: str) -> str:
    """Where an asset lies below the tenant's folder."""
    return f"assets/{check_digest(digest)[:2]}/{digest}"


def put_asset(storage: Storage, data: bytes) -> str:
    """Keep some bytes and return their digest. Bytes that are there already are not written again."""
    digest = digest_bytes(data)
    if not _asked_for(storage, digest, len(data)):
        storage.write_bytes(asset_path(digest), data)
    return digest


def _asked_for(storage: Storage, digest: str, size: int) -> bool:
    """Whether the bytes are there and stay: what somebody begins to use counts as new, so that upkeep lets it be.

    False also of old ones in an object store: their time changes only when they are written again.
    """
    facts = facts_of(storage, asset_path(digest))
    if facts is None or int(facts["size"]) != size:
        return False
    path = storage.local_path(asset_path(digest))
    if path is None:
        return modified_at(facts) > time.time() - RENEW_AFTER_S
    try:
        os.utime(path)
    except FileNotFoundError:  # upkeep put it aside this moment
        return False
    return True


def has_asset(storage: Storage, digest: str) -> bool:
    return storage.exists(asset_path(digest))


def get_asset(storage: Storage, digest: str) -> bytes:
    """The bytes of an asset, checked against their name.

    Raises:
        NotFoundError: The asset is not there.
        OutputDamagedError: The stored bytes are not those that were put there.
    """
    data = storage.read_bytes(asset_path(digest))
    if digest_bytes(data) != digest:
        raise OutputDamagedError(
            f"the stored copy of {digest[:12]}… was changed on disk; remove it and run again", digest=digest
        )
    return data


def put_asset_file(storage: Storage, file: Path) -> str:
    """Keep the bytes of a file, however large, and return their digest; what is there already is not copied again.

    Raises:
        OSError: The file cannot be read.
        StorageUnavailableError: The storage did not take the bytes.
    """
    digest = digest_file(file)
    if _asked_for(storage, digest, file.stat().st_size):
        return digest
    with storage.temporary_file() as part:
        with storage.serving(f"keep a copy of {file.name}"), file.open("rb") as source, part.open("wb") as target:
            while block := source.read(READ_BLOCK):
                target.write(block)
        copied = digest_file(part)  # the file may have been written to meanwhile
        storage.move_in(asset_path(copied), part)
    return copied


@contextmanager
def opened_asset(storage: Storage, digest: str) -> Iterator[Path | BinaryIO]:
    """An asset for readers that seek: its path where the storage is local, else a stream. Its digest is not checked.

    Raises:
        NotFoundError: The asset is not there.
    """
    path = storage.local_path(asset_path(digest))
    if path is None:
        with storage.opened(asset_path(digest)) as stream:
            yield stream
    elif path.is_file():
        yield path
    else:
        raise NotFoundError(f"{asset_path(digest)} is not in the storage", digest=digest)


def copy_asset(storage: Storage, digest: str, target: Path) -> None:
    """Copy an asset, however large, to a local path, checked against its name and on the disk when this returns.

    Raises:
        NotFoundError: The asset is not there.
        OutputDamagedError: The stored bytes are not those that were put there.
    """
    state = hashlib.sha256()
    with storage.opened(asset_path(digest)) as source, target.open("wb") as copy:
        while block := source.read(READ_BLOCK):
            state.update(block)
            copy.write(block)
        copy.flush()
        os.fsync(copy.fileno())
    if state.hexdigest() != digest:
        raise OutputDamagedError(f"the stored copy of {digest[:12]}… was changed; it is made again", digest=digest)


@contextmanager
def local_asset(storage: Storage, digest: str) -> Iterator[Path]:
    """An asset as a local file, whose name says nothing: itself where the storage is local, else a copy for a while.

    Raises:
        NotFoundError: The asset is not there.
    """
    with opened_asset(storage, digest) as source:
        if isinstance(source, Path):
            yield source
            return
    with storage.temporary_file() as copy:
        storage.fetch(asset_path(digest), copy)
        yield copy


def check_asset(storage: Storage, digest: str) -> None:
    """Read an asset whole and hold it against its name, a block at a time.

    Raises:
        NotFoundError: The asset is not there.
        OutputDamagedError: The stored bytes are not those that were put there.
    """
    with storage.opened(asset_path(digest)) as stream:
        if digest_stream(stream) != digest:
            raise OutputDamagedError(f"the stored copy of {digest[:12]}… was changed; it is kept again", digest=digest)
