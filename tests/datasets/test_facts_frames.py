"""A stage's pixels as Zarr and Dask arrays: the same values as were written, and damage that is noticed."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from datasets.errors import NotFoundError, OutputDamagedError, UsageError
from datasets.facts import Facts
from datasets.frame_spec import FrameSpec, planar_spec, still_spec
from datasets.frames import create_frames, frames_entry, write_chunk
from datasets.outputs import Manifest, OutputPlace
from datasets.planar import PLANAR
from datasets.storage import Storage, open_storage
from tests.datasets.ledger_rows import a_run, a_stage, an_item, new_ledger

RUN = "run-1"


@pytest.fixture
def facts(tmp_path: Path) -> Facts:
    ledger = new_ledger(tmp_path / "ledger.db")
    with ledger.session("anna") as session:
        session.start_run(a_run(RUN))
        session.save_items(RUN, [an_item("shoe"), an_item("vase", 1)])
    return Facts(ledger, open_storage(str(tmp_path / "store"), "anna"))


def keep(storage: Storage, fingerprint: str, spec: FrameSpec, planes: dict[str, NDArray[np.uint8]]) -> OutputPlace:
    """A finished output of these pixels."""
    place = OutputPlace(storage, fingerprint)
    spec = create_frames(place, spec)
    checksums = {}
    for index in spec.indices():
        parts = {name: planes[name][spec.array_box(name, index)] for name in spec.arrays}
        checksums[".".join(map(str, index))] = write_chunk(place, spec, index, parts)
    entry = frames_entry(spec, checksums)
    place.finish(Manifest(fingerprint, "made", place.stored_objects(), frames=entry))
    return place


def noted(facts: Facts, name: str, fingerprint: str, *, item: str = "shoe", stage: str = "cutout") -> None:
    with facts.ledger.session("anna") as session:
        session.record_stage(a_stage(name, RUN, item=item, stage=stage, fingerprint=fingerprint))


def picture(facts: Facts, fingerprint: str = "aa" * 32) -> NDArray[np.uint8]:
    """2100 × 1500 pixels, so six tiles."""
    pixels = np.random.default_rng(1).integers(0, 256, (1, 1500, 2100, 4), np.uint8)
    keep(facts.storage, fingerprint, still_spec(1500, 2100, 4, "uint8"), {"pixels": pixels})
    noted(facts, "stage-1", fingerprint)
    return pixels


def test_both_arrays_hold_what_was_written(facts: Facts) -> None:
    pixels = picture(facts)
    found = facts.frames(RUN, "cutout")
    assert found.shape == (1, 1500, 2100, 4)
    assert np.array_equal(found.zarr[:], pixels)
    assert found.dask.chunks == ((1,), (1024, 476), (1024, 1024, 52), (4,))
    assert np.array_equal(found.dask.compute(), pixels)
    assert int(found.dask[0, 1000:1100, 2000:, 3].max().compute()) == int(pixels[0, 1000:1100, 2000:, 3].max())


def test_a_clip_is_read_plane_by_plane(facts: Facts) -> None:
    spec = planar_spec(20, 6, 10, PLANAR["yuv420p"])
    random = np.random.default_rng(2)
    planes = {name: random.integers(0, 256, shape, np.uint8) for name, shape in spec.arrays.items()}
    keep(facts.storage, "bb" * 32, spec, planes)
    noted(facts, "stage-1", "bb" * 32, stage="decode")
    with pytest.raises(UsageError, match="y, u, v"):
        facts.frames(RUN, "decode")
    for name, values in planes.items():
        found = facts.frames(RUN, "decode", plane=name)
        assert np.array_equal(found.zarr[:], values)
        assert found.dask.chunks[0] == (8, 8, 4)
        assert np.array_equal(found.dask.compute(), values)
    pts, durations = found.times()
    assert (pts.tolist(), durations.tolist()) == (list(range(20)), [1] * 20)


def test_a_changed_chunk_is_noticed(facts: Facts) -> None:
    picture(facts)
    found = facts.frames(RUN, "cutout")
    folder = facts.storage.local_path(found.place.inside("frames.zarr/pixels/c/0/0"))
    assert folder is not None
    first, second = (folder / "0/0").read_bytes(), (folder / "1/0").read_bytes()
    (folder / "0/0").write_bytes(second)
    (folder / "1/0").write_bytes(first)  # each is a right chunk with a right checksum, at the wrong place
    with pytest.raises(OutputDamagedError):
        found.dask.compute()
    (folder / "0/0").write_bytes(first)
    (folder / "1/0").unlink()  # Zarr itself would read it as zeros
    with pytest.raises(OutputDamagedError):
        found.dask.compute()
    with pytest.raises(NotFoundError, match="not in the store"):
        facts.frames(RUN, "cutout")


def test_which_one_is_meant(facts: Facts) -> None:
    picture(facts)
    noted(facts, "stage-2", "aa" * 32, item="vase", stage="upscale+grade")
    assert facts.frames("latest", "grade").item == "vase"
    noted(facts, "stage-3", "aa" * 32, item="vase")
    with pytest.raises(UsageError, match="shoe, vase"):
        facts.frames(RUN, "cutout")
    assert facts.frames(RUN, "cutout", item="vase").fingerprint == "aa" * 32
    with pytest.raises(NotFoundError, match="it has cutout, upscale"):
        facts.frames(RUN, "place")
    with pytest.raises(UsageError, match="pixels"):
        facts.frames(RUN, "cutout", item="shoe", plane="y")


def test_frames_that_were_let_go_of_are_said(facts: Facts) -> None:
    picture(facts)
    OutputPlace(facts.storage, "aa" * 32).release_frames()
    with pytest.raises(NotFoundError, match="keep=True"):
        facts.frames(RUN, "cutout")


def test_others_storage_is_not_looked_into(facts: Facts) -> None:
    picture(facts)
    others = Facts(facts.ledger, replace(facts.storage, tenant="berta"))
    with pytest.raises(NotFoundError):
        others.frames(RUN, "cutout")
