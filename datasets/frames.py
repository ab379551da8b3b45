"""Frame stores: the pixels of a clip or photograph as a Zarr v3 group with checksums, written chunk by chunk.

Pixels are (T, H, W, C) uint8 or uint16 in RGB order, straight alpha last; ``pts`` is int64 (T,). Every chunk carries a
crc32c in its codec (it notices flipped bits) and another in the manifest (it notices a missing or swapped chunk, which
Zarr itself would read as zeros).
"""

import errno
import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import product
from typing import TYPE_CHECKING, Any, cast

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from datasets.errors import FrameShapeError, OutputDamagedError, OutputIncompleteError, StorageUnavailableError
from datasets.object_store import S3, open_filesystem
from datasets.outputs import FRAMES, MARKS, FramesEntry, OutputPlace, read_manifest

if TYPE_CHECKING:  # imported on use: a run whose stages are all cached opens no array
    from zarr.storage import FsspecStore, LocalStore

# What Zarr raises on bytes that are not what was written: bad JSON, bad fields, bad checksums, bad codecs.
UNREADABLE = (ValueError, TypeError, LookupError, ArithmeticError, RuntimeError)
DTYPES = ("uint8", "uint16")
STILL_TILE = 1024  # pixels; larger stills are cut into tiles of this side
SRGB = {"primaries": "bt709", "transfer": "srgb", "matrix": "rgb", "range": "full"}

Pixels = NDArray[Any]  # uint8 or uint16
Index = tuple[int, int, int]
Box = tuple[slice, slice, slice]


@dataclass(frozen=True)
class FrameSpec:
    """What a frame store is to hold.

    Attributes:
        shape: (T, H, W, C), every extent at least 1.
        dtype: ``uint8`` or ``uint16``.
        chunks: (frames, height, width) of a chunk; channels are never cut.
        attributes: JSON-ready: colour, time base, sample aspect, source digest.
    """

    shape: tuple[int, int, int, int]
    dtype: str
    chunks: tuple[int, int, int]
    attributes: dict[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if min(self.shape) < 1 or min(self.chunks) < 1 or self.dtype not in DTYPES:
            raise FrameShapeError(
                f"frames are (T, H, W, C) of at least 1 each in {' or '.join(DTYPES)}, got {self.shape} {self.dtype}",
                shape=list(self.shape),
                dtype=self.dtype,
            )

    @property
    def grid(self) -> tuple[int, int, int]:
        """Number of chunks along frames, rows and columns."""
        t, y, x = (-(-extent // chunk) for extent, chunk in zip(self.shape[:3], self.chunks, strict=True))
        return t, y, x

    def indices(self) -> Iterator[Index]:
        """All chunks, in the order of the frames."""
        t, y, x = self.grid
        return product(range(t), range(y), range(x))

    def box(self, index: Index) -> Box:
        """The slices of one chunk."""
        t, y, x = (
            slice(i * chunk, min((i + 1) * chunk, extent))
            for i, chunk, extent in zip(index, self.chunks, self.shape[:3], strict=True)
        )
        return t, y, x


def still_spec(height: int, width: int, channels: int, dtype: str, **attributes: object) -> FrameSpec:
    """The frame store of one photograph, cut into tiles when it is large."""
    colour = {"colour": SRGB, "bit_depth": 16 if dtype == "uint16" else 8, "alpha": channels == 4}
    return FrameSpec(
        (1, height, width, channels),
        dtype,
        (1, min(height, STILL_TILE), min(width, STILL_TILE)),
        {**colour, "time_base": "1/1", "sample_aspect": "1/1", **attributes},
    )


def chunk_key(index: Index) -> str:
    return ".".join(map(str, index))


def _zarr_store(place: OutputPlace, *, read_only: bool) -> "LocalStore | FsspecStore":
    from zarr.storage import FsspecStore, LocalStore

    folder, storage = place.inside(FRAMES), place.storage
    local = storage.local_path(folder)
    if local is not None:
        return LocalStore(local, read_only=read_only)
    if storage.root.startswith(S3):
        filesystem, _ = open_filesystem(storage.root, storage.options, asynchronous=True)
        return FsspecStore(filesystem, read_only=read_only, path=storage.path(folder))
    url = f"{storage.filesystem.unstrip_protocol(storage.path(folder))}"
    return FsspecStore.from_url(url, storage_options=dict(storage.options) or None, read_only=read_only)


def create_frames(place: OutputPlace, spec: FrameSpec) -> FrameSpec:
    """Lay out an empty frame store; one that an interrupted run began keeps the chunks it began with.

    Raises:
        StorageUnavailableError: The storage does not take it.
    """
    with place.storage.serving(f"lay out the frames of output {place.fingerprint[:12]}…"):
        try:
            return _lay_out(place, spec)
        except UNREADABLE:  # what an interrupted run left there cannot be read
            place.discard()
            return _lay_out(place, spec)


def _lay_out(place: OutputPlace, spec: FrameSpec) -> FrameSpec:
    import zarr
    from zarr.codecs import BloscCodec, BloscShuffle, Crc32cCodec

    store = _zarr_store(place, read_only=False)
    with suppress(FileNotFoundError):
        begun = zarr.open_array(store, path="pixels", mode="r+", zarr_format=3)  # made last: all else is there
        return replace(spec, chunks=(begun.chunks[0], begun.chunks[1], begun.chunks[2]))
    remains = bool(place.storage.list_tree(place.inside(FRAMES)))  # looked for by Zarr, it costs ten requests
    group = zarr.open_group(
        store, mode="a", zarr_format=3, use_consolidated=False, attributes=cast("dict[str, Any]", spec.attributes)
    )
    always = {"write_empty_chunks": True}
    pts = group.create_array(
        "pts", shape=(spec.shape[0],), dtype="int64", fill_value=0, config=always, overwrite=remains  # type: ignore[arg-type]
    )  # fmt: skip
    pts[:] = np.arange(spec.shape[0], dtype=np.int64)
    group.create_array(
        "pixels",
        shape=spec.shape,
        chunks=(*spec.chunks, spec.shape[3]),
        dtype=spec.dtype,
        compressors=(BloscCodec(cname="zstd", clevel=1, shuffle=BloscShuffle.bitshuffle), Crc32cCodec()),
        fill_value=0,
        config=always,  # type: ignore[arg-type]
        overwrite=remains,
    )
    return spec


def write_chunk(place: OutputPlace, spec: FrameSpec, index: Index, values: Pixels) -> int:
    """Write one whole chunk and its mark; returns the crc32c of the raw values.

    Raises:
        FrameShapeError: The values do not fill exactly this chunk.
        StorageUnavailableError: The storage did not take them.
    """
    box = spec.box(index)
    expected = (*(part.stop - part.start for part in box), spec.shape[3])
    if values.shape != expected or values.dtype != spec.dtype:
        raise FrameShapeError(
            f"chunk {chunk_key(index)} holds {expected} {spec.dtype}, got {values.shape} {values.dtype}",
            chunk=chunk_key(index),
        )
    contiguous = np.ascontiguousarray(values)
    crc = int(google_crc32c.value(contiguous.tobytes()))
    with place.storage.serving(f"write chunk {chunk_key(index)}"):
        _pixels(place, spec, read_only=False)[box] = contiguous
    mark = {"crc32c": crc, "chunks": list(spec.chunks)}
    name = place.inside(f"{MARKS}/{chunk_key(index)}.json")
    place.storage.write_bytes(name, json.dumps(mark).encode(), durable=False)  # readers check what it promises
    return crc


def finished_chunks(place: OutputPlace, spec: FrameSpec) -> dict[str, int]:
    """Checksums of the chunks that an interrupted run finished under the same plan and that are still there."""
    done: dict[str, int] = {}
    stored = place.stored_objects()
    for name in place.storage.list_names(place.inside(MARKS)):
        try:
            mark = json.loads(place.storage.read_bytes(place.inside(f"{MARKS}/{name}")))
        except ValueError:
            continue  # half a mark is no mark
        key = name.removesuffix(".json")
        if mark.get("chunks") == list(spec.chunks) and _chunk_path(key) in stored:
            done[key] = int(mark["crc32c"])
    return done


def _chunk_path(key: str) -> str:
    """Where Zarr keeps a chunk inside the output."""
    return f"{FRAMES}/pixels/c/{key.replace('.', '/')}/0"


def frames_entry(spec: FrameSpec, checksums: dict[str, int]) -> FramesEntry:
    """The manifest's entry for a frame store with all its chunks.

    Raises:
        OutputIncompleteError: A chunk is missing.
    """
    missing = [key for key in map(chunk_key, spec.indices()) if key not in checksums]
    if missing:
        raise OutputIncompleteError(
            f"{len(missing)} chunks are missing, the first is {missing[0]}", missing=missing[:20]
        )
    return FramesEntry(spec.shape, spec.dtype, (*spec.chunks, spec.shape[3]), checksums, spec.attributes)


def _pixels(place: OutputPlace, spec: FrameSpec, *, read_only: bool) -> Any:
    """The array of an output's pixels. Of object stores it is remembered: opening takes several requests."""
    if place.storage.is_local or not place.storage.is_shared:
        return _open_pixels(place, read_only=read_only)
    return _remembered(place, (spec.shape, spec.dtype, spec.chunks), read_only, place.storage.access)


@lru_cache(maxsize=64)
def _remembered(place: OutputPlace, _layout: object, read_only: bool, _access: str) -> Any:
    return _open_pixels(place, read_only=read_only)


def _open_pixels(place: OutputPlace, *, read_only: bool) -> Any:
    import zarr

    store = _zarr_store(place, read_only=read_only)
    array = zarr.open_array(store, path="pixels", mode="r" if read_only else "r+", zarr_format=3)
    return array.with_config({"write_empty_chunks": True})  # Zarr does not keep this with the array


class FrameReader:
    """Reads boxes of a finished frame store; every chunk it touches is checked against the manifest.

    Raises:
        OutputIncompleteError: The output has no manifest or holds no frames.
    """

    def __init__(self, place: OutputPlace) -> None:
        entry = read_manifest(place).frames
        if entry is None:
            raise OutputIncompleteError(
                f"output {place.fingerprint[:12]}… holds no frames", fingerprint=place.fingerprint
            )
        self.place = place
        self.entry = entry
        t, y, x, _ = entry.chunks
        self.spec = FrameSpec(entry.shape, entry.dtype, (t, y, x), entry.attributes)
        with self._reading(None):
            self._array = _pixels(place, self.spec, read_only=True)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        return self.entry.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(self.entry.dtype)

    def read(self, box: Box | None = None) -> Pixels:
        """The values of a box of (frames, rows, columns), all channels; the whole without one.

        Raises:
            OutputDamagedError: A chunk is missing or not what was written.
        """
        wanted = box or tuple(slice(0, extent) for extent in self.shape[:3])
        result = np.empty((*(part.stop - part.start for part in wanted), self.shape[3]), dtype=self.dtype)
        ranges = (
            range(part.start // chunk, -(-part.stop // chunk))
            for part, chunk in zip(wanted, self.spec.chunks, strict=True)
        )
        for t, y, x in product(*ranges):
            self._copy((t, y, x), (wanted[0], wanted[1], wanted[2]), result)
        return result

    def _copy(self, index: Index, wanted: Box, result: Pixels) -> None:
        held = self.spec.box(index)
        values = self._chunk(index, held)
        source, target = [], []
        for have, want in zip(held, wanted, strict=True):
            start, stop = max(have.start, want.start), min(have.stop, want.stop)
            source.append(slice(start - have.start, stop - have.start))
            target.append(slice(start - want.start, stop - want.start))
        result[tuple(target)] = values[tuple(source)]

    def _chunk(self, index: Index, box: Box) -> Pixels:
        with self._reading(index):
            values: Pixels = np.ascontiguousarray(self._array[box])
        if google_crc32c.value(values.tobytes()) != self.entry.checksums[chunk_key(index)]:
            raise self._damaged(index)
        return values

    @contextmanager
    def _reading(self, index: Index | None) -> Iterator[None]:
        try:
            with self.place.storage.serving(f"read output {self.place.fingerprint[:12]}…"):
                yield
        except (*UNREADABLE, FileNotFoundError) as error:
            raise self._damaged(index) from error
        except StorageUnavailableError as error:
            cause = error.__cause__  # s3fs makes the same of every server error that it does not know
            if self.place.storage.is_local and isinstance(cause, OSError) and cause.errno == errno.EIO:  # a lost sector
                raise self._damaged(index) from error
            raise

    def _damaged(self, index: Index | None) -> OutputDamagedError:
        what = "the description" if index is None else f"chunk {chunk_key(index)}"
        return OutputDamagedError(
            f"{what} of output {self.place.fingerprint[:12]}… is missing or was changed in the storage; it is made "
            "again",
            fingerprint=self.place.fingerprint,
            chunk=None if index is None else chunk_key(index),
        )
