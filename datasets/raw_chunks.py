"""Chunks on a local disk: what Zarr would write and read, without its copies and its event loop.

A chunk is its values in C order, little-endian, padded with zeros to the whole chunk, packed by Blosc where they are
kept, and a crc32c (Zarr v3 core specification, codecs ``bytes``, ``blosc`` and ``crc32c``). A clip writes and reads
gigabytes of them, and a catalogue a hundred thousand small ones.
"""

import math
from typing import Any, cast

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from datasets.frame_spec import PIXELS, FrameSpec, Index, Pixels
from datasets.outputs import FRAMES, OutputPlace

CRC_BYTES = 4
PACKING: Any = {"cname": "zstd", "clevel": 1}  # of Blosc, beside shuffling bits


def is_raw(place: OutputPlace) -> bool:
    """Whether the chunks of an output can be written and read here."""
    return place.storage.is_local


def crc_of(data: NDArray[np.uint8]) -> bytes:
    """The end of a chunk with these bytes."""
    return int(google_crc32c.value(cast("bytes", data))).to_bytes(CRC_BYTES, "little")


def _packer(dtype: str) -> Any:
    """As the arrays' descriptions say it."""
    from numcodecs import Blosc

    return Blosc(**PACKING, shuffle=Blosc.BITSHUFFLE, typesize=np.dtype(dtype).itemsize)


def chunk_path(name: str, index: Index) -> str:
    """Where Zarr keeps a chunk of an array, inside the output."""
    t, y, x = index
    return f"{FRAMES}/{name}/c/" + (f"{t}/{y}/{x}/0" if name == PIXELS else f"{t}/0/0")


def write_raw(place: OutputPlace, spec: FrameSpec, name: str, index: Index, values: Pixels) -> None:
    """Write one chunk of an array, C-contiguous and of the shape of its box.

    Raises:
        StorageUnavailableError: The disk did not take it.
    """
    whole = spec.array_chunks(name)
    if values.shape != whole:
        padded = np.zeros(whole, values.dtype)
        padded[tuple(map(slice, values.shape))] = values
        values = padded
    data = values.astype(values.dtype.newbyteorder("<"), copy=False).reshape(-1).view(np.uint8)
    if spec.kept:
        data = np.frombuffer(_packer(spec.dtype).encode(data), np.uint8)
    crc = crc_of(data)
    place.storage.write_bytes(place.inside(chunk_path(name, index)), data.data, crc, durable=False)


def read_raw(place: OutputPlace, spec: FrameSpec, name: str, index: Index) -> Pixels:
    """The values of one chunk of an array, C-contiguous. To be checked against the manifest; their crc32c says less.

    Raises:
        FileNotFoundError: There is no such chunk.
        ValueError, RuntimeError: It is not as long as it has to be, or cannot be unpacked.
    """
    whole, dtype = spec.array_chunks(name), np.dtype(spec.dtype).newbyteorder("<")
    path = place.storage.path(place.inside(chunk_path(name, index)))
    data = np.fromfile(path, np.uint8)
    if spec.kept:
        data = _unpacked(data, spec.dtype, path)
    if len(data) != math.prod(whole) * dtype.itemsize + CRC_BYTES:
        raise ValueError(f"{path} holds {len(data)} bytes")
    values = data[:-CRC_BYTES].view(dtype).reshape(whole).astype(spec.dtype, copy=False)
    box = (part.indices(extent) for part, extent in zip(spec.array_box(name, index), spec.arrays[name], strict=False))
    return np.ascontiguousarray(values[tuple(slice(len(range(*each))) for each in box)])


def _unpacked(data: NDArray[np.uint8], dtype: str, path: str) -> NDArray[np.uint8]:
    """The values of a packed chunk and its crc32c, which is looked at first: a broken head may promise any size."""
    packed, crc = data[:-CRC_BYTES], data[-CRC_BYTES:]
    if crc_of(packed) != crc.tobytes():
        raise ValueError(f"{path} does not hold what was written")
    return np.concatenate([np.frombuffer(_packer(dtype).decode(packed), np.uint8), crc])
