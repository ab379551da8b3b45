"""Chunks that are not compressed, on a local disk: what Zarr would write and read, without its copies.

A chunk is its values in C order, little-endian, padded with zeros to the whole chunk, and their crc32c (Zarr v3 core
specification, codecs ``bytes`` and ``crc32c``). A clip writes and reads gigabytes of them.
"""

import math
from typing import cast

import google_crc32c
import numpy as np

from datasets.frame_spec import PIXELS, FrameSpec, Index, Pixels
from datasets.outputs import FRAMES, OutputPlace

CRC_BYTES = 4


def is_raw(place: OutputPlace, spec: FrameSpec) -> bool:
    """Whether the chunks of an output can be written and read here."""
    return place.storage.is_local and not spec.kept


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
    crc = int(google_crc32c.value(cast("bytes", data))).to_bytes(CRC_BYTES, "little")
    place.storage.write_bytes(place.inside(chunk_path(name, index)), data.data, crc, durable=False)


def read_raw(place: OutputPlace, spec: FrameSpec, name: str, index: Index) -> Pixels:
    """The values of one chunk of an array, C-contiguous. To be checked against the manifest, not against their crc32c.

    Raises:
        FileNotFoundError: There is no such chunk.
        ValueError: It is not as long as it has to be.
    """
    whole, dtype = spec.array_chunks(name), np.dtype(spec.dtype).newbyteorder("<")
    path = place.storage.path(place.inside(chunk_path(name, index)))
    data = np.fromfile(path, np.uint8)
    if len(data) != math.prod(whole) * dtype.itemsize + CRC_BYTES:
        raise ValueError(f"{path} holds {len(data)} bytes")
    values = data[:-CRC_BYTES].view(dtype).reshape(whole).astype(spec.dtype, copy=False)
    box = (part.indices(extent) for part, extent in zip(spec.array_box(name, index), spec.arrays[name], strict=False))
    return np.ascontiguousarray(values[tuple(slice(len(range(*each))) for each in box)])
