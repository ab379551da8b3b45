"""Where functions on chunks run: in this process, or on the workers of a Dask cluster.

Functions and their tasks are picklable and pass references; what comes back are facts.
"""

import resource
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Protocol, TypeVar

from datasets.errors import NoResourceError, SettingsError, worth_retrying
from datasets.redaction import scrubbing
from datasets.settings import Settings
from datasets.storage import Storage

Task = TypeVar("Task")
Result = TypeVar("Result")
Resources = Mapping[str, float]


class Executor(Protocol):
    """Runs one function over many tasks and yields the results as they come, each with its task's position.

    Attributes:
        workers: Tasks that may run at a time.
        in_process: Whether they run in the caller's own process, with its memory.
    """

    workers: int
    in_process: bool

    def run(
        self, function: Callable[[Task], Result], tasks: Iterable[Task], *, resources: Resources | None = None
    ) -> Iterator[tuple[int, Result]]: ...


class InProcess:
    """Everything in this process, one task of a caller's after the other, the libraries using all cores.

    Args:
        threads: How many callers there are at a time; for tasks that use one core each.
        take_turns: Whether threads that ask at the same time wait for each other. Not where one thread's task waits
            for what another's makes, as a clip's stages that begin early do.
    """

    in_process = True

    def __init__(self, retries: int = 3, *, threads: int = 1, take_turns: bool = False) -> None:
        self.workers = threads
        self._retries = retries
        self._turn: AbstractContextManager[object] = threading.Lock() if take_turns else nullcontext()

    def run(
        self, function: Callable[[Task], Result], tasks: Iterable[Task], *, resources: Resources | None = None
    ) -> Iterator[tuple[int, Result]]:
        """Run the tasks in order.

        Raises:
            NoResourceError: A resource was asked for that this machine does not have.
        """
        refuse_resources(resources, local_resources())
        for position, task in enumerate(tasks):
            with self._turn:
                result = attempt(function, task, self._retries)
            yield position, result


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
        with trial, scrubbing():  # here, where the values are known: the error goes to another process
            return function(task)
    raise AssertionError("unreachable: the last attempt either returns or raises")


def worth_retrying_exception(error: Exception) -> bool:
    return worth_retrying(error)


def peak_memory_bytes() -> int:
    """The largest resident memory this process ever had."""
    scale = 1 if sys.platform == "darwin" else 1024  # kilobytes everywhere but there
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale


def open_executor(
    settings: Settings, storage: Storage, *, threads: int = 1, take_turns: bool = False
) -> AbstractContextManager[Executor]:
    """The executor that the settings ask for.

    Args:
        threads: How many items are on their way at a time where there are no worker processes.
        take_turns: Whether there are more items on their way than workers, as where items wait for a paid service: in
            this process they then compute one after the other.

    Raises:
        SettingsError: Worker processes were asked for and the storage cannot be seen by them, or the cluster that the
            settings name cannot do this run's work.
    """
    if settings.dask_address is None and settings.workers == 1:
        return _in_process(settings, threads, take_turns=take_turns)
    if not storage.is_shared:
        raise SettingsError(
            f"{storage.root} is seen by this process alone; use one worker, or a storage root on disk",
            root=storage.root,
        )
    from tasks.dask_executor import open_cluster

    return open_cluster(settings, storage)


@contextmanager
def _in_process(settings: Settings, threads: int, *, take_turns: bool) -> Iterator[Executor]:
    yield InProcess(settings.chunk_retries, threads=threads, take_turns=take_turns)
