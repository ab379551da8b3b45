"""The gate: decides for every item of a batch whether it goes on, from its row of measures."""

import math
from typing import TYPE_CHECKING

from expectations.decisions import Decision, ExpectationResult, verdict
from expectations.measures import MEASURES
from expectations.suites import Suite, Threshold
from expectations.validation import GateError, Validator, key_of

if TYPE_CHECKING:
    from polars import DataFrame

__all__ = ["Decision", "ExpectationResult", "Gate", "GateError"]

Value = float | int | str | None


class Gate:
    """Decides by the expectations of one suite. Safe to use from several threads, one batch at a time in a process.

    Args:
        suite: What must hold.
    """

    def __init__(self, suite: Suite) -> None:
        self.suite = suite
        self._asked = [(name, each, key_of(each), each.bound) for name, each in suite.thresholds.items()]
        self._validator = Validator(suite.gate, suite.thresholds)

    @staticmethod
    def warm_up() -> None:
        """Load what the first decision needs (seconds), for a thread that has nothing better to do."""
        Validator.warm_up()

    def decide(self, rows: "DataFrame") -> list[Decision]:
        """One validation of the whole batch.

        Args:
            rows: One row per item: ``item`` and every measure that the suite asks for; more columns are kept as facts.

        Returns:
            A decision for every row, in order.

        Raises:
            GateError: A column is missing or of the wrong kind, or the validation itself failed.
        """
        if not rows.height:
            return []
        self.check(rows)
        values = {name: [_known(value) for value in rows[name].to_list()] for name in rows.columns}
        asked = {threshold.measure for threshold in self.suite.thresholds.values()}
        failing = self._validator.failing({name: values[name] for name in sorted(asked)}, rows.height)
        return [self._decision(values, number, failing) for number in range(rows.height)]

    def check(self, rows: "DataFrame") -> None:
        """Refuse rows that cannot be evaluated, whatever their values.

        Raises:
            GateError: A column is missing or of the wrong kind.
        """
        gate = self.suite.gate
        wanted = ["item", *(threshold.measure for threshold in self.suite.thresholds.values())]
        missing = sorted(set(wanted) - set(rows.columns))
        if missing:
            raise GateError(f"the {gate} gate needs the columns {', '.join(missing)}", gate=gate, missing=missing)
        for name, threshold in self.suite.thresholds.items():
            kind = rows.schema[threshold.measure]
            if threshold.ranged and not (kind.is_numeric() or str(kind) == "Null"):
                raise GateError(
                    f"{name} needs numbers in {threshold.measure!r}, got {kind}", gate=gate, column=threshold.measure
                )

    def fitted(self, rows: "DataFrame") -> "DataFrame":
        """The same rows with the columns of the measures table and those that the suite asks for, in their own types.

        Raises:
            GateError: They cannot be evaluated, or a value is not of its column's type.
        """
        import polars as pl

        self.check(rows)
        types = {"float": pl.Float64, "int": pl.Int64, "str": pl.String}
        kinds = {name: types[measure.kind] for name, measure in MEASURES.items()}
        for threshold in self.suite.thresholds.values():
            kinds.setdefault(threshold.measure, pl.Float64 if threshold.ranged else pl.String)
        absent = [pl.lit(None, kind).alias(name) for name, kind in kinds.items() if name not in rows.columns]
        try:
            return rows.with_columns(absent).select(pl.col(name).cast(kind) for name, kind in kinds.items())
        except pl.exceptions.PolarsError as error:
            raise GateError(f"a value is not of its column's type: {error}", gate=self.suite.gate) from error

    def _decision(self, values: dict[str, list[Value]], number: int, failing: dict[str, frozenset[int]]) -> Decision:
        row = {name: column[number] for name, column in values.items()}
        results = tuple(
            _result(name, threshold, bound, row[threshold.measure], failed=number in failing[key])
            for name, threshold, key, bound in self._asked
        )
        known = {name: value for name, value in row.items() if value is not None and name != "item"}
        return Decision(str(row["item"]), self.suite.gate, verdict(results), known, results)


def _result(
    name: str, threshold: Threshold, bound: dict[str, object], observed: Value, *, failed: bool
) -> ExpectationResult:
    unknown = observed is None and not threshold.not_null
    return ExpectationResult(
        expectation=name,
        measure=threshold.measure,
        observed=observed,
        bound=bound,
        level=threshold.level,
        success=None if unknown else not failed,
        skipped=unknown and threshold.unknown == "skip",
    )


def _known(value: Value) -> Value:
    """A value, or None for what is no number: it must neither fail nor pass."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
