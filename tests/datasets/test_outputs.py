"""Outputs: present only when whole; frame stores read what was written or refuse."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from datasets.errors import FrameShapeError, OutputDamagedError, OutputIncompleteError
from datasets.frame_spec import FrameSpec, Pixels, chunk_key, still_spec
from datasets.frames import FrameReader, create_frames, finished_chunks, frames_entry, write_chunk
from datasets.identity import digest_bytes
from datasets.notices import Notice
from datasets.object_store import object_store_options
from datasets.outputs import Manifest, OutputPlace, clear_damage, find_output, read_manifest
from datasets.settings import read_settings
from datasets.storage import open_storage

NAME = digest_bytes(b"an output")
FAULTS = 0.05  # share of requests that the S3 service fails


@pytest.fixture(params=["disk", "memory", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> OutputPlace:
    if request.param == "s3":
        server = request.getfixturevalue("s3_root")
        server.rate = FAULTS
        read = read_settings()
        return OutputPlace(open_storage(read.storage_root, "default", object_store_options(read)), NAME)
    root = str(tmp_path) if request.param == "disk" else f"memory://{tmp_path.name}"
    return OutputPlace(open_storage(root, "default"), NAME)


def ramp(spec: FrameSpec) -> Pixels:
    """Values that differ everywhere, so that a swapped or shifted chunk shows."""
    return (
        (np.arange(np.prod(spec.shape)) % 65521 % (256 if spec.dtype == "uint8" else 65536))
        .reshape(spec.shape)
        .astype(spec.dtype)
    )


def store(place: OutputPlace, spec: FrameSpec) -> Pixels:
    values = ramp(spec)
    create_frames(place, spec)
    checksums = {chunk_key(index): write_chunk(place, spec, index, values[spec.box(index)]) for index in spec.indices()}
    manifest = Manifest(
        fingerprint=place.fingerprint,
        stage="test",
        objects=place.stored_objects(),
        frames=frames_entry(spec, checksums),
        facts={"width": spec.shape[2]},
        notices=(Notice("no_object", "Nothing was found.", {"coverage": 0.25}),),
    )
    place.finish(manifest)
    return values


def test_a_manifest_comes_back_as_it_was_written(place: OutputPlace) -> None:
    store(place, still_spec(5, 7, 3, "uint8"))
    again = find_output(place)
    assert again is not None
    assert Manifest.from_json(again.to_json()) == again
    assert again.notices[0].facts == {"coverage": 0.25}
    assert again.frames is not None
    assert again.frames.shape == (1, 5, 7, 3)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_any_box_of_any_store_reads_what_was_written(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    shape = tuple(data.draw(st.integers(1, limit)) for limit in (5, 40, 40, 4))
    chunks = tuple(data.draw(st.integers(1, 12)) for _ in range(3))
    spec = FrameSpec(
        (shape[0], shape[1], shape[2], shape[3]),
        data.draw(st.sampled_from(["uint8", "uint16"])),
        (chunks[0], chunks[1], chunks[2]),
    )
    name = digest_bytes(repr(spec).encode())
    own = OutputPlace(open_storage(f"memory://{tmp_path_factory.getbasetemp().name}", "default"), name)
    values = store(own, spec)
    box = []
    for extent in spec.shape[:3]:
        start = data.draw(st.integers(0, extent - 1))
        box.append(slice(start, data.draw(st.integers(start + 1, extent))))
    assert np.array_equal(FrameReader(own).read((box[0], box[1], box[2])), values[tuple(box)])
    own.discard()


def test_without_a_manifest_there_is_nothing(place: OutputPlace) -> None:
    spec = still_spec(5, 7, 3, "uint8")
    create_frames(place, spec)
    write_chunk(place, spec, (0, 0, 0), ramp(spec))
    assert find_output(place) is None
    with pytest.raises(OutputIncompleteError):
        FrameReader(place)


def test_a_deleted_chunk_makes_the_output_absent(place: OutputPlace) -> None:
    store(place, FrameSpec((1, 20, 20, 3), "uint8", (1, 10, 10)))
    place.storage.remove_tree(place.inside("frames.zarr/pixels/c/0/1/0/0"))
    assert find_output(place) is None
    clear_damage(place)
    assert place.stored_objects() == {}


def test_what_an_interrupted_run_began_is_no_damage(place: OutputPlace) -> None:
    spec = FrameSpec((1, 20, 20, 3), "uint8", (1, 10, 10))
    create_frames(place, spec)
    write_chunk(place, spec, (0, 0, 1), ramp(spec)[spec.box((0, 0, 1))])
    clear_damage(place)
    assert list(finished_chunks(place, spec)) == ["0.0.1"]


def test_a_marked_chunk_that_is_gone_is_not_finished(place: OutputPlace) -> None:
    spec = FrameSpec((1, 20, 20, 3), "uint8", (1, 10, 10))
    create_frames(place, spec)
    write_chunk(place, spec, (0, 0, 1), ramp(spec)[spec.box((0, 0, 1))])
    place.storage.remove_tree(place.inside("frames.zarr/pixels/c/0/0/1/0"))
    assert finished_chunks(place, spec) == {}


def test_a_chunk_deleted_after_the_look_is_noticed_when_it_is_read(place: OutputPlace) -> None:
    store(place, FrameSpec((1, 20, 20, 3), "uint8", (1, 10, 10)))
    reader = FrameReader(place)
    place.storage.remove_tree(place.inside("frames.zarr/pixels/c/0/1/0/0"))
    assert reader.read((slice(0, 1), slice(0, 10), slice(0, 20))).shape == (1, 10, 20, 3)
    with pytest.raises(OutputDamagedError, match=r"0\.1\.0"):
        reader.read()


def test_a_flipped_bit_is_noticed_wherever_it_is(place: OutputPlace) -> None:
    store(place, FrameSpec((1, 16, 16, 3), "uint8", (1, 16, 16)))
    path = place.inside("frames.zarr/pixels/c/0/0/0/0")
    good = place.storage.read_bytes(path)
    for position in range(0, len(good), max(1, len(good) // 50)):
        bad = bytearray(good)
        bad[position] ^= 1 << (position % 8)
        place.storage.write_bytes(path, bytes(bad))
        with pytest.raises(OutputDamagedError):
            FrameReader(place).read()


def test_two_swapped_chunks_are_noticed(place: OutputPlace) -> None:
    store(place, FrameSpec((1, 10, 20, 3), "uint8", (1, 10, 10)))
    first, second = (place.inside(f"frames.zarr/pixels/c/0/0/{x}/0") for x in (0, 1))
    one, two = place.storage.read_bytes(first), place.storage.read_bytes(second)
    place.storage.write_bytes(first, two)
    place.storage.write_bytes(second, one)
    with pytest.raises(OutputDamagedError):
        FrameReader(place).read()


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"version": 1}', b'{"version": 99}'])
def test_a_damaged_manifest_counts_as_none(place: OutputPlace, damage: bytes) -> None:
    store(place, still_spec(5, 7, 3, "uint8"))
    place.storage.write_bytes(place.inside("manifest.json"), damage)
    assert find_output(place) is None


def test_a_manifest_of_something_else_is_refused(place: OutputPlace) -> None:
    store(place, still_spec(5, 7, 3, "uint8"))
    other = OutputPlace(place.storage, digest_bytes(b"another"))
    other.storage.write_bytes(other.inside("manifest.json"), place.storage.read_bytes(place.inside("manifest.json")))
    with pytest.raises(OutputIncompleteError, match="something else"):
        read_manifest(other)


def test_a_missing_chunk_keeps_the_manifest_from_being_made() -> None:
    spec = FrameSpec((1, 20, 20, 3), "uint8", (1, 10, 10))
    with pytest.raises(OutputIncompleteError, match="3 chunks"):
        frames_entry(spec, {"0.0.0": 1})


def test_marks_tell_what_an_interrupted_run_finished(place: OutputPlace) -> None:
    spec = FrameSpec((1, 20, 20, 3), "uint8", (1, 10, 10))
    values = ramp(spec)
    create_frames(place, spec)
    crc = write_chunk(place, spec, (0, 0, 1), values[spec.box((0, 0, 1))])
    assert finished_chunks(place, spec) == {"0.0.1": crc}
    assert finished_chunks(place, replace(spec, chunks=(1, 5, 5))) == {}


def test_a_black_chunk_is_stored_and_counts_as_finished(place: OutputPlace) -> None:
    spec = create_frames(place, FrameSpec((1, 4, 8, 3), "uint8", (1, 4, 4)))
    write_chunk(place, spec, (0, 0, 1), np.zeros((1, 4, 4, 3), np.uint8))
    assert "frames.zarr/pixels/c/0/0/1/0" in place.stored_objects()
    assert list(finished_chunks(place, spec)) == ["0.0.1"]


def test_a_resumed_store_keeps_the_chunks_it_began_with(place: OutputPlace) -> None:
    begun = create_frames(place, FrameSpec((1, 20, 20, 3), "uint8", (1, 10, 10)))
    again = create_frames(place, FrameSpec((1, 20, 20, 3), "uint8", (1, 5, 5)))
    assert again.chunks == begun.chunks == (1, 10, 10)


def test_what_an_interrupted_removal_left_is_not_taken_over(place: OutputPlace) -> None:
    old = FrameSpec((1, 20, 20, 3), "uint8", (1, 5, 5))
    create_frames(place, old)
    write_chunk(place, old, (0, 3, 3), ramp(old)[old.box((0, 3, 3))])
    for left in ("frames.zarr/pixels/zarr.json", "frames.zarr/zarr.json"):
        place.storage.remove_tree(place.inside(left))
    spec = FrameSpec((1, 20, 20, 3), "uint8", (1, 10, 10))
    store(place, spec)
    assert np.array_equal(FrameReader(place).read(), ramp(spec))
    chunks = [name for name in place.stored_objects() if "/pixels/c/" in name]
    assert len(chunks) == 4


def test_half_a_chunk_is_refused(place: OutputPlace) -> None:
    spec = FrameSpec((1, 20, 20, 3), "uint8", (1, 10, 10))
    create_frames(place, spec)
    with pytest.raises(FrameShapeError):
        write_chunk(place, spec, (0, 0, 0), np.zeros((1, 9, 10, 3), np.uint8))


@pytest.mark.parametrize("shape", [(0, 1, 1, 3), (1, 0, 1, 3), (1, 1, 1, 0)])
def test_a_store_without_pixels_is_refused(shape: tuple[int, int, int, int]) -> None:
    with pytest.raises(FrameShapeError):
        FrameSpec(shape, "uint8", (1, 1, 1))


def test_a_changed_file_of_an_output_is_noticed(place: OutputPlace) -> None:
    entry = place.write_file("picture.png", b"bytes")
    assert place.read_file("picture.png", entry) == b"bytes"
    place.storage.write_bytes(place.inside("files/picture.png"), b"bytez")
    with pytest.raises(OutputDamagedError):
        place.read_file("picture.png", entry)
