"""Where functions on chunks run: in this process, or on the workers of a Dask cluster.

Functions and their tasks are picklable and pass references; what comes back are facts.
"""

import logging
import os
import resource
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeVar

from datasets.errors import NoResourceError, SettingsError, WorkerLostError, worth_retrying
from datasets.settings import Settings
from datasets.storage import Storage

Task = TypeVar("Task")
Result = TypeVar("Result")
Resources = Mapping[str, float]

IN_FLIGHT_PER_WORKER = 2  # one being worked on, one waiting: no worker idles, nothing piles up


class Executor(Protocol):
    """Runs one function over many tasks and yields the results as they come, each with its task's position."""

    workers: int

    def run(
        self, function: Callable[[Task], Result], tasks: Iterable[Task], *, resources: Resources | None = None
    ) -> Iterator[tuple[int, Result]]: ...


class InProcess:
    """Everything in this process, one task after the other, the libraries using all cores."""

    workers = 1

    def __init__(self, retries: int = 3) -> None:
        self._retries = retries

    def run(
        self, function: Callable[[Task], Result], tasks: Iterable[Task], *, resources: Resources | None = None
    ) -> Iterator[tuple[int, Result]]:
        """Run the tasks in order.

        Raises:
            NoResourceError: A resource was asked for that this machine does not have.
        """
        refuse_resources(resources, local_resources())
        for position, task in enumerate(tasks):
            yield position, attempt(function, task, self._retries)


class OnDask:
    """Tasks go to Dask workers, a bounded number at a time; a run that ends takes its futures with it."""

    def __init__(self, client: Any, retries: int = 3) -> None:
        self._client = client
        self._retries = retries
        self.workers = max(1, len(client.scheduler_info(n_workers=-1)["workers"]))

    def run(
        self, function: Callable[[Task], Result], tasks: Iterable[Task], *, resources: Resources | None = None
    ) -> Iterator[tuple[int, Result]]:
        """Run the tasks on the workers, results as they finish.

        Raises:
            NoResourceError: No worker has the resource, so that the tasks would wait for ever.
            WorkerLostError: A task took its worker down again and again.
        """
        refuse_resources(resources, self._available())
        waiting = enumerate(tasks)
        positions: dict[Any, int] = {}
        try:
            yield from self._drain(function, waiting, positions, dict(resources or {}))
        finally:
            self._client.cancel(list(positions), force=True)

    def _drain(
        self,
        function: Callable[[Task], Result],
        waiting: Iterator[tuple[int, Task]],
        positions: dict[Any, int],
        resources: dict[str, float],
    ) -> Iterator[tuple[int, Result]]:
        from distributed import KilledWorker, as_completed

        finished = as_completed([])

        def submit_next() -> None:
            for position, task in waiting:
                future = self._client.submit(
                    attempt, function, task, self._retries, pure=False, resources=resources or None
                )
                positions[future] = position
                finished.add(future)
                return

        for _ in range(self.workers * IN_FLIGHT_PER_WORKER):
            submit_next()
        for future in finished:
            try:
                result = future.result()
            except KilledWorker as error:
                raise WorkerLostError(
                    "a worker died again and again on the same task: too little memory, or a library that crashes on it"
                ) from error
            yield positions.pop(future), result
            submit_next()

    def _available(self) -> dict[str, float]:
        total: dict[str, float] = {}
        for worker in self._client.scheduler_info(n_workers=-1)["workers"].values():
            for name, amount in worker.get("resources", {}).items():
                total[name] = max(total.get(name, 0.0), float(amount))
        return total


def local_resources() -> dict[str, float]:
    """What this machine offers to its own workers: one GPU where there is one."""
    if not Path("/dev/nvidia0").exists():
        return {}
    import torch

    return {"GPU": 1.0} if torch.cuda.is_available() else {}


def refuse_resources(wanted: Resources | None, available: Mapping[str, float]) -> None:
    """Raise if no worker has what a task asks for."""
    for name, amount in (wanted or {}).items():
        if available.get(name, 0.0) < amount:
            known = ", ".join(f"{key}={value:g}" for key, value in sorted(available.items())) or "none"
            raise NoResourceError(
                f"a stage needs {name}={amount:g} and no worker has it (declared resources: {known}); "
                "start a worker with it or choose another device",
                resource=name,
                available=dict(available),
            )


def attempt(function: Callable[[Task], Result], task: Task, retries: int) -> Result:
    """Call a function, again when that may help, with exponential backoff and jitter."""
    import stamina

    for trial in stamina.retry_context(
        on=worth_retrying_exception, attempts=retries + 1, timeout=None, wait_initial=0.1, wait_max=5.0
    ):
        with trial:
            return function(task)
    raise AssertionError("unreachable: the last attempt either returns or raises")


def worth_retrying_exception(error: Exception) -> bool:
    return worth_retrying(error)


def peak_memory_bytes() -> int:
    """The largest resident memory this process ever had."""
    scale = 1 if sys.platform == "darwin" else 1024  # kilobytes everywhere but there
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale


def open_executor(settings: Settings, storage: Storage) -> AbstractContextManager[Executor]:
    """The executor that the settings ask for.

    Raises:
        SettingsError: Worker processes were asked for and the storage cannot be seen by them.
    """
    if settings.dask_address is None and settings.workers == 1:
        return _in_process(settings)
    if not storage.is_shared:
        raise SettingsError(
            f"{storage.root} is seen by this process alone; use one worker, or a storage root on disk",
            root=storage.root,
        )
    return _on_dask(settings)


@contextmanager
def _in_process(settings: Settings) -> Iterator[Executor]:
    yield InProcess(settings.chunk_retries)


def _leave_at_once() -> Any:
    """A plugin that ends a worker told to close without waiting for torch's threads, which keep it for four seconds.

    Workers hold nothing that needs saving: what they wrote is on disk with its mark.
    """
    from distributed import WorkerPlugin

    class LeaveAtOnce(WorkerPlugin):
        name = "leave-at-once"

        def teardown(self, worker: object) -> None:
            os._exit(0)

    return LeaveAtOnce()


@contextmanager
def _on_dask(settings: Settings) -> Iterator[Executor]:
    import dask
    from distributed import Client, LocalCluster

    logging.getLogger("distributed").setLevel(logging.ERROR)  # a run's own words are the stages', not the cluster's
    with dask.config.set({"distributed.admin.large-graph-warning-threshold": "1GB"}):
        if settings.dask_address is not None:
            with Client(settings.dask_address, timeout="15s") as client:
                yield OnDask(client, settings.chunk_retries)
            return
        threads = max(1, (os.cpu_count() or 1) // settings.workers)
        # Workers that leave at once make multiprocessing's bookkeeper complain on the user's terminal.
        os.environ.setdefault("PYTHONWARNINGS", "ignore:resource_tracker")
        with (
            LocalCluster(
                n_workers=settings.workers,
                threads_per_worker=1,
                processes=True,
                dashboard_address=None,
                memory_limit=0,
                resources=local_resources(),
                env={
                    "OMP_NUM_THREADS": str(threads),
                    "MKL_NUM_THREADS": str(threads),
                    "DASK_LOGGING__DISTRIBUTED": "error",
                },
            ) as cluster,
            Client(cluster) as client,
        ):
            client.register_plugin(_leave_at_once())
            yield OnDask(client, settings.chunk_retries)
