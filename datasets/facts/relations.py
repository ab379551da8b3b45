"""The relations of the ledger that readers see: their columns, their types, and what is worked out from them."""

import json
from collections.abc import Mapping
from typing import Any

import polars as pl
from sqlalchemy import ColumnElement, FromClause, Text, and_, cast, literal, null, select, union_all

from datasets.facts.scan import Relation
from datasets.ledger import tables
from datasets.ledger.gate_tables import gate_results
from datasets.ledger.spend_tables import avoided, purchases

TEXT, WHOLE, NUMBER, FLAG = pl.String(), pl.Int64(), pl.Float64(), pl.Boolean()
TIME = pl.Datetime("us", "UTC")
DAY = pl.Date()
USD = pl.Decimal(20, 6)  # exact to the micro-USD
Types = Mapping[str, pl.DataType]
Read = dict[str, tuple[ColumnElement[Any], pl.DataType]]


def _read(source: FromClause, types: Types) -> Read:
    """The columns of a source by name; JSON comes as its text."""
    return {name: (_column(source, name, json_text=name in JSON), kind) for name, kind in types.items()}


def _column(source: FromClause, name: str, *, json_text: bool) -> ColumnElement[Any]:
    return cast(source.c[name], Text) if json_text else source.c[name]


JSON = frozenset({"parameters", "summary", "reasons", "facts", "extra", "measures"})

_RUNS: Types = {
    "run_id": TEXT, "flow_run_id": TEXT, "flow": TEXT, "recipe": TEXT, "status": TEXT, "purpose": TEXT,
    "version": TEXT, "host": TEXT, "started_at": TIME, "finished_at": TIME, "heartbeat_at": TIME,
    "parameters": TEXT, "summary": TEXT,
}  # fmt: skip
RUNS = Relation(
    "runs",
    tables.runs,
    {**_RUNS, "seconds": NUMBER},
    _read(tables.runs, _RUNS),
    made={"seconds": ("started_at", "finished_at")},
    finish=lambda batch: batch.with_columns(
        seconds=(pl.col("finished_at") - pl.col("started_at")).dt.total_microseconds() / 1e6
    ),
)

_ITEMS: Types = {
    "run_id": TEXT, "item": TEXT, "position": WHOLE, "source": TEXT, "asset_digest": TEXT, "status": TEXT,
    "percent": NUMBER, "reasons": TEXT,
}  # fmt: skip
ITEMS = Relation("items", tables.items, dict(_ITEMS), _read(tables.items, _ITEMS))

_STAGES: Types = {
    "run_id": TEXT, "item": TEXT, "position": WHOLE, "stage": TEXT, "fingerprint": TEXT, "model": TEXT,
    "device": TEXT, "seconds": NUMBER, "peak_memory_bytes": WHOLE, "cached": FLAG, "chunks": WHOLE, "skipped": TEXT,
    "error_code": TEXT, "task_run_id": TEXT, "started_at": TIME,
}  # fmt: skip
STAGES = Relation("stages", tables.stage_runs, dict(_STAGES), _read(tables.stage_runs, _STAGES))

_OUTPUTS: Types = {
    "run_id": TEXT, "item": TEXT, "role": TEXT, "path": TEXT, "sha256": TEXT, "bytes": WHOLE, "width": WHOLE,
    "height": WHOLE, "format": TEXT, "fingerprint": TEXT, "extra": TEXT,
}  # fmt: skip


def _frames_of(extra: str) -> int:
    return int(json.loads(extra).get("frames") or 1)


OUTPUTS = Relation(
    "outputs",
    tables.outputs,
    {**_OUTPUTS, "frames": WHOLE},
    _read(tables.outputs, _OUTPUTS),
    made={"frames": ("extra",)},
    finish=lambda batch: batch.with_columns(frames=pl.col("extra").map_elements(_frames_of, return_dtype=WHOLE)),
)

_ERRORS: Types = {
    "error_id": TEXT, "run_id": TEXT, "item": TEXT, "stage": TEXT, "code": TEXT, "message": TEXT, "facts": TEXT,
    "at": TIME,
}  # fmt: skip
ERRORS = Relation("errors", tables.errors, dict(_ERRORS), _read(tables.errors, _ERRORS))

_GATES: Types = {
    "run_id": TEXT, "item": TEXT, "step": TEXT, "gate": TEXT, "picture": TEXT, "decision": TEXT, "released": FLAG,
    "at": TIME,
}  # fmt: skip
_MEASURED: Types = {"measure": TEXT, "value": NUMBER, "text": TEXT}


def _measured(batch: pl.DataFrame) -> pl.DataFrame:
    """One row for each measure of what a gate saw; numbers as ``value``, words as ``text``."""
    entries = [list(json.loads(each).items()) for each in batch["measures"]]
    pairs = [pair for each in entries for pair in each]
    number_of_row = pl.Series([number for number, each in enumerate(entries) for _ in each], dtype=pl.UInt32)
    values = [None if value is None or isinstance(value, str) else float(value) for _, value in pairs]
    measured = pl.DataFrame(
        [
            pl.Series("measure", [name for name, _ in pairs], TEXT),
            pl.Series("value", values, NUMBER),
            pl.Series("text", [value if isinstance(value, str) else None for _, value in pairs], TEXT),
        ]
    )
    return measured.hstack([column.gather(number_of_row) for column in batch.drop("measures")])


MEASURES = Relation(
    "measures",
    gate_results,
    {**_GATES, **_MEASURED},
    _read(gate_results, {**_GATES, "measures": TEXT}),
    made=dict.fromkeys(_MEASURED, ("measures",)),
    finish=_measured,
    expanded=("measures",),
)

_MONEY = ("charged_micro_usd", "held_micro_usd", "avoided_micro_usd")
_SPEND: Types = {
    "run_id": TEXT, "item": TEXT, "entry": TEXT, "stage": TEXT, "adapter": TEXT, "state": TEXT, "reason": TEXT,
    "guard": FLAG, "purchase_key": TEXT, **dict.fromkeys(_MONEY, WHOLE), "day": TEXT, "at": TIME,
}  # fmt: skip


def _spent() -> FromClause:
    """Purchases and what did not have to be bought, below each other."""
    bought = select(
        purchases.c.tenant_id, purchases.c.run_id, purchases.c.item, literal("purchase", Text).label("entry"),
        purchases.c.stage, purchases.c.adapter, purchases.c.state, cast(null(), Text).label("reason"),
        purchases.c.guard, purchases.c.purchase_key, purchases.c.charged_micro_usd, purchases.c.held_micro_usd,
        cast(null(), purchases.c.held_micro_usd.type).label("avoided_micro_usd"), purchases.c.day,
        purchases.c.intent_at.label("at"),
    )  # fmt: skip
    spared = select(
        avoided.c.tenant_id, avoided.c.run_id, avoided.c.item, avoided.c.entry, cast(null(), Text),
        cast(null(), Text), cast(null(), Text), avoided.c.reason, cast(null(), purchases.c.guard.type),
        avoided.c.deliverable_key, cast(null(), purchases.c.held_micro_usd.type),
        cast(null(), purchases.c.held_micro_usd.type), avoided.c.micro_usd, avoided.c.day, avoided.c.at,
    )  # fmt: skip
    return union_all(bought, spared).subquery("spend")


def _dollars(batch: pl.DataFrame) -> pl.DataFrame:
    found = [name for name in _MONEY if name in batch.columns]
    return batch.with_columns(
        *(
            (pl.col(name).cast(pl.Decimal(26, 6)) / 1_000_000).cast(USD).alias(name.replace("_micro", ""))
            for name in found
        )
    )


_SPENT = _spent()
SPEND = Relation(
    "spend",
    _SPENT,
    {**_SPEND, **{name.replace("_micro", ""): USD for name in _MONEY}},
    _read(_SPENT, _SPEND),
    made={name.replace("_micro", ""): (name,) for name in _MONEY},
    finish=_dollars,
)

_LINEAGE: Types = {
    "sha256": TEXT, "run_id": TEXT, "item": TEXT, "role": TEXT, "path": TEXT, "fingerprint": TEXT, "core": TEXT,
    "sealed": TEXT, "unsigned_sha256": TEXT, "recorded_at": TIME, "record": TEXT,
}  # fmt: skip


def _recorded() -> FromClause:
    """Records of published files, with where that run put the file."""
    records, outputs = tables.lineage_records, tables.outputs
    same = and_(*(records.c[name] == outputs.c[name] for name in ("tenant_id", "run_id", "sha256")))
    placed = (outputs.c[name] for name in ("item", "role", "path"))
    return select(records, *placed).select_from(records.outerjoin(outputs, same)).subquery("lineage")


_RECORDED = _recorded()
LINEAGE = Relation("lineage", _RECORDED, dict(_LINEAGE), _read(_RECORDED, _LINEAGE))

_INPUTS: Types = {"fingerprint": TEXT, "position": WHOLE, "kind": TEXT, "input_digest": TEXT}
INPUTS = Relation("inputs", tables.stage_inputs, dict(_INPUTS), _read(tables.stage_inputs, _INPUTS))
