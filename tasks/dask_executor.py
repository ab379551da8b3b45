"""Chunk functions on the workers of a Dask cluster: lost workers are borne, a task that kills them fails alone."""

import logging
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError
from contextlib import ExitStack, closing, contextmanager
from itertools import chain
from multiprocessing import resource_tracker
from typing import Any, TypeVar

from datasets import redaction
from datasets.errors import WorkerLostError
from datasets.settings import Settings
from datasets.storage import Storage
from tasks.allocation import reuse_freed_memory
from tasks.dask_lanes import Floor, Lane
from tasks.executor import Resources, Result, Task, attempt, local_resources, refuse_resources

Answer = TypeVar("Answer")
IN_FLIGHT_PER_WORKER = 2  # one being worked on, one waiting: no worker idles, nothing piles up
FAILURES_BORNE = 1  # workers that a task may outlive, however it came to be there, before it is tried alone


class OnDask:
    """Tasks go to Dask workers, a bounded number at a time; a run that ends takes its futures with it."""

    in_process = False

    def __init__(self, client: Any, retries: int = 3) -> None:
        self._client = client
        self._retries = retries
        self._floor = Floor()
        self._resources: dict[str, float] = {}
        self.workers = max(1, len(client.scheduler_info(n_workers=-1)["workers"]))

    def run(
        self, function: Callable[[Task], Result], tasks: Iterable[Task], *, resources: Resources | None = None
    ) -> Iterator[tuple[int, Result]]:
        """Run the tasks on the workers, results as they finish. Called from several threads at once.

        Raises:
            NoResourceError: No worker has the resource, so that the tasks would wait for ever.
            WorkerLostError: A task took its worker down again and again, also alone; or the cluster went away.
        """
        from distributed import KilledWorker

        refuse_resources(resources, self._available())
        wanted = dict(resources or {})
        room = self.workers * IN_FLIGHT_PER_WORKER
        lane = Lane(lambda task: self._submit(function, task, wanted), tasks, self._floor, room)
        try:
            for future, position, task in lane.finished():
                try:
                    result = future.result()
                except KilledWorker:
                    result = self._run_alone(function, task, wanted)
                except CancelledError as error:
                    result = self._run_after_loss(function, task, wanted, error)
                yield position, result
        finally:
            self._take_back(lane.close())

    def everywhere(self, function: Callable[..., Answer], *arguments: object) -> list[Answer]:
        """Call a function on every worker that is there; those that do not answer are left out."""
        return list(self._client.run(function, *arguments, on_error="ignore").values())

    def at_start(self, plugin: Any) -> None:
        """Have every worker, present and to come, set up a plugin."""
        self._client.register_plugin(plugin)

    def _take_back(self, futures: list[Any]) -> None:
        """Have nobody compute these any more; a client that lost its cluster for good has nobody to tell."""
        if self._client.status != "closed":
            self._client.cancel(futures, force=True)

    def _submit(self, function: Callable[[Task], Result], task: Task, resources: dict[str, float]) -> Any:
        return self._client.submit(attempt, function, task, self._retries, pure=False, resources=resources or None)

    def _result(self, future: Any) -> Any:
        try:
            return future.result()
        except CancelledError as error:
            raise _gone() from error

    def _run_after_loss(
        self, function: Callable[[Task], Result], task: Task, resources: dict[str, float], error: CancelledError
    ) -> Any:
        """What becomes of a task whose scheduler was lost: nothing, where it was this run's own."""
        raise _gone() from error

    def _run_alone(self, function: Callable[[Task], Result], task: Task, resources: dict[str, float]) -> Any:
        """Another try for a task whose workers died, with nothing else on the cluster that could be to blame."""
        from distributed import KilledWorker

        with self._floor.alone():
            try:
                return self._result(self._submit(function, task, resources))
            except KilledWorker as error:
                raise WorkerLostError(
                    "a worker died again and again on the same task, also alone: too little memory, or a library that "
                    "crashes on it"
                ) from error

    def _available(self) -> dict[str, float]:
        """Everything a worker ever had: one that is being started again has none at the moment."""
        total = self._resources
        told = self._client.scheduler_info(n_workers=-1)
        if "workers" not in told:  # the scheduler is away
            raise _gone()
        for worker in told["workers"].values():
            for name, amount in worker.get("resources", {}).items():
                total[name] = max(total.get(name, 0.0), float(amount))
        return total


def _gone() -> WorkerLostError:
    return WorkerLostError("the Dask cluster went away; the same command goes on where this one was")


def _manners() -> Any:
    """A plugin that keeps a worker's own words off the user's terminal, and ends it at once when it is told to close.

    Waiting for torch's threads would take four seconds. Workers hold nothing that needs saving: what they wrote is
    in the store with its mark.
    """
    from distributed import WorkerPlugin

    class Manners(WorkerPlugin):
        name = "manners"

        def setup(self, worker: object) -> None:
            import cv2

            logging.getLogger("distributed").setLevel(logging.CRITICAL)
            redaction.install()
            reuse_freed_memory()
            cv2.setNumThreads(int(os.environ.get("OMP_NUM_THREADS", "1")))  # or every worker takes all cores

        def teardown(self, worker: object) -> None:
            os._exit(0)

    return Manners()


class OwnWorkers:
    """Workers on this machine that start with the first task: a run whose results are all there waits for none."""

    in_process = False

    def __init__(self, settings: Settings, until: ExitStack) -> None:
        """
        Args:
            settings: How many, and how often a chunk is tried again.
            until: Ends them when it is closed.
        """
        self._settings, self._until = settings, until
        self._lock = threading.Lock()
        self._cluster: OnDask | None = None
        self._plugins: list[Any] = []
        self.workers = settings.workers

    def run(
        self, function: Callable[[Task], Result], tasks: Iterable[Task], *, resources: Resources | None = None
    ) -> Iterator[tuple[int, Result]]:
        """As ``OnDask`` does."""
        waiting = iter(tasks)
        for first in waiting:
            yield from self._started().run(function, chain([first], waiting), resources=resources)

    def everywhere(self, function: Callable[..., Answer], *arguments: object) -> list[Answer]:
        """As ``OnDask`` does; workers that were not started have nothing to say."""
        return [] if self._cluster is None else self._cluster.everywhere(function, *arguments)

    def at_start(self, plugin: Any) -> None:
        """As ``OnDask`` does, once they are started."""
        with self._lock:
            self._plugins.append(plugin)
            if self._cluster is not None:
                self._cluster.at_start(plugin)

    def _started(self) -> OnDask:
        with self._lock:
            if self._cluster is None:
                with _deaf_to_interrupts():
                    client = self._until.enter_context(_own_cluster(self._settings))
                self._cluster = OnDask(client, self._settings.chunk_retries)
                for plugin in self._plugins:
                    self._cluster.at_start(plugin)
            return self._cluster


@contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """Processes and threads that begin here never see Ctrl-C: the command takes it and ends them in good order."""
    resource_tracker.ensure_running()  # which would open this thread's ears again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def open_cluster(settings: Settings, storage: Storage) -> Iterator[OnDask | OwnWorkers]:
    """Workers of the cluster that the settings name, or of one on this machine that ends with the block.

    Args:
        storage: The run's; workers that are not ours are asked whether they see it.
    """
    logging.getLogger("distributed").setLevel(logging.ERROR)  # a run's own words are the stages', not the cluster's
    with ExitStack() as until:
        if settings.dask_address is None:
            yield OwnWorkers(settings, until)
        else:
            from tasks.cluster import open_remote

            until.enter_context(_configured())
            yield until.enter_context(open_remote(settings, storage))


@contextmanager
def _configured() -> Iterator[None]:
    """While the block runs, Dask bears what we bear; with its defaults loaded, or the end would take them along."""
    import dask
    import distributed  # noqa: F401

    manners = {
        "distributed.admin.large-graph-warning-threshold": "1GB",
        "distributed.scheduler.allowed-failures": FAILURES_BORNE,
    }
    with dask.config.set(manners):
        yield


@contextmanager
def _own_cluster(settings: Settings) -> Iterator[Any]:
    from distributed import Client, LocalCluster

    threads = max(1, (os.cpu_count() or 1) // settings.workers)
    # Workers that leave at once make multiprocessing's bookkeeper complain on the user's terminal.
    os.environ.setdefault("PYTHONWARNINGS", "ignore:resource_tracker")
    with (
        _configured(),
        LocalCluster(
            n_workers=settings.workers,
            threads_per_worker=1,
            processes=True,
            dashboard_address=None,
            scheduler_kwargs={"dashboard_address": "127.0.0.1:0"},  # else its HTTP port complains when it is taken
            memory_limit=0,
            resources=local_resources(),
            env={
                "OMP_NUM_THREADS": str(threads),
                "MKL_NUM_THREADS": str(threads),
                "DASK_LOGGING__DISTRIBUTED": "error",
            },
        ) as cluster,
        closing(Client(cluster, set_as_default=False)) as client,  # it begins in one thread and ends in another
    ):
        client.register_plugin(_manners())
        yield client
