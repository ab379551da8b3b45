"""What a storage can do, found out by doing it: asked once at a run's start, before any work depends on it."""

import secrets
from dataclasses import replace
from functools import lru_cache

from datasets.errors import NotFoundError, SettingsError, StorageUnavailableError
from datasets.object_store import S3, unreachable
from datasets.storage import Storage

FOLDER = "probes"
FALLBACK = (
    "{root} cannot create an object only if there is none (conditional put); the ledger's leases alone keep two runs "
    "from writing the same output at once, which is enough while all runs share this ledger"
)


@lru_cache(maxsize=16)
def probed(storage: Storage) -> Storage:
    """The storage, with ``atomic_create`` as it showed. Asked once per process; local disks and memory are known.

    Writes, reads, lists and removes one small object.

    Raises:
        SettingsError: The storage does not do what everything here stands on; the message says what and where.
    """
    if storage.is_local or not storage.is_shared:
        return storage
    name = secrets.token_hex(8)
    path = f"{FOLDER}/{name}"
    try:
        _refuse_silence(storage)
        storage.write_bytes(path, b"first")
        held = _creates_atomically(storage, path)
        if storage.read_bytes(path) not in (b"first", b"second") or name not in storage.list_names(FOLDER):
            raise SettingsError(f"{storage.root} does not show at once what was written to it", root=storage.root)
        storage.remove_tree(path)
    except (StorageUnavailableError, NotFoundError) as error:
        raise SettingsError(
            f"the storage root {storage.root} cannot be used: {error.message}; check STILLMOTION_STORAGE_ROOT, "
            "STILLMOTION_S3_ENDPOINT, STILLMOTION_S3_REGION and the credentials (AWS_ACCESS_KEY_ID and so on, or the "
            "block STILLMOTION_STORAGE_BLOCK names)",
            root=storage.root,
        ) from error
    return replace(storage, atomic_create=held)


def _refuse_silence(storage: Storage) -> None:
    reason = unreachable(storage.options) if storage.root.startswith(S3) else None
    if reason is not None:
        raise StorageUnavailableError(reason)


def _creates_atomically(storage: Storage, path: str) -> bool:
    """Whether the second writer of an object is told so. Some services ignore the condition, others refuse it."""
    try:
        return not storage.create_bytes(path, b"second")
    except StorageUnavailableError:
        return False
