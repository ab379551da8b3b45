"""Runs a flow for a cell: beside the cell's event loop, watched, and stopped when the cell is interrupted."""

import threading
from collections.abc import Callable
from contextvars import copy_context
from typing import Generic, TypeVar

from flows.notebook_progress import Bar, Surface, surface_here
from flows.order import Order
from flows.summary import RunSummary

DRAWN_EVERY_S = 0.15
Result = TypeVar("Result")


class _Beside(threading.Thread, Generic[Result]):
    """Work in a thread of its own, which has no event loop: what Prefect offers to both kinds of callers then waits."""

    def __init__(self, work: Callable[[], Result]) -> None:
        super().__init__(name="stillmotion-run", daemon=True)
        self._work, self._context = work, copy_context()
        self.result: Result | None = None
        self.error: BaseException | None = None
        self.ended = threading.Event()  # a join that is interrupted takes the thread for ended

    def run(self) -> None:
        try:
            self.result = self._context.run(self._work)
        except BaseException as error:  # raised again where it is waited for
            self.error = error
        finally:
            self.ended.set()


def watched(work: Callable[[], Result], bar: Bar, surface: Surface | None = None) -> Result:
    """What the work gives, with a bar drawn in the meantime.

    An interrupted cell tells the work to end and waits until its books are closed; a second interruption does not wait.

    Raises:
        KeyboardInterrupt: The cell was interrupted.
    """
    shown = surface or surface_here()
    thread = _Beside(work)
    thread.start()
    try:
        while not thread.ended.wait(DRAWN_EVERY_S):
            bar.draw(shown)
    except KeyboardInterrupt:
        bar.interrupted.set()
        thread.ended.wait()
        raise
    finally:
        bar.draw(shown, end="interrupted" if bar.interrupted.is_set() else None)
        shown.close()
    if thread.error is not None:
        raise thread.error
    return thread.result  # type: ignore[return-value]  # there, as there is no error


def run_order(order: Order) -> RunSummary:
    """The product flow with a progress bar, as a Prefect flow run; what it came to."""
    from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

    from flows.opening import watched_by
    from flows.product import product
    from tasks.prefect_stage import value_of

    bar = Bar()

    def work() -> RunSummary:
        # Joining Prefect's heartbeat thread costs every flow a second; the ledger has a heartbeat of its own.
        with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}), watched_by(bar):
            state = product(order, return_state=True)
        found = value_of(state)
        summary = found if isinstance(found, RunSummary) else state.result()
        assert isinstance(summary, RunSummary)
        return summary

    return watched(work, bar)
