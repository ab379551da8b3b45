"""What a storage can do, found out by doing it: asked once at a run's start, before any work depends on it."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache

from datasets.errors import NotFoundError, SettingsError, StorageUnavailableError
from datasets.object_store import S3, unreachable
from datasets.storage import Storage

FOLDER = "probes"
LIMIT_S = 10.0  # for one request: who waits at a start wants to know
FALLBACK = (
    "{root} cannot create an object only if there is none (conditional put); the ledger's leases alone keep two runs "
    "from writing the same output at once, which is enough while all runs share this ledger"
)


def probed(storage: Storage) -> Storage:
    """The storage, with ``atomic_create`` as it showed. Asked once per process; local disks and memory are known.

    Writes, reads, lists and removes one small object.

    Raises:
        SettingsError: The storage does not do what everything here stands on; the message says what and where.
    """
    return replace(storage, atomic_create=_found_out(storage, storage.access))


@lru_cache(maxsize=16)
def _found_out(storage: Storage, _access: str) -> bool:
    if storage.is_local or not storage.is_shared:
        return storage.atomic_create
    if storage.root.startswith(S3):
        storage = replace(storage, options={**storage.options, "limit_s": LIMIT_S})
    name = secrets.token_hex(8)
    path = f"{FOLDER}/{name}"
    try:
        _refuse_silence(storage)
        with _written(storage, path):
            return _sees_what_was_written(storage, name, path)
    except (StorageUnavailableError, NotFoundError) as error:
        raise SettingsError(
            f"the storage root {storage.root} cannot be used: {error.message}; check STILLMOTION_STORAGE_ROOT, "
            "STILLMOTION_S3_ENDPOINT, STILLMOTION_S3_REGION and the credentials (AWS_ACCESS_KEY_ID and so on, or the "
            "block STILLMOTION_STORAGE_BLOCK names)",
            root=storage.root,
        ) from error


@contextmanager
def _written(storage: Storage, path: str) -> Iterator[None]:
    """An object that is there while the block runs."""
    storage.write_bytes(path, b"first")
    try:
        yield
    finally:
        with storage.serving(f"remove {path}"):
            storage.filesystem.rm_file(storage.path(path))


def _sees_what_was_written(storage: Storage, name: str, path: str) -> bool:
    held = _creates_atomically(storage, path)
    if storage.read_bytes(path) not in (b"first", b"second") or name not in storage.list_names(FOLDER):
        raise SettingsError(f"{storage.root} does not show at once what was written to it", root=storage.root)
    return held


def _refuse_silence(storage: Storage) -> None:
    reason = unreachable(storage.options) if storage.root.startswith(S3) else None
    if reason is not None:
        raise StorageUnavailableError(reason)


def _creates_atomically(storage: Storage, path: str) -> bool:
    """Whether the second writer of an object is told so. Some services ignore the condition, others refuse it."""
    try:
        return not storage.create_bytes(path, b"second")
    except StorageUnavailableError as error:
        if not _knows_no_condition(error.__cause__):
            raise
        return False


def _knows_no_condition(error: BaseException | None) -> bool:
    if error is None:
        return False
    from datasets.patient_s3 import status_of

    return status_of(error) in (400, 405, 501)
