"""Frame stores: the pixels of a clip or photograph as a Zarr v3 group with checksums, written chunk by chunk.

Pixels are one array (T, H, W, C) uint8 or uint16 in RGB order, straight alpha last, or the decoder's own planes, one
array each. ``pts`` and ``durations`` are int64 (T,). Every chunk carries a crc32c in its codec (it notices flipped
bits) and another in the manifest (it notices a missing or swapped chunk, which Zarr itself would read as zeros).
"""

import errno
import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import cache, lru_cache
from itertools import product
from typing import TYPE_CHECKING, Any, cast

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from datasets.errors import FrameShapeError, OutputDamagedError, OutputIncompleteError, StorageUnavailableError
from datasets.frame_spec import PIXELS, Box, FrameSpec, Index, Pixels, chunk_key
from datasets.object_store import S3, open_filesystem
from datasets.outputs import FRAMES, MARKS, FramesEntry, Manifest, OutputPlace, read_manifest
from datasets.planar import Planes
from datasets.raw_chunks import PACKING, chunk_path, crc_of, is_raw, read_raw, write_raw

if TYPE_CHECKING:  # imported on use: a run whose stages are all cached opens no array
    from zarr.storage import FsspecStore, LocalStore

# What Zarr raises on bytes that are not what was written: bad JSON, bad fields, bad checksums, bad codecs.
UNREADABLE = (ValueError, TypeError, LookupError, ArithmeticError, RuntimeError)
TIMES = ("pts", "durations")  # int64 (T,), in ticks of the time base
Times = tuple[NDArray[np.int64], NDArray[np.int64]]


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


def create_frames(place: OutputPlace, spec: FrameSpec, times: Times | None = None) -> FrameSpec:
    """Lay out an empty frame store; one that an interrupted run began keeps the chunks it began with.

    Args:
        times: When every frame is shown and for how long, int64 (T,) each; one tick after the other without.

    Raises:
        StorageUnavailableError: The storage does not take it.
    """
    with place.storage.serving(f"lay out the frames of output {place.fingerprint[:12]}…"):
        try:
            return _lay_out(place, spec, times)
        except UNREADABLE:  # what an interrupted run left there cannot be read
            place.discard()
            return _lay_out(place, spec, times)


def _lay_out(place: OutputPlace, spec: FrameSpec, times: Times | None) -> FrameSpec:
    if is_raw(place) and spec.shape[0] and not place.storage.exists(place.inside(FRAMES)):
        return _lay_out_here(place, spec, times)
    import zarr

    store = _zarr_store(place, read_only=False)
    *_, last = spec.arrays
    with suppress(FileNotFoundError):
        begun = zarr.open_array(store, path=last, mode="r+", zarr_format=3)  # made last: all else is there
        if not _same_attributes(store, spec):  # of another clip's times, for example
            raise ValueError("what is there was begun for other frames")
        height, width = begun.chunks[1:3] if last == PIXELS else spec.chunks[1:]
        return replace(spec, chunks=(begun.chunks[0], height, width))
    remains = bool(place.storage.list_tree(place.inside(FRAMES)))  # looked for by Zarr, it costs ten requests
    group = zarr.open_group(
        store, mode="a", zarr_format=3, use_consolidated=False, attributes=cast("dict[str, Any]", spec.attributes)
    )
    ticks = np.arange(spec.shape[0], dtype=np.int64)
    for name, values in zip(TIMES, times or (ticks, np.ones_like(ticks)), strict=True):
        _create_array(group, name, values.shape, values.shape, "int64", kept=False, overwrite=remains)[:] = values
    for name, shape in spec.arrays.items():
        _create_array(group, name, shape, spec.array_chunks(name), spec.dtype, kept=spec.kept, overwrite=remains)
    return spec


def _lay_out_here(place: OutputPlace, spec: FrameSpec, times: Times | None) -> FrameSpec:
    """On a local disk where nothing is yet: the same files that Zarr would write, without its event loop."""
    ticks = np.arange(spec.shape[0], dtype=np.int64)
    _put(place, "zarr.json", json.dumps({**json.loads(_group_described()), "attributes": dict(spec.attributes)}))
    for name, values in zip(TIMES, times or (ticks, np.ones_like(ticks)), strict=True):
        data = np.ascontiguousarray(values, "<i8").view(np.uint8)
        _put(place, f"{name}/c/0", data.tobytes() + crc_of(data))
        _put(place, f"{name}/zarr.json", _description(values.shape, values.shape, "int64", kept=False))
    for name, shape in spec.arrays.items():  # the last one last: what is there then is whole
        _put(place, f"{name}/zarr.json", _description(shape, spec.array_chunks(name), spec.dtype, kept=spec.kept))
    return spec


def _put(place: OutputPlace, name: str, data: str | bytes) -> None:
    data = data.encode() if isinstance(data, str) else data
    place.storage.write_bytes(place.inside(f"{FRAMES}/{name}"), data, durable=False)


def _description(shape: tuple[int, ...], chunks: tuple[int, ...], dtype: str, *, kept: bool) -> str:
    described = json.loads(_array_described(len(shape), dtype, kept))
    described["shape"] = list(shape)
    described["chunk_grid"]["configuration"]["chunk_shape"] = list(chunks)
    return json.dumps(described)


@cache
def _array_described(axes: int, dtype: str, kept: bool) -> bytes:
    """What Zarr writes about such an array."""
    import zarr
    from zarr.storage import MemoryStore

    store = MemoryStore()
    ones = (1,) * axes
    _create_array(zarr.open_group(store, mode="w", zarr_format=3), "a", ones, ones, dtype, kept=kept, overwrite=False)
    return bytes(store._store_dict["a/zarr.json"].to_bytes())


@cache
def _group_described() -> bytes:
    """What Zarr writes about a group."""
    import zarr
    from zarr.storage import MemoryStore

    store = MemoryStore()
    zarr.open_group(store, mode="w", zarr_format=3)
    return bytes(store._store_dict["zarr.json"].to_bytes())


def _same_attributes(store: Any, spec: FrameSpec) -> bool:
    import zarr

    group = zarr.open_group(store, mode="r", zarr_format=3, use_consolidated=False)
    kept, wanted = (json.dumps(values, sort_keys=True) for values in (dict(group.attrs), dict(spec.attributes)))
    return kept == wanted


def _create_array(
    group: Any, name: str, shape: tuple[int, ...], chunks: tuple[int, ...], dtype: str, *, kept: bool, overwrite: bool
) -> Any:
    from zarr.codecs import BloscCodec, BloscShuffle, Crc32cCodec

    packed = (BloscCodec(**PACKING, shuffle=BloscShuffle.bitshuffle),) if kept else ()
    return group.create_array(
        name,
        shape=shape,
        chunks=chunks,
        dtype=dtype,
        compressors=(*packed, Crc32cCodec()),
        fill_value=0,
        config={"write_empty_chunks": True},
        overwrite=overwrite,
    )


def resize_frames(place: OutputPlace, spec: FrameSpec, frames: int) -> FrameSpec:
    """Give a frame store that is being written another number of frames: a container may promise more than it holds."""
    if frames == spec.shape[0]:
        return spec
    with place.storage.serving(f"resize the frames of output {place.fingerprint[:12]}…"):
        for name, shape in spec.arrays.items():
            open_array(place, name, read_only=False).resize((frames, *shape[1:]))
    return replace(spec, shape=(frames, *spec.shape[1:]))


def write_times(place: OutputPlace, pts: NDArray[np.int64], durations: NDArray[np.int64]) -> None:
    """Write when every frame is shown and for how long, both int64 (T,), in ticks of the time base.

    The arrays are made anew, since the number of frames may have changed.
    """
    import zarr

    with place.storage.serving(f"write the times of output {place.fingerprint[:12]}…"):
        group = zarr.open_group(_zarr_store(place, read_only=False), mode="r+", zarr_format=3, use_consolidated=False)
        for name, values in zip(TIMES, (pts, durations), strict=True):
            whole = np.asarray(values, dtype=np.int64)
            _create_array(group, name, whole.shape, whole.shape, "int64", kept=False, overwrite=True)[:] = whole


def write_chunk(place: OutputPlace, spec: FrameSpec, index: Index, values: Pixels | Planes) -> int:
    """Write one whole chunk and its mark; returns the crc32c of the raw values, of all planes in their order.

    Raises:
        FrameShapeError: The values do not fill exactly this chunk.
        StorageUnavailableError: The storage did not take them.
    """
    parts = values if isinstance(values, dict) else {PIXELS: values}
    crc = 0
    for name in spec.arrays:
        part = np.ascontiguousarray(_checked(spec, name, index, parts))
        crc = int(google_crc32c.extend(crc, cast("bytes", part)))
        if is_raw(place):
            write_raw(place, spec, name, index, part)
            continue
        with place.storage.serving(f"write chunk {chunk_key(index)}"):
            _array(place, spec, name, read_only=False)[spec.array_box(name, index)] = part
    mark = {"crc32c": crc, "chunks": list(spec.chunks)}
    name = place.inside(f"{MARKS}/{chunk_key(index)}.json")
    place.storage.write_bytes(name, json.dumps(mark).encode(), durable=False)  # readers check what it promises
    return crc


def _checked(spec: FrameSpec, name: str, index: Index, parts: Planes) -> Pixels:
    expected = tuple(
        len(range(*part.indices(extent)))
        for part, extent in zip(spec.array_box(name, index), spec.arrays[name], strict=False)
    ) + ((spec.shape[3],) if name == PIXELS else ())
    values = parts.get(name)
    if values is None or values.shape != expected or values.dtype != spec.dtype:
        came = "nothing" if values is None else f"{values.shape} {values.dtype}"
        raise FrameShapeError(
            f"chunk {chunk_key(index)} of {name} holds {expected} {spec.dtype}, got {came}", chunk=chunk_key(index)
        )
    return values


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
        if mark.get("chunks") == list(spec.chunks) and stored.keys() >= _chunk_paths(spec, key):
            done[key] = int(mark["crc32c"])
    return done


def read_finished_planes(place: OutputPlace, spec: FrameSpec, index: Index, checksum: int) -> Planes | None:
    """A chunk of planes of an output that is not finished itself; None if it is not what was written."""
    planes: Planes = {}
    crc = 0
    try:
        with place.storage.serving(f"read chunk {chunk_key(index)}"):
            arrays = _arrays(place, spec)
            for name in spec.arrays:
                planes[name] = _read_part(arrays, place, spec, name, index)
                crc = int(google_crc32c.extend(crc, cast("bytes", planes[name])))
    except (*UNREADABLE, FileNotFoundError):
        return None
    return planes if crc == checksum else None


def _chunk_paths(spec: FrameSpec, key: str) -> set[str]:
    """Where Zarr keeps a chunk inside the output: one object for every array."""
    t, y, x = map(int, key.split("."))
    return {chunk_path(name, (t, y, x)) for name in spec.arrays}


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


def _arrays(place: OutputPlace, spec: FrameSpec) -> dict[str, Any]:
    """The Zarr arrays that a reader reads from; none where it needs no Zarr."""
    return {} if is_raw(place) else {name: _array(place, spec, name, read_only=True) for name in spec.arrays}


def _read_part(arrays: dict[str, Any], place: OutputPlace, spec: FrameSpec, name: str, index: Index) -> Pixels:
    """One chunk of one array, not checked against anything."""
    if name not in arrays:
        return read_raw(place, spec, name, index)
    values: Pixels = np.ascontiguousarray(arrays[name][spec.array_box(name, index)])
    return values


def _array(place: OutputPlace, spec: FrameSpec, name: str, *, read_only: bool) -> Any:
    """One array of an output's pixels. Of object stores it is remembered: opening takes several requests."""
    if place.storage.is_local or not place.storage.is_shared:
        return open_array(place, name, read_only=read_only)
    return _remembered(place, (spec.shape, spec.dtype, spec.chunks), name, read_only, place.storage.access)


@lru_cache(maxsize=64)
def _remembered(place: OutputPlace, _layout: object, name: str, read_only: bool, _access: str) -> Any:
    return open_array(place, name, read_only=read_only)


def _check_descriptions(place: OutputPlace, manifest: Manifest) -> None:
    """Once for every process and output where it takes requests; what is wrong raises and is not remembered."""
    if place.storage.is_local or not place.storage.is_shared:
        place.check_descriptions(manifest)
    else:
        _found_right(place, tuple(sorted(manifest.descriptions.items())), place.storage.access)


@lru_cache(maxsize=64)
def _found_right(place: OutputPlace, descriptions: tuple[tuple[str, str], ...], _access: str) -> None:
    place.check_descriptions(Manifest(place.fingerprint, "", {}, descriptions=dict(descriptions)))


def open_array(place: OutputPlace, name: str, *, read_only: bool) -> Any:
    import zarr

    store = _zarr_store(place, read_only=read_only)
    array = zarr.open_array(store, path=name, mode="r" if read_only else "r+", zarr_format=3)
    return array.with_config({"write_empty_chunks": True})  # Zarr does not keep this with the array


def _checked_entry(place: OutputPlace) -> FramesEntry:
    """What the manifest says of the frames, once their descriptions were found to be what was written."""
    manifest = read_manifest(place)
    if manifest.frames is None:
        raise OutputIncompleteError(f"output {place.fingerprint[:12]}… holds no frames", fingerprint=place.fingerprint)
    _check_descriptions(place, manifest)
    return manifest.frames


class FrameReader:
    """Reads boxes of a frame store; every chunk it touches is checked against the manifest.

    Args:
        place: The output.
        entry: Of the chunks that are finished, where the output itself is not and has no manifest yet.

    Raises:
        OutputIncompleteError: The output has no manifest or holds no frames.
    """

    def __init__(self, place: OutputPlace, entry: FramesEntry | None = None) -> None:
        entry = entry or _checked_entry(place)
        self.place = place
        self.entry = entry
        t, y, x, _ = entry.chunks
        self.spec = FrameSpec(entry.shape, entry.dtype, (t, y, x), entry.attributes)
        with self._reading(None):
            self._arrays = _arrays(place, self.spec)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        return self.entry.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(self.entry.dtype)

    def times(self) -> Times:
        """When every frame is shown and for how long, int64 (T,) each, in ticks of the time base."""
        with self._reading(None):
            pts, durations = (open_array(self.place, name, read_only=True)[:] for name in TIMES)
        return pts, durations

    def read_planes(self, start: int, stop: int) -> Planes:
        """Planes of the frames ``start <= t < stop`` of a planar store.

        Raises:
            OutputDamagedError: A chunk is missing or not what was written.
        """
        frames = self.spec.chunks[0]
        result = {
            name: np.empty((stop - start, *shape[1:]), dtype=self.dtype) for name, shape in self.spec.arrays.items()
        }
        for t in range(start // frames, -(-stop // frames)):
            first = t * frames
            have = self._parts((t, 0, 0))
            for name, values in have.items():
                end = first + len(values)
                low, high = max(start, first), min(stop, end)
                result[name][low - start : high - start] = values[low - first : high - first]
        return result

    def read(self, box: Box | None = None) -> Pixels:
        """The values of a box of (frames, rows, columns), all channels; the whole without one. Of a store in RGB.

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
        values = self._chunk(index)
        source, target = [], []
        for have, want in zip(held, wanted, strict=True):
            start, stop = max(have.start, want.start), min(have.stop, want.stop)
            source.append(slice(start - have.start, stop - have.start))
            target.append(slice(start - want.start, stop - want.start))
        result[tuple(target)] = values[tuple(source)]

    def _chunk(self, index: Index) -> Pixels:
        return self._parts(index)[PIXELS]

    def _parts(self, index: Index) -> Planes:
        """One chunk of all arrays, checked against the manifest."""
        parts: Planes = {}
        crc = 0
        for name in self.spec.arrays:
            with self._reading(index):
                parts[name] = _read_part(self._arrays, self.place, self.spec, name, index)
            crc = int(google_crc32c.extend(crc, cast("bytes", parts[name])))
        if crc != self.entry.checksums[chunk_key(index)]:
            raise self._damaged(index)
        return parts

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
