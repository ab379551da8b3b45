"""The pixels that a stage left in the store, as Zarr and Dask arrays."""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select

from datasets.errors import NotFoundError, UsageError
from datasets.frame_spec import PIXELS, FrameSpec, Index
from datasets.frames import FrameReader, open_array
from datasets.ledger import Ledger
from datasets.ledger.tables import stage_runs
from datasets.ledger.transactions import transaction
from datasets.outputs import OutputPlace, find_output
from datasets.storage import Storage

if TYPE_CHECKING:
    import dask.array as da
    import zarr


@dataclass(frozen=True)
class StoredFrames:
    """Frames of one stage of one item, read only.

    Attributes:
        item: Whose they are.
        stage: The stage that made them, as the ledger calls it.
        plane: Which array: ``pixels`` (T, H, W, C), or a plane (T, h, w) of a clip that is kept as it was decoded.
        spec: Shape, dtype, chunks and attributes (colour, time base) of the whole store.
    """

    item: str
    stage: str
    plane: str
    spec: FrameSpec
    place: OutputPlace

    @property
    def fingerprint(self) -> str:
        return self.place.fingerprint

    @property
    def shape(self) -> tuple[int, ...]:
        return self.spec.arrays[self.plane]

    @cached_property
    def zarr(self) -> "zarr.Array[Any]":
        """The Zarr array as it lies in the store. A flipped bit is noticed as it is read; a swapped chunk is not."""
        array: zarr.Array[Any] = open_array(self.place, self.plane, read_only=True)
        return array

    @cached_property
    def dask(self) -> "da.Array":
        """A Dask array with the store's own chunks; each is held against the manifest as it is read."""
        import dask.array as da

        extents = self.shape
        sizes = self.spec.array_chunks(self.plane)
        chunks = tuple(
            tuple(min(size, extent - start) for start in range(0, extent, size))
            for extent, size in zip(extents, sizes, strict=True)
        )
        made: da.Array = da.map_blocks(
            _read_block, self.place, self.plane, chunks=chunks, dtype=self.spec.dtype,
            meta=np.empty((0,) * len(extents), self.spec.dtype), name=f"{self.plane}-{self.fingerprint}",
        )  # fmt: skip
        return made

    def __repr__(self) -> str:
        extents = " × ".join(map(str, self.shape))
        return f"{self.stage} of {self.item}: {self.plane} {extents} {self.spec.dtype}"

    def times(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """When every frame is shown and for how long, int64 (T,) each, in ticks of ``spec.attributes['time_base']``."""
        return FrameReader(self.place).times()


def _read_block(place: OutputPlace, plane: str, block_id: tuple[int, ...] = ()) -> NDArray[Any]:
    """One chunk, checked against the manifest. Runs where Dask works."""
    reader = FrameReader(place)
    index: Index = (block_id[0], block_id[1], block_id[2])
    frames, rows, columns = reader.spec.box(index)
    if plane == PIXELS:
        return reader.read((frames, rows, columns))
    return reader.read_planes(frames.start, frames.stop)[plane]


def stored_frames(
    ledger: Ledger, storage: Storage, run: str, stage: str, *, item: str | None = None, plane: str | None = None
) -> StoredFrames:
    """The frames that a stage of a run made or took from the store.

    Args:
        run: The beginning of the run's id, or ``latest``.
        stage: The stage's name; of stages that shared a pass (``upscale+grade``) either name, or all.
        item: Which item; may be left out where the run has one.
        plane: Of clips that are kept in the decoder's planes: ``y``, ``u``, ``v``, ...

    Raises:
        NotFoundError: The run had no such stage, or its frames were let go of.
        UsageError: Several items went through the stage, or a plane has to be chosen.
        OutputIncompleteError: The store has lost some of it.
    """
    rows = _rows(ledger, storage.tenant, run, stage, item)
    if len({row[0] for row in rows}) > 1:
        names = sorted({row[0] for row in rows})
        raise UsageError(f"{len(names)} items went through {stage!r}; give item=, one of {', '.join(names[:10])}")
    found, name, fingerprint = rows[-1]
    place = OutputPlace(storage, fingerprint)
    manifest = find_output(place)
    if manifest is None or manifest.frames is None:
        raise NotFoundError(
            f"the frames of {stage!r} of {found!r} are not in the store: the stage makes files only, or its frames "
            "were let go of; run it again with keep=True",
            stage=stage, item=found,
        )  # fmt: skip
    spec = FrameReader(place).spec
    return StoredFrames(found, name, _plane(spec, plane), spec, place)


def _rows(ledger: Ledger, tenant: str, run: str, stage: str, item: str | None) -> list[tuple[str, str, str]]:
    """Item, stage and fingerprint of what went through the stage, in the order of time."""
    columns = stage_runs.c
    with ledger.session(tenant, read_only=True) as session:
        run_id = session.find_run(run).run_id
    where = [columns.tenant_id == tenant, columns.run_id == run_id, columns.error_code.is_(None)]
    where += [columns.skipped.is_(None), *([] if item is None else [columns.item == item])]
    query = select(columns.item, columns.stage, columns.fingerprint).where(*where).order_by(columns.started_at)
    with transaction(ledger.engine, tenant, read_only=True) as connection:
        rows = [(str(row[0]), str(row[1]), str(row[2])) for row in connection.execute(query)]
    found = [row for row in rows if stage == row[1] or stage in row[1].split("+")]
    if not found:
        known = ", ".join(dict.fromkeys(row[1] for row in rows)) or "none"
        raise NotFoundError(f"run {run_id[:8]} has no stage {stage!r} of this item; it has {known}", stage=stage)
    return found


def _plane(spec: FrameSpec, plane: str | None) -> str:
    if plane is None and list(spec.arrays) == [PIXELS]:
        return PIXELS
    if plane not in spec.arrays:
        raise UsageError(f"these frames are kept as {', '.join(spec.arrays)}; give plane=, one of them")
    return plane
