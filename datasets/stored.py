"""Looks through a tenant's storage: which outputs and assets there are, how large, and when they were last written."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from datasets.identity import DIGEST
from datasets.object_store import S3
from datasets.outputs import FRAMES, MANIFEST
from datasets.retention import Stored
from datasets.storage import Storage

OUTPUTS = "outputs"
ASSETS = "assets"
MODIFIED = ("mtime", "LastModified", "last_modified", "created")  # what fsspec's file systems call it


def stored_outputs(storage: Storage) -> Iterator[Stored]:
    """All outputs, finished or not. A part of the storage is listed at a time, so memory stays small."""
    for shard in storage.list_names(OUTPUTS):
        objects: dict[str, dict[str, Mapping[str, Any]]] = {}
        for path, facts in list_objects(storage, f"{OUTPUTS}/{shard}").items():
            digest, _, name = path.partition("/")
            if DIGEST.fullmatch(digest) and name:
                objects.setdefault(digest, {})[name] = facts
        for digest in sorted(objects):
            yield _output(digest, objects[digest])


def stored_assets(storage: Storage) -> Iterator[Stored]:
    """All assets."""
    for shard in storage.list_names(ASSETS):
        for digest, facts in sorted(list_objects(storage, f"{ASSETS}/{shard}").items()):
            if DIGEST.fullmatch(digest):
                yield Stored(digest, int(facts["size"]), modified_at(facts), is_output=False)


def look_again(storage: Storage, stored: Stored) -> Stored | None:
    """The same thing as it lies there now; None if it is gone."""
    shard = stored.digest[:2]
    if stored.is_output:
        objects = list_objects(storage, f"{OUTPUTS}/{shard}/{stored.digest}")
        return _output(stored.digest, objects) if objects else None
    facts = facts_of(storage, f"{ASSETS}/{shard}/{stored.digest}")
    return None if facts is None else Stored(stored.digest, int(facts["size"]), modified_at(facts), is_output=False)


def _output(digest: str, objects: Mapping[str, Mapping[str, Any]]) -> Stored:
    return Stored(
        digest,
        sum(int(facts["size"]) for facts in objects.values()),
        max(modified_at(facts) for facts in objects.values()),
        is_output=True,
        frames_bytes=sum(int(facts["size"]) for name, facts in objects.items() if name.startswith(f"{FRAMES}/")),
        finished=MANIFEST in objects,
    )


def list_objects(storage: Storage, folder: str) -> dict[str, Mapping[str, Any]]:
    """What the file system tells of every file below a folder, by its path inside it; empty if there is none."""
    root = storage.path(folder).rstrip("/") + "/"
    fresh = {} if storage.root.startswith(S3) else {"refresh": True}
    try:
        with storage.serving(f"list {folder}"):
            found = storage.filesystem.find(root, detail=True, **fresh)
    except FileNotFoundError:
        return {}
    name = root.lstrip("/")
    return {path.lstrip("/").removeprefix(name): facts for path, facts in found.items()}


def facts_of(storage: Storage, path: str) -> Mapping[str, Any] | None:
    """What the file system tells of one file; None if there is none."""
    fresh = {"refresh": True} if storage.root.startswith(S3) else {}
    try:
        with storage.serving(f"look for {path}"):
            facts: Mapping[str, Any] = storage.filesystem.info(storage.path(path), **fresh)
    except FileNotFoundError:
        return None
    return facts


def modified_at(facts: Mapping[str, Any]) -> float:
    """When a file was last written, seconds since the epoch. One whose time nobody tells counts as new."""
    told = next((facts[name] for name in MODIFIED if facts.get(name) is not None), None)
    if isinstance(told, datetime):
        return (told if told.tzinfo else told.replace(tzinfo=UTC)).timestamp()
    return float(told) if isinstance(told, int | float) else datetime.now(UTC).timestamp()
