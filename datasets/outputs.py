"""Stage outputs: kept at a path made of their fingerprint, written once, present only with their manifest.

An output holds frames (a Zarr group), files, or both. The manifest is written last and names every stored
object with its size and every chunk with its checksum; without it nothing is there.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from datasets.errors import NotFoundError, OutputDamagedError, OutputIncompleteError
from datasets.identity import READ_BLOCK, check_digest, digest_bytes, digest_file
from datasets.notices import Notice
from datasets.storage import Storage

MANIFEST_VERSION = 3
MANIFEST = "manifest.json"
FRAMES = "frames.zarr"
MARKS = "marks"
FILES = "files"
NOTES = "notes"  # what an interrupted run found out about chunks that are finished
DESCRIPTION = "zarr.json"  # Zarr's own name for what says how an array or a group is kept
ZARR_PART = ".partial"  # how Zarr's local store names a chunk that is being written


@dataclass(frozen=True)
class StoredFile:
    """A file of an output: digest, size in bytes."""

    sha256: str
    bytes: int


@dataclass(frozen=True)
class FramesEntry:
    """The frames of an output.

    Attributes:
        shape: (T, H, W, C).
        dtype: ``uint8`` or ``uint16``.
        chunks: Chunk shape, (frames, height, width, channels).
        checksums: crc32c of the raw values of every chunk, by its grid index ``"t.y.x"``.
        attributes: Colour, depth, alpha, source digest, as stored beside the pixels.
    """

    shape: tuple[int, int, int, int]
    dtype: str
    chunks: tuple[int, int, int, int]
    checksums: dict[str, int]
    attributes: dict[str, object]


@dataclass(frozen=True)
class Manifest:
    """What a finished output consists of and what is known about it.

    Attributes:
        objects: Size in bytes of every stored object, by its path inside the output.
        facts: JSON-ready facts that later stages decide by (width, alpha, object found, ...).
        notices: What a user should be told, also when the output comes from the cache.
        descriptions: sha256 of every Zarr description, by its path: a wrong one would make other pixels of right bytes.
    """

    fingerprint: str
    stage: str
    objects: dict[str, int]
    frames: FramesEntry | None = None
    files: dict[str, StoredFile] = field(default_factory=dict)
    facts: dict[str, object] = field(default_factory=dict)
    notices: tuple[Notice, ...] = ()
    descriptions: dict[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, object]:
        frames = self.frames
        return {
            "version": MANIFEST_VERSION,
            "fingerprint": self.fingerprint,
            "stage": self.stage,
            "objects": self.objects,
            "frames": None
            if frames is None
            else {
                "shape": list(frames.shape),
                "dtype": frames.dtype,
                "chunks": list(frames.chunks),
                "checksums": frames.checksums,
                "attributes": frames.attributes,
            },
            "files": {name: {"sha256": entry.sha256, "bytes": entry.bytes} for name, entry in self.files.items()},
            "facts": self.facts,
            "notices": [notice.to_json() for notice in self.notices],
            "descriptions": self.descriptions,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, object]) -> "Manifest":
        data = _Reader(value)
        frames = data.mapping("frames") if value.get("frames") else None
        return cls(
            fingerprint=str(value["fingerprint"]),
            stage=str(value["stage"]),
            objects={name: int(str(size)) for name, size in data.mapping("objects").items()},
            frames=None if frames is None else _frames_from_json(frames),
            files={
                name: StoredFile(str(entry["sha256"]), int(entry["bytes"]))
                for name, entry in data.mapping("files").items()
                if isinstance(entry, dict)
            },
            facts=dict(data.mapping("facts")),
            notices=tuple(Notice.from_json(item) for item in data.sequence("notices") if isinstance(item, dict)),
            descriptions={name: str(digest) for name, digest in data.mapping("descriptions").items()},
        )


class _Reader:
    """Typed access to parsed JSON."""

    def __init__(self, value: Mapping[str, object]) -> None:
        self._value = value

    def mapping(self, name: str) -> dict[str, object]:
        value = self._value.get(name)
        return value if isinstance(value, dict) else {}

    def sequence(self, name: str) -> list[object]:
        value = self._value.get(name)
        return value if isinstance(value, list) else []


def _frames_from_json(value: Mapping[str, object]) -> FramesEntry:
    data = _Reader(value)
    return FramesEntry(
        shape=four(data.sequence("shape")),
        dtype=str(value["dtype"]),
        chunks=four(data.sequence("chunks")),
        checksums={index: int(str(crc)) for index, crc in data.mapping("checksums").items()},
        attributes=data.mapping("attributes"),
    )


def four(values: list[object]) -> tuple[int, int, int, int]:
    """Four whole numbers from parsed JSON."""
    a, b, c, d = (int(str(value)) for value in values)
    return a, b, c, d


@dataclass(frozen=True)
class OutputPlace:
    """Where the output of one fingerprint lies. Small and picklable."""

    storage: Storage
    fingerprint: str

    def __post_init__(self) -> None:
        check_digest(self.fingerprint)

    @property
    def folder(self) -> str:
        return f"outputs/{self.fingerprint[:2]}/{self.fingerprint}"

    def inside(self, name: str) -> str:
        return f"{self.folder}/{name}"

    def write_file(self, name: str, data: bytes) -> StoredFile:
        """Write one file of the output; it counts once the manifest names it."""
        self.storage.write_bytes(self.inside(f"{FILES}/{name}"), data)
        return StoredFile(digest_bytes(data), len(data))

    def read_file(self, name: str, entry: StoredFile) -> bytes:
        """A file of the output, checked against the manifest's digest.

        Raises:
            OutputDamagedError: The stored bytes are not those the manifest names.
        """
        data = self.storage.read_bytes(self.inside(f"{FILES}/{name}"))
        if digest_bytes(data) != entry.sha256:
            raise self._changed(name)
        return data

    def adopt_file(self, name: str, part: Path) -> StoredFile:
        """Make a local temporary file a file of the output; it counts once the manifest names it."""
        entry = StoredFile(digest_file(part), part.stat().st_size)
        self.storage.move_in(self.inside(f"{FILES}/{name}"), part)
        return entry

    def copy_file(self, name: str, entry: StoredFile, target: Path) -> None:
        """Copy a file of the output, however large, to a local path, checked against the manifest's digest.

        Raises:
            OutputDamagedError: The stored bytes are not those the manifest names.
        """
        state = hashlib.sha256()
        with self.storage.opened(self.inside(f"{FILES}/{name}")) as source, target.open("wb") as copy:
            while block := source.read(READ_BLOCK):
                state.update(block)
                copy.write(block)
            copy.flush()
            os.fsync(copy.fileno())
        if state.hexdigest() != entry.sha256:
            raise self._changed(name)

    @contextmanager
    def local_files(self, folder: str, entries: Sequence[tuple[str, StoredFile]]) -> Iterator[list[Path]]:
        """Local paths of files in a folder of the output, each checked; copies where the storage is elsewhere.

        Raises:
            OutputDamagedError: One is missing or not what was written.
        """
        with ExitStack() as copies:
            paths: list[Path] = []
            for name, entry in entries:
                path = self.storage.local_path(self.inside(f"{folder}/{name}"))
                if path is None:
                    path = copies.enter_context(self.storage.temporary_file())
                    with suppress(NotFoundError):
                        self.storage.fetch(self.inside(f"{folder}/{name}"), path)
                if not path.is_file() or digest_file(path) != entry.sha256:
                    raise self._changed(name)
                paths.append(path)
            yield paths

    def _changed(self, name: str) -> OutputDamagedError:
        return OutputDamagedError(
            f"the stored file {name} of output {self.fingerprint[:12]}… was changed on disk; it is made again",
            fingerprint=self.fingerprint,
            file=name,
        )

    def stored_objects(self) -> dict[str, int]:
        """Size of every object below the output's folder that belongs into a manifest."""
        sizes = self.storage.list_tree(self.folder)
        passing = (f"{MARKS}/", f"{NOTES}/")
        return {name: size for name, size in sizes.items() if name != MANIFEST and not name.startswith(passing)}

    def sweep(self) -> None:
        """Remove what a killed writer of this output left half-written. Only for the holder of its lease."""
        for name in self.stored_objects() if self.storage.is_local else ():
            if name.endswith(ZARR_PART):
                self.storage.remove_tree(self.inside(name))

    def finish(self, manifest: Manifest) -> Manifest:
        """Publish the output: the manifest is the last thing written; the marks of its chunks go.

        Returns:
            The manifest that counts: another writer's if it was there first. Both wrote the same bytes.
        """
        manifest = replace(manifest, descriptions=self._descriptions(manifest.objects))
        if not self.storage.create_bytes(self.inside(MANIFEST), _sealed(manifest.to_json())):
            manifest = read_manifest(self)
        for passing in (MARKS, NOTES):
            self.storage.remove_tree(self.inside(passing))
        return manifest

    def _descriptions(self, names: Iterable[str]) -> dict[str, str]:
        wanted = [name for name in names if name.endswith(DESCRIPTION)]
        return {name: digest_bytes(self.storage.read_bytes(self.inside(name))) for name in wanted}

    def check_descriptions(self, manifest: Manifest) -> None:
        """Hold the Zarr descriptions against their digests.

        Raises:
            OutputDamagedError: One is missing or says something else than what was written.
        """
        try:
            if self._descriptions(manifest.descriptions) == manifest.descriptions:
                return
        except NotFoundError:
            pass
        raise OutputDamagedError(
            f"the description of output {self.fingerprint[:12]}… is missing or was changed in the storage; it is made "
            "again",
            fingerprint=self.fingerprint,
        )

    def release_frames(self) -> None:
        """Let go of the frames and keep the rest: files, facts, notices. Only for the holder of its lease.

        Whoever needs the frames again finds none and makes the output anew.
        """
        manifest = read_manifest(self)
        kept = {name: size for name, size in manifest.objects.items() if not name.startswith(f"{FRAMES}/")}
        released = replace(manifest, frames=None, objects=kept, descriptions={})
        self.storage.write_bytes(self.inside(MANIFEST), _sealed(released.to_json()))
        self.storage.remove_tree(self.inside(FRAMES))

    def discard(self) -> None:
        """Remove the output, manifest first, so that nobody takes what is left for whole."""
        self.storage.remove_tree(self.inside(MANIFEST))
        self.storage.remove_tree(self.folder)


def find_output(place: OutputPlace) -> Manifest | None:
    """The manifest of an output that is whole, else None: every object it names is there in its size, and no other.

    Frames that it has let go of may be there yet: whoever removes them may have been killed on the way.
    """
    try:
        manifest = read_manifest(place)
    except OutputIncompleteError:
        return None
    stored = place.stored_objects()
    if manifest.frames is None:
        stored = {name: size for name, size in stored.items() if not name.startswith(f"{FRAMES}/")}
    return manifest if stored == manifest.objects else None


def clear_damage(place: OutputPlace) -> None:
    """Discard an output that was finished and is not whole any more; leave what an interrupted run began.

    Only the holder of the output's lease may call this: somebody else could be making it anew.
    """
    if place.storage.exists(place.inside(MANIFEST)) and find_output(place) is None:
        place.discard()


def read_manifest(place: OutputPlace) -> Manifest:
    """The manifest of an output.

    Raises:
        OutputIncompleteError: There is none, or it cannot be read: the output is not to be used.
    """
    try:
        value = _unsealed(place.storage.read_bytes(place.inside(MANIFEST)))
        manifest = Manifest.from_json(value)
    except NotFoundError as error:
        raise OutputIncompleteError(
            f"output {place.fingerprint[:12]}… has no manifest, so it was never finished", fingerprint=place.fingerprint
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise OutputIncompleteError(
            f"the manifest of output {place.fingerprint[:12]}… is damaged; it is made again",
            fingerprint=place.fingerprint,
        ) from error
    if manifest.fingerprint != place.fingerprint or value.get("version") != MANIFEST_VERSION:
        raise OutputIncompleteError(
            f"the manifest of output {place.fingerprint[:12]}… speaks of something else; it is made again",
            fingerprint=place.fingerprint,
        )
    return manifest


def _sealed(value: dict[str, object]) -> bytes:
    """The manifest as JSON with a digest over its values: a flipped bit in a fact must not pass for another fact."""
    return json.dumps({**value, "digest": _digest(json.loads(json.dumps(value)))}, indent=1).encode()


def _unsealed(data: bytes) -> dict[str, Any]:
    value = json.loads(data)
    if value.pop("digest") != _digest(value):
        raise ValueError("the digest is that of other values")
    return cast("dict[str, Any]", value)


def _digest(value: object) -> str:
    return digest_bytes(json.dumps(value, sort_keys=True).encode())
