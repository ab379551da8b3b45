"""How a stage becomes a Prefect task: one run per item, named after both, shown as Cached when nothing was computed.
In a batch of items there is one run per stage and batch (``tasks/batch_stages.py``).

The store is the truth about what is cached, so Prefect keeps no results of its own: a stage that finds its output
there ends in the state ``Cached`` with the fingerprint as its cache key.
"""

import functools
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, cast

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, StateDetails
from prefect.states import Completed

from datasets.redaction import scrubbing
from tasks.batch_stages import batch_of_item
from tasks.context import current_run
from tasks.ends import NotDeliveredError
from tasks.stage import StageOutcome

Parameters = ParamSpec("Parameters")
Stage = Callable[Concatenate[str, Parameters], StageOutcome]


def stage_task(name: str) -> Callable[[Stage[Parameters]], Stage[Parameters]]:
    """Wrap a stage, whose first argument is the item, as a Prefect task. The engine retries, the task does not."""

    def wrap(stage: Stage[Parameters]) -> Stage[Parameters]:
        @functools.wraps(stage)
        def body(item: str, *args: Any, **kwargs: Any) -> StageOutcome | State[Any]:
            try:
                with scrubbing():  # Prefect keeps an error's text
                    outcome = stage(item, *args, **kwargs)
            except NotDeliveredError as end:
                return Completed(name=end.status.title(), message=end.message, data=end)
            return outcome if not outcome.cached else _cached(outcome)

        prefect_task = task(
            name=name, task_run_name=name + " {item}", retries=0, cache_policy=NO_CACHE, persist_result=False
        )(body)

        @functools.wraps(stage)
        def call(item: str, *args: Parameters.args, **kwargs: Parameters.kwargs) -> StageOutcome:
            if current_run().dry:
                return stage(item, *args, **kwargs)
            batch = batch_of_item()
            if batch is not None:
                return batch.pass_through(name, lambda: stage(item, *args, **kwargs))
            result = prefect_task(item, *args, **kwargs)
            value = value_of(result) if isinstance(result, State) else result
            if isinstance(value, NotDeliveredError):
                raise value
            return cast("StageOutcome", value)

        return cast("Stage[Parameters]", call)

    return wrap


def value_of(state: State[Any]) -> object:
    """What a state carries, also a failed one; Prefect may have wrapped it in a record of its own."""
    return getattr(state.data, "result", state.data)


def _cached(outcome: StageOutcome) -> State[StageOutcome]:
    return Completed(
        name="Cached",
        message="Taken from the store; nothing was computed.",
        data=outcome,
        state_details=StateDetails(cache_key=outcome.picture.fingerprint),
    )
