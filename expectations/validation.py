"""The one place that speaks to Great Expectations: one validation at a time in a process, of one batch of rows.

It is imported by the first validation (seconds), is not safe in threads, and takes pandas frames only. An answer is
believed only if it is complete: every expectation answered, without an exception, for every row.
"""

import logging
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from datasets.errors import PermanentError
from expectations.suites import Threshold

if TYPE_CHECKING:
    from great_expectations import ExpectationSuite
    from great_expectations.core.batch_definition import BatchDefinition
    from great_expectations.data_context.data_context.abstract_data_context import AbstractDataContext

Columns = Mapping[str, Sequence[float | str | None]]
LOG = logging.getLogger("stillmotion")
ROW = "row"  # names of items may repeat within a batch, numbers of rows do not


class GateError(PermanentError):
    """A gate could not be evaluated: that says nothing about the items, and none of them may pass."""

    code = "gate_not_evaluated"


class Validator:
    """Validates batches of rows against thresholds.

    Args:
        name: Of the suite.
        thresholds: By name; those that ask for the same are evaluated once.
    """

    _lock = threading.Lock()  # of the process: Great Expectations mixes up concurrent results silently
    _definition: "BatchDefinition[Any] | None" = None

    def __init__(self, name: str, thresholds: Mapping[str, Threshold]) -> None:
        self._name = name
        self._asked = {key_of(threshold): threshold for threshold in thresholds.values()}
        self._suite: ExpectationSuite | None = None

    @classmethod
    def warm_up(cls) -> None:
        """Import Great Expectations and make its context, if that has not been done."""
        with cls._lock:
            cls._batches()

    def failing(self, columns: Columns, count: int) -> dict[str, frozenset[int]]:
        """The numbers of the rows that fail each threshold, by its key.

        Args:
            columns: ``count`` values of every measure that is asked for; numbers are finite or None. Where a value is
                None the answer means nothing, except for ``not_null``.

        Raises:
            GateError: Great Expectations failed, or did not answer everything.
        """
        with self._lock:
            try:
                results = self._validate(columns, count)
            except (ValueError, TypeError, LookupError, ArithmeticError, RuntimeError, AttributeError) as error:
                raise GateError(f"the {self._name} gate failed to evaluate: {error}", gate=self._name) from error
        answers = {str((each.expectation_config.meta or {}).get("name")): each for each in results}
        missing = sorted(set(self._asked) - set(answers))
        if missing:
            raise GateError(f"the {self._name} gate got no answer for {', '.join(missing)}", gate=self._name)
        return {key: self._rows(key, answers[key], columns, count) for key in self._asked}

    def _validate(self, columns: Columns, count: int) -> Sequence[Any]:
        definition = self._batches()
        import great_expectations as gx
        import pandas as pd
        from great_expectations.exceptions.exceptions import GreatExpectationsError

        if self._suite is None:
            expectations = [threshold.expectation(key) for key, threshold in self._asked.items()]
            self._suite = gx.ExpectationSuite(name=self._name, expectations=expectations)
        frame = pd.DataFrame({ROW: range(count)} | {name: series(values) for name, values in columns.items()})
        form = {"result_format": "COMPLETE", "unexpected_index_column_names": [ROW]}
        try:
            batch = definition.get_batch({"dataframe": frame})
            return list(batch.validate(self._suite, result_format=form).results)
        except GreatExpectationsError as error:
            raise RuntimeError(str(error)) from error

    def _rows(self, key: str, answer: Any, columns: Columns, count: int) -> frozenset[int]:
        """Failing rows of one answer, if it can be believed."""
        threshold, result = self._asked[key], answer.result or {}
        if _raised(answer.exception_info):
            raise GateError(f"{key} could not be evaluated: {_message(answer.exception_info)}", gate=self._name)
        rows = frozenset(int(each[ROW]) for each in result.get("unexpected_index_list") or ())
        nulls = sum(value is None for value in columns[threshold.measure])
        answered = result.get("element_count") == count and result.get("unexpected_count") == len(rows)
        seen = threshold.not_null or result.get("missing_count") == nulls
        if not (answered and seen and bool(answer.success) == (not rows)):
            raise GateError(f"{key} was not evaluated for all of {count} rows", gate=self._name)
        return rows

    @classmethod
    def _batches(cls) -> "BatchDefinition[Any]":
        """Where frames are handed in."""
        if cls._definition is None:
            cls._definition = whole_frames(private_context())
            LOG.debug("Great Expectations is loaded")
        return cls._definition

    @classmethod
    @contextmanager
    def alone(cls) -> Iterator[None]:
        """While the block runs, nobody else of this process speaks to Great Expectations."""
        with cls._lock:
            yield


def private_context(sites: Mapping[str, Any] | None = None) -> "AbstractDataContext":
    """A context that lives in memory, makes no file, shows no bars and reports nothing to anyone.

    Args:
        sites: Places for Data Docs, by name.
    """
    logging.getLogger("great_expectations").setLevel(logging.WARNING)  # it tells how it sets itself up
    import great_expectations as gx
    from great_expectations.data_context.types.base import (
        DataContextConfig,
        InMemoryStoreBackendDefaults,
        ProgressBarsConfig,
    )

    config = DataContextConfig(
        store_backend_defaults=InMemoryStoreBackendDefaults(init_temp_docs_sites=False),
        data_docs_sites=dict(sites or {}),
        progress_bars=ProgressBarsConfig(globally=False, metric_calculations=False),
        analytics_enabled=False,
    )
    return gx.get_context(mode="ephemeral", project_config=config)


def whole_frames(context: "AbstractDataContext") -> "BatchDefinition[Any]":
    """Where a context is handed frames."""
    asset = context.data_sources.add_pandas("measures").add_dataframe_asset("rows")
    return asset.add_batch_definition_whole_dataframe("all")


def key_of(threshold: Threshold) -> str:
    """The key of a threshold in ``Validator.failing``."""
    return f"{threshold.measure} {threshold.bound}"


def series(values: Sequence[float | str | None]) -> Any:
    """A column as Great Expectations reads it: numbers with NaN for what is missing, or objects."""
    import numpy as np

    if any(isinstance(value, str) for value in values):
        return np.array(values, dtype=object)
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)


def _raised(info: Mapping[str, Any] | None) -> bool:
    """Whether there was an exception; the field is that of the whole or has one entry for each metric."""
    if not info:
        return False
    if "raised_exception" in info:
        return bool(info["raised_exception"])
    return any(bool(each.get("raised_exception", True)) for each in info.values())


def _message(info: Mapping[str, Any]) -> str:
    parts = [info] if "raised_exception" in info else list(info.values())
    return "; ".join(str(each.get("exception_message")) for each in parts)
