"""Chunks that are written and read without Zarr are the ones that Zarr writes and reads."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets import frames as frames_module
from datasets.errors import OutputDamagedError
from datasets.frame_spec import FrameSpec, Index, planar_spec, rgb_spec, still_spec
from datasets.frames import FrameReader, create_frames, frames_entry, write_chunk
from datasets.outputs import FRAMES, OutputPlace
from datasets.planar import PLANAR, Planes
from datasets.storage import Storage

FORMATS = ["yuv420p", "yuv420p10le", "yuva444p16le", "gray", "yuv411p", "gbrp"]
SIZES = (st.integers(1, 20), st.integers(1, 9), st.integers(1, 9))
SPECS = st.one_of(
    st.builds(planar_spec, *SIZES, st.sampled_from(FORMATS).map(PLANAR.__getitem__)),
    st.builds(rgb_spec, *SIZES, st.sampled_from([3, 4]), st.sampled_from(["uint8", "uint16"])),
    st.builds(still_spec, *SIZES[1:], st.sampled_from([3, 4]), st.sampled_from(["uint8", "uint16"])),
)


def filled(spec: FrameSpec, seed: int) -> Planes:
    rng, top = np.random.default_rng(seed), 255 if spec.dtype == "uint8" else 1023
    return {name: rng.integers(0, top, shape).astype(spec.dtype) for name, shape in spec.arrays.items()}


def chunk_of(spec: FrameSpec, values: Planes, index: Index) -> Planes:
    return {name: np.ascontiguousarray(each[spec.array_box(name, index)]) for name, each in values.items()}


def store(folder: str, spec: FrameSpec, values: Planes, *, raw: bool) -> tuple[OutputPlace, dict[str, int]]:
    place = OutputPlace(Storage(folder, "shop"), "a" * 64)
    checksums = {}
    with pytest.MonkeyPatch.context() as patched:
        if not raw:
            patched.setattr(frames_module, "is_raw", lambda *_: False)
        create_frames(place, spec)
        for index in spec.indices():
            checksums[".".join(map(str, index))] = write_chunk(place, spec, index, chunk_of(spec, values, index))
    return place, checksums


def files(folder: Path) -> dict[str, Any]:
    """Bytes of every file, and what the descriptions say."""
    found = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return {name: json.loads(data) if name.endswith(".json") else data for name, data in found.items()}


@settings(max_examples=30, deadline=None)
@given(spec=SPECS, seed=st.integers(0, 2**32 - 1))
def test_the_same_files_as_zarr_writes(spec: FrameSpec, seed: int) -> None:
    values = filled(spec, seed)
    with TemporaryDirectory() as first, TemporaryDirectory() as second:
        made, checksums = store(first, spec, values, raw=True)
        zarrs, others = store(second, spec, values, raw=False)
        assert checksums == others
        ours, theirs = (Path(place.storage.path(place.inside(FRAMES))) for place in (made, zarrs))
        assert files(ours) == files(theirs)
        for name, expected in values.items():
            assert np.array_equal(zarr.open_array(str(ours / name), mode="r")[:], expected)
        reader = FrameReader(zarrs, frames_entry(spec, others))
        if spec.planar is None:
            assert np.array_equal(reader.read(), values["pixels"])
        else:
            planes = reader.read_planes(0, spec.shape[0])
            assert all(np.array_equal(planes[name], expected) for name, expected in values.items())


@pytest.mark.parametrize("damage", ["flipped", "short", "long", "missing"])
def test_what_is_not_what_was_written_is_noticed(damage: str, tmp_path: Path) -> None:
    spec = planar_spec(12, 6, 10, PLANAR["yuv420p"])
    place, checksums = store(str(tmp_path), spec, filled(spec, 1), raw=True)
    path = Path(place.storage.path(place.inside(FRAMES))) / "u" / "c" / "1" / "0" / "0"
    data = path.read_bytes()
    if damage == "flipped":
        path.write_bytes(bytes([data[0] ^ 1]) + data[1:])
    elif damage == "missing":
        path.unlink()
    else:
        path.write_bytes(data[:-1] if damage == "short" else data + b"0")
    reader = FrameReader(place, frames_entry(spec, checksums))
    reader.read_planes(0, 8)
    with pytest.raises(OutputDamagedError, match=r"1\.0\.0"):
        reader.read_planes(6, 10)
