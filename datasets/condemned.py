"""Removing in two steps, so that a process killed on the way, and a run beside it, lose nothing.

What is to go is first **condemned**: a note is written, then an output's manifest is taken away, or an asset's bytes
are put aside, so that nobody finds it any more. Only when all runs that may have found it before are at their end, and
nothing holds on to it still, is it **buried**; else it is **restored**. Every step can be repeated.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace

from datasets.assets import asset_path
from datasets.errors import NotFoundError
from datasets.identity import DIGEST
from datasets.outputs import FRAMES, MANIFEST, OutputPlace, read_manifest
from datasets.retention import Kind, Stored
from datasets.storage import Storage
from datasets.stored import facts_of, modified_at

FOLDER = "condemned"
NOTE = ".json"


@dataclass(frozen=True)
class Condemned:
    """Something that was taken out of sight.

    Attributes:
        at: When its note was written, seconds since the epoch.
        manifest: Of an output; None if it was never finished.
    """

    stored: Stored
    kind: Kind
    at: float
    manifest: str | None = None

    @property
    def digest(self) -> str:
        return self.stored.digest


def condemn(storage: Storage, stored: Stored, kind: Kind, at: float) -> Condemned:
    """Take an output or an asset out of sight. Of an output, only the holder of its lease may."""
    manifest = _manifest(storage, stored) if stored.is_output else None
    condemned = Condemned(stored, kind, at, manifest)
    storage.write_bytes(_note(stored.digest), json.dumps(asdict(condemned)).encode())
    if stored.is_output:
        storage.remove_tree(_place(storage, stored).inside(MANIFEST))
    else:
        _move(storage, asset_path(stored.digest), _aside(stored.digest))
    return condemned


def condemned_digests(storage: Storage) -> list[str]:
    """What was taken out of sight, in this pass or an earlier one."""
    names = (name.removesuffix(NOTE) for name in storage.list_names(FOLDER) if name.endswith(NOTE))
    return [name for name in names if DIGEST.fullmatch(name)]


def all_condemned(storage: Storage) -> Iterator[Condemned]:
    """The same with what the notes say, one after the other: they hold manifests, which may be large."""
    for digest in condemned_digests(storage):
        condemned = _read(storage, digest)
        if condemned is not None:
            yield condemned


def _read(storage: Storage, digest: str) -> Condemned | None:
    try:
        told = json.loads(storage.read_bytes(_note(digest)))
        return Condemned(Stored(**told["stored"]), told["kind"], float(told["at"]), told["manifest"])
    except NotFoundError:
        return None  # another upkeep was quicker


def bury(storage: Storage, condemned: Condemned) -> None:
    """Remove it for good; one that was made anew meanwhile stays. Of an output, only the holder of its lease may."""
    place = _place(storage, condemned.stored)
    if condemned.stored.is_output:
        if not storage.exists(place.inside(MANIFEST)):
            storage.remove_tree(place.folder)
    else:
        storage.remove_tree(_aside(condemned.digest))
    storage.remove_tree(_note(condemned.digest))


def restore(storage: Storage, condemned: Condemned) -> None:
    """Put it back as it was, if it is still whole. Of an output, only the holder of its lease may."""
    if condemned.stored.is_output:
        _restore_output(_place(storage, condemned.stored), condemned.manifest)
    elif storage.exists(_aside(condemned.digest)):
        if storage.size(asset_path(condemned.digest)) == condemned.stored.bytes:  # kept anew meanwhile
            storage.remove_tree(_aside(condemned.digest))
        else:
            _move(storage, _aside(condemned.digest), asset_path(condemned.digest))
    storage.remove_tree(_note(condemned.digest))


def _restore_output(place: OutputPlace, manifest: str | None) -> None:
    if manifest is None or place.storage.exists(place.inside(MANIFEST)):
        return
    if place.stored_objects() == json.loads(manifest)["objects"]:
        place.storage.create_bytes(place.inside(MANIFEST), manifest.encode())


def last_touched(storage: Storage, condemned: Condemned) -> Stored:
    """As it was stored; of an asset with the time at which somebody last said, locally, that it is needed."""
    if condemned.stored.is_output or not storage.is_local:  # in an object store the time is that of its putting aside
        return condemned.stored
    facts = facts_of(storage, _aside(condemned.digest))
    return condemned.stored if facts is None else replace(condemned.stored, modified=modified_at(facts))


def release_frames(place: OutputPlace) -> None:
    """Let go of an output's pixels, also where somebody was killed while doing so. Only for the holder of its lease.

    Raises:
        OutputIncompleteError: It has no manifest any more.
    """
    if read_manifest(place).frames is not None:
        place.release_frames()
    else:
        place.storage.remove_tree(place.inside(FRAMES))


def _manifest(storage: Storage, stored: Stored) -> str | None:
    try:
        return storage.read_bytes(_place(storage, stored).inside(MANIFEST)).decode()
    except NotFoundError:
        return None


def _move(storage: Storage, source: str, target: str) -> None:
    """Locally at once; in an object store the copy is there before the original goes."""
    with storage.serving(f"move {source}"):
        local = storage.local_path(target)
        if local is not None:
            local.parent.mkdir(parents=True, exist_ok=True)
            origin = storage.local_path(source)
            assert origin is not None
            if origin.exists() or not local.exists():
                origin.replace(local)
            return
        storage.filesystem.copy(storage.path(source), storage.path(target))
        storage.filesystem.rm(storage.path(source))


def _place(storage: Storage, stored: Stored) -> OutputPlace:
    return OutputPlace(storage, stored.digest)


def _note(digest: str) -> str:
    return f"{FOLDER}/{digest}{NOTE}"


def _aside(digest: str) -> str:
    return f"{FOLDER}/{digest}"
