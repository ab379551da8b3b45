"""What a tenant's ledger and storage know, to be read with polars, Zarr and Dask."""

from dataclasses import dataclass, field

import polars as pl

from datasets.facts import relations
from datasets.facts.arrays import StoredFrames, stored_frames
from datasets.facts.scan import Relation, scan
from datasets.ledger import Ledger, open_ledger
from datasets.object_store import object_store_options
from datasets.settings import Settings, read_settings
from datasets.storage import Storage, open_storage


@dataclass(frozen=True)
class Facts:
    """One tenant's facts. Every frame is lazy: filters and columns go down to the database, rows come in batches."""

    ledger: Ledger = field(repr=False)
    storage: Storage

    @property
    def tenant(self) -> str:
        return self.storage.tenant

    def runs(self) -> pl.LazyFrame:
        """A row for each run: flow, recipe, status, times (UTC), seconds, order and summary as JSON text."""
        return self._scan(relations.RUNS)

    def items(self) -> pl.LazyFrame:
        """A row for each item of a run: source, asset, status (null while it is on its way), reasons as JSON text."""
        return self._scan(relations.ITEMS)

    def stages(self) -> pl.LazyFrame:
        """A row for each stage that an item went through: seconds, peak memory, model, cached, skipped, error."""
        return self._scan(relations.STAGES)

    def outputs(self) -> pl.LazyFrame:
        """A row for each delivered file: role, path, sha256, bytes, size in pixels, frames (1 for a picture)."""
        return self._scan(relations.OUTPUTS)

    def errors(self) -> pl.LazyFrame:
        """A row for each failure: code, message, facts as JSON text, time (UTC)."""
        return self._scan(relations.ERRORS)

    def measures(self) -> pl.LazyFrame:
        """A row for each measure that a gate saw of an item: numbers in ``value``, words in ``text``, the decision."""
        return self._scan(relations.MEASURES)

    def spend(self) -> pl.LazyFrame:
        """A row for each purchase and for each cost that was avoided or taken back; micro-USD and exact US dollars."""
        return self._scan(relations.SPEND)

    def lineage(self) -> pl.LazyFrame:
        """A row for each record of a published file, with where its run put the file; the record as JSON text."""
        return self._scan(relations.LINEAGE)

    def inputs(self) -> pl.LazyFrame:
        """A row for each input of a stage's output: what it was made of, by digest."""
        return self._scan(relations.INPUTS)

    def frames(self, run: str, stage: str, *, item: str | None = None, plane: str | None = None) -> StoredFrames:
        """The pixels that a stage of a run left in the store; see ``datasets.facts.arrays.stored_frames``."""
        return stored_frames(self.ledger, self.storage, run, stage, item=item, plane=plane)

    def _scan(self, relation: Relation) -> pl.LazyFrame:
        return scan(relation, self.ledger, self.tenant)


def open_facts(settings: Settings | None = None) -> Facts:
    """The facts of these settings, or of those that the environment gives.

    Where a saved Prefect block holds the storage's credentials, ``flows.notebook.facts`` knows them; this does not.

    Raises:
        SettingsError: Ledger or storage cannot be opened.
    """
    chosen = settings or read_settings()
    options = object_store_options(chosen) if chosen.storage_root.startswith("s3://") else {}
    ledger = open_ledger(chosen.ledger, owner_url=chosen.ledger_owner_url)
    return Facts(ledger, open_storage(chosen.storage_root, chosen.tenant, options))
