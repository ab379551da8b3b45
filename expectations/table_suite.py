"""What must hold of a product table as a whole before any work: SKUs, pictures, size and columns since last time."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from pydantic import BaseModel, ConfigDict, Field

from datasets.catalogue import TableFacts
from expectations.suites import Level, Threshold
from expectations.validation import Validator, key_of

SHOWN = 10  # columns that a message lists


class TableLimits(BaseModel):
    """How much a table may differ from what is right and from the last one."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    shrink: float = Field(
        default=0.2,
        ge=0,
        le=1,
        description="Share of the last run's rows (of all, and of those that could be used) that may be gone before "
        "the run stops.",
    )
    bad: float = Field(default=1.0, ge=0, le=1, description="Share of rows that may be refused before the run stops.")
    columns: Level = Field(default="warn", description="What a column that is gone or of another type means.")


@dataclass(frozen=True)
class TableReason:
    """Something about a whole table that is not as it should be.

    Attributes:
        code: Stable: ``table_empty``, ``table_shrunk``, ``table_bad``, ``sku_missing``, ``sku_duplicate``,
            ``image_refused``, ``columns_missing``, ``columns_added``, ``columns_retyped``.
        level: Whether it stops the run or is only told.
        message: What was expected, what came, the remedy.
        facts: JSON-ready details.
    """

    code: str
    level: Level
    message: str
    facts: Mapping[str, object] = field(default_factory=dict)


def judge_table(facts: TableFacts, last: TableFacts | None, limits: TableLimits | None = None) -> list[TableReason]:
    """One validation of a table's facts by Great Expectations.

    Args:
        facts: Of the table.
        last: Of the last run's table; None: there was none, so nothing is compared.
        limits: How much may be different.

    Returns:
        What is not as it should be; those that stop come first.

    Raises:
        GateError: It could not be evaluated.
    """
    thresholds, validator = _suite(limits or TableLimits())
    row = measures(facts, last)
    failing = validator.failing({name: [value] for name, value in row.items()}, 1)
    told = [
        _reason(name, threshold, facts, last)
        for name, threshold in thresholds.items()
        if row[threshold.measure] is not None and failing[key_of(threshold)]
    ]
    once = {(reason.code, reason.message): reason for reason in told}
    return sorted(once.values(), key=lambda reason: reason.level != "stop")


def measures(facts: TableFacts, last: TableFacts | None) -> dict[str, float | None]:
    """What is judged: numbers of one table; None where there is nothing to compare with."""
    rows = max(1, facts.rows)
    refused = sum(count for code, count in facts.reasons.items() if code.startswith("image_"))
    drift = None if last is None else drifted(facts, last)
    return {
        "rows": float(facts.rows),
        "bad_share": facts.bad / rows,
        "sku_missing": float(facts.reasons.get("sku_missing", 0)),
        "sku_duplicates": float(facts.duplicates),
        "images_refused": float(refused),
        "rows_kept": None if last is None or not last.rows else facts.rows / last.rows,
        "good_kept": None if last is None or not last.good else facts.good / last.good,
        **{name: None if drift is None else float(len(drift[name])) for name in DRIFT},
    }


DRIFT = ("columns_missing", "columns_added", "columns_retyped")


def drifted(facts: TableFacts, last: TableFacts) -> dict[str, list[str]]:
    """Columns that are gone, new, or of another type than in the last run. An empty column is of any type."""
    now, before = dict(facts.columns), dict(last.columns)
    retyped = [
        f"{name}: {before[name]}, now {kind}"
        for name, kind in now.items()
        if name in before and kind != before[name] and "Null" not in (kind, before[name])
    ]
    return {
        "columns_missing": [name for name in before if name not in now],
        "columns_added": [name for name in now if name not in before],
        "columns_retyped": retyped,
    }


@lru_cache(maxsize=8)
def _suite(limits: TableLimits) -> tuple[dict[str, Threshold], Validator]:
    kept = 1 - limits.shrink
    thresholds = {
        "table_empty": Threshold(measure="rows", min=1),
        "table_shrunk": Threshold(measure="rows_kept", min=kept, unknown="skip"),
        "table_shrunk_good": Threshold(measure="good_kept", min=kept, unknown="skip"),
        "table_bad": Threshold(measure="bad_share", max=limits.bad),
        "sku_missing": Threshold(measure="sku_missing", max=0, level="warn"),
        "sku_duplicate": Threshold(measure="sku_duplicates", max=0, level="warn"),
        "image_refused": Threshold(measure="images_refused", max=0, level="warn"),
        "columns_missing": Threshold(measure="columns_missing", max=0, level=limits.columns, unknown="skip"),
        "columns_added": Threshold(measure="columns_added", max=0, level="warn", unknown="skip"),
        "columns_retyped": Threshold(measure="columns_retyped", max=0, level=limits.columns, unknown="skip"),
    }
    return thresholds, Validator("table", thresholds)


def _reason(name: str, threshold: Threshold, facts: TableFacts, last: TableFacts | None) -> TableReason:
    """The reason for an expectation that was not met, in words."""
    code = "table_shrunk" if name == "table_shrunk_good" else name
    if code in DRIFT and last is not None:
        columns = drifted(facts, last)[code]
        return TableReason(code, threshold.level, _drift_words(code, columns), {"columns": columns[:SHOWN]})
    if code == "table_shrunk" and last is not None:
        return _shrunk(name, threshold, facts, last)
    messages = {
        "table_empty": "the table has no rows, expected one at least; nothing is retired for it",
        "table_bad": f"{facts.bad} of {facts.rows} rows are refused, expected a share of at most {threshold.max}; see "
        "their reasons",
        "sku_missing": f"{facts.reasons.get('sku_missing', 0)} rows have no SKU; they are left out",
        "sku_duplicate": f"{facts.duplicates} rows have another row's SKU; they are left out",
        "image_refused": "some rows name no picture that may be fetched; they are left out",
    }
    return TableReason(code, threshold.level, messages[code], {"rows": facts.rows, "bad": facts.bad})


def _shrunk(name: str, threshold: Threshold, facts: TableFacts, last: TableFacts) -> TableReason:
    good = name.endswith("_good")
    now, before = (facts.good, last.good) if good else (facts.rows, last.rows)
    return TableReason(
        "table_shrunk",
        threshold.level,
        f"the table has {now} {'usable ' if good else ''}rows where the last run's had {before}; at most a share of "
        f"{1 - (threshold.min or 0):.3g} may be gone; if that is right, allow a larger shrink for this run",
        {"rows": now, "last": before},
    )


def _drift_words(code: str, columns: list[str]) -> str:
    listed = ", ".join(columns[:SHOWN]) + (f" and {len(columns) - SHOWN} more" if len(columns) > SHOWN else "")
    words = {
        "columns_missing": "columns of the last run are gone",
        "columns_added": "columns are new since the last run",
        "columns_retyped": "columns are of another type than in the last run",
    }
    return f"{words[code]}: {listed}"
