"""Reading what was done, with polars, Zarr and Dask: ``runs()``, ``stages()``, ``measures()``, ``spend()``, ...

Each function reads the ledger and the store that the environment's settings name, of the tenant they name;
``open_facts(settings)`` gives the same for others. Frames are lazy: a filter on a run, a stage or a time goes down to
the database, so a ledger of millions of rows is never loaded whole for a question about some of them.
"""

import polars as pl

from datasets.facts.arrays import StoredFrames
from datasets.facts.books import Facts, open_facts

__all__ = [
    "Facts",
    "StoredFrames",
    "errors",
    "frames",
    "inputs",
    "items",
    "lineage",
    "measures",
    "open_facts",
    "outputs",
    "runs",
    "spend",
    "stages",
]


def runs() -> pl.LazyFrame:
    """A row for each run; see ``Facts.runs``."""
    return open_facts().runs()


def items() -> pl.LazyFrame:
    """A row for each item of a run; see ``Facts.items``."""
    return open_facts().items()


def stages() -> pl.LazyFrame:
    """A row for each stage that an item went through; see ``Facts.stages``."""
    return open_facts().stages()


def outputs() -> pl.LazyFrame:
    """A row for each delivered file; see ``Facts.outputs``."""
    return open_facts().outputs()


def errors() -> pl.LazyFrame:
    """A row for each failure; see ``Facts.errors``."""
    return open_facts().errors()


def measures() -> pl.LazyFrame:
    """A row for each measure that a gate saw of an item; see ``Facts.measures``."""
    return open_facts().measures()


def spend() -> pl.LazyFrame:
    """A row for each purchase and each avoided cost; see ``Facts.spend``."""
    return open_facts().spend()


def lineage() -> pl.LazyFrame:
    """A row for each record of a published file; see ``Facts.lineage``."""
    return open_facts().lineage()


def inputs() -> pl.LazyFrame:
    """A row for each input of a stage's output; see ``Facts.inputs``."""
    return open_facts().inputs()


def frames(run: str, stage: str, *, item: str | None = None, plane: str | None = None) -> StoredFrames:
    """The pixels that a stage of a run left, as Zarr and Dask arrays; see ``datasets.facts.arrays.stored_frames``."""
    return open_facts().frames(run, stage, item=item, plane=plane)
