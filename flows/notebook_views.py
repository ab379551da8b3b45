"""Runs and items as a notebook shows them: small, self-contained HTML in which every name is only text."""

import json
from dataclasses import dataclass
from typing import Any

import polars as pl

from datasets.errors import NotFoundError
from datasets.facts import Facts
from datasets.ledger import RunRecord
from datasets.money import dollars
from datasets.redaction import redact
from flows.notebook_pictures import Shown, pictures_of
from flows.report import UNSHOWABLE, environment

ROWS = 12  # items of a run that are shown
THUMB = 72  # px
SIDE = 256  # px, of pictures side by side
LEAST_FIRST = {"failed": 0, "stopped": 1, "held": 2, "deferred": 3, "rejected": 4}  # what needs somebody comes first


@dataclass(frozen=True)
class SideBySide:
    """An item's source and what was made of it, beside each other."""

    item: str
    pictures: tuple[Shown, ...]

    def _repr_html_(self) -> str:
        return _render("notebook_pictures.html.j2", item=self.item, pictures=self.pictures)

    def __repr__(self) -> str:
        return f"{self.item}: " + ", ".join(picture.caption for picture in self.pictures)


@dataclass(frozen=True)
class ItemView:
    """One item of a run."""

    facts: Facts
    run_id: str
    name: str

    @property
    def record(self) -> dict[str, Any]:
        """What the ledger says of it: ``source``, ``asset_digest``, ``status``, ``percent``, ``reasons`` as a list.

        Raises:
            NotFoundError: The run has no such item.
        """
        found = self._of(self.facts.items()).collect().to_dicts()
        if not found:
            raise NotFoundError(f"run {self.run_id[:8]} has no item {self.name!r}; run().items lists them")
        return {**found[0], "reasons": json.loads(found[0]["reasons"])}

    @property
    def status(self) -> str:
        return str(self.record["status"] or "running")

    @property
    def stages(self) -> pl.DataFrame:
        """Its stages, in the order of time."""
        return self._of(self.facts.stages()).sort("started_at", "position").collect()

    @property
    def outputs(self) -> pl.DataFrame:
        """Its delivered files."""
        return self._of(self.facts.outputs()).sort("path").collect()

    @property
    def measures(self) -> pl.DataFrame:
        """What gates measured of it."""
        return self._of(self.facts.measures()).sort("at", "measure").collect()

    def show(self, *, side: int = SIDE) -> SideBySide:
        """Its source and what was made of it, each at most ``side`` px."""
        return SideBySide(_plain(self.name), tuple(pictures_of(self.facts, self.stages, self.outputs, side=side)))

    def _of(self, facts: pl.LazyFrame) -> pl.LazyFrame:
        return facts.filter(pl.col("run_id") == self.run_id, pl.col("item") == self.name)

    def _repr_html_(self) -> str:
        record = self.record
        outputs = self.outputs.with_columns(pl.col("path").map_elements(_plain, return_dtype=pl.String)).to_dicts()
        return _render(
            "notebook_item.html.j2", item=_plain(self.name), status=record["status"] or "running", run_id=self.run_id,
            reasons=[{name: _plain(str(each.get(name, ""))) for name in ("level", "message", "code")}
                     for each in record["reasons"]],
            pictures=_markup(self.show()), stages=self.stages.to_dicts(), outputs=outputs,
        )  # fmt: skip

    def __repr__(self) -> str:
        return f"{self.name}: {self.status}"


@dataclass(frozen=True)
class RunView:
    """One run: its tables, its items, and what is to be seen of it."""

    facts: Facts
    run_id: str

    @property
    def record(self) -> RunRecord:
        """What the ledger says of it now."""
        with self.facts.ledger.session(self.facts.tenant, read_only=True) as session:
            return session.find_run(self.run_id)

    @property
    def status(self) -> str:
        return self.record.status

    @property
    def items(self) -> pl.DataFrame:
        """Its items in their order."""
        return self._of(self.facts.items()).sort("position").collect()

    @property
    def stages(self) -> pl.DataFrame:
        """Its stages, in the order of time."""
        return self._of(self.facts.stages()).sort("started_at", "position").collect()

    @property
    def outputs(self) -> pl.DataFrame:
        """Its delivered files."""
        return self._of(self.facts.outputs()).sort("item", "path").collect()

    def item(self, name: str) -> ItemView:
        """One of its items."""
        return ItemView(self.facts, self.run_id, name)

    def _of(self, facts: pl.LazyFrame) -> pl.LazyFrame:
        return facts.filter(pl.col("run_id") == self.run_id)

    def _repr_html_(self) -> str:
        record, items = self.record, self._of(self.facts.items()).select("item", "position", "status", "reasons")
        table = items.collect()
        stages = self._of(self.facts.stages()).select("item", "seconds", "cached").collect()
        counts = table.group_by(pl.col("status").fill_null("running")).len().sort("len", descending=True)
        rows = _first(table)
        cost = self._of(self.facts.spend()).select(pl.col("charged_micro_usd").sum()).collect().item()
        return _render(
            "notebook_run.html.j2", recipe=_plain(record.recipe), flow=record.flow, status=record.status,
            began=record.started_at, seconds=_seconds(record), run_id=record.run_id, items=table.height,
            counts=counts.rows(), stages=stages.height, cached=int(stages["cached"].sum()),
            cost=dollars(int(cost or 0), 2), rows=[self._row(row, stages) for row in rows.iter_rows(named=True)],
            left_out=table.height - rows.height,
        )  # fmt: skip

    def _row(self, row: dict[str, Any], stages: pl.DataFrame) -> dict[str, Any]:
        view, own = self.item(row["item"]), stages.filter(pl.col("item") == row["item"])
        shown = pictures_of(self.facts, view.stages, view.outputs, side=THUMB, most=2)  # the source, and what it became
        return {
            "item": _plain(row["item"]), "status": row["status"] or "running", "picture": shown[-1] if shown else None,
            "stages": own.height, "seconds": own["seconds"].sum(), "files": view.outputs.height,
            "why": _why(json.loads(row["reasons"])),
        }  # fmt: skip

    def __repr__(self) -> str:
        return f"run {self.run_id[:8]}: {self.status}"


def _first(table: pl.DataFrame) -> pl.DataFrame:
    rank = pl.col("status").replace_strict(LEAST_FIRST, default=len(LEAST_FIRST), return_dtype=pl.Int8)
    return table.sort(rank, "position").head(ROWS)


def _why(reasons: list[dict[str, Any]]) -> str:
    return _plain("; ".join(str(each.get("message", "")) for each in reasons))[:300]


def _seconds(record: RunRecord) -> float | None:
    return None if record.finished_at is None else (record.finished_at - record.started_at).total_seconds()


def _plain(text: str) -> str:
    """A text as a page may show it: what it hides is taken out, what it says of secrets too."""
    return redact(UNSHOWABLE.sub("�", text))


def _markup(view: SideBySide) -> Any:
    from markupsafe import Markup

    return Markup(view._repr_html_())  # noqa: S704 - made by a template that escapes


def _render(template: str, **values: object) -> str:
    return environment().get_template(template).render(values)
