"""A Dask cluster that somebody else runs: what must hold before a run goes there, and how its workers are met.

Processes on other machines see no local folder, and a SQLite file's locks hold on one machine alone. What a worker
computes stands under a fingerprint that names this process's libraries, so both must have the same ones.
"""

import logging
import os
import platform
import secrets
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import CancelledError
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import psutil

from datasets.errors import PipelineError, SettingsError, WorkerLostError
from datasets.lineage.environment import DECIDING, version_of
from datasets.settings import MEBIBYTE, Settings
from datasets.storage import Storage
from tasks.dask_executor import OnDask
from tasks.executor import Executor, Resources, Result, Task, attempt, local_resources, refuse_resources
from tasks.plan import MEMORY_SHARE

LOG = logging.getLogger("stillmotion")
CONNECT_S = 15.0
WORKERS_COME_S = 60.0  # for the first worker of a cluster that grows when it is asked
SCHEDULER_BACK_S = 60.0  # a scheduler that is started again within this time costs the tasks it had, and no run
POLL_S = 0.2
ALIKE = ("stillmotion", "dask", "distributed", "cloudpickle", "zarr", *DECIDING)
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")  # proc(5): one for all containers of a running kernel


@dataclass(frozen=True)
class WorkerFacts:
    """What a worker says of itself.

    Attributes:
        versions: Of Python and of what decides pixels or carries tasks, by name; what is missing is left out.
        memory_bytes: Free at the moment on its machine.
        devices: What it can really use, as ``GPU``, whatever it declares.
        unseen: Why it does not see what it was shown in the storage; empty if it does.
    """

    host: str
    machine: str
    versions: Mapping[str, str]
    memory_bytes: int
    devices: tuple[str, ...]
    unseen: str


def refuse_unshared(settings: Settings) -> None:
    """Raise if workers on other machines could not see what this run keeps. Nothing is opened or asked for that.

    Raises:
        SettingsError: A cluster by address with a local storage, a SQLite ledger, or both; the message says all of it.
    """
    if settings.dask_address is None or settings.dask_same_machine:
        return
    reasons = _unshared(settings)
    if reasons:
        raise SettingsError(
            f"the Dask cluster at {settings.dask_address} cannot do this installation's work: "
            f"{'; '.join(reasons.values())}. If scheduler and workers run on this machine, say "
            "STILLMOTION_DASK_SAME_MACHINE=true",
            dask_address=settings.dask_address,
            reasons=sorted(reasons),
        )


def _unshared(settings: Settings) -> dict[str, str]:
    """What other machines do not see, each with its remedy."""
    reasons: dict[str, str] = {}
    if settings.ledger.startswith("sqlite"):
        reasons["ledger_sqlite"] = (
            "its ledger is a SQLite file, whose locks hold on one machine alone: set STILLMOTION_LEDGER_URL to a "
            "postgresql:// address"
        )
    if settings.local_root is not None:
        reasons["storage_local"] = (
            f"its storage root {settings.storage_root!r} is a folder of this machine, which workers elsewhere do not "
            "see: set STILLMOTION_STORAGE_ROOT to s3://BUCKET/PREFIX"
        )
    elif settings.storage_root.startswith("memory://"):
        reasons["storage_memory"] = (
            "its storage root is the memory of this process: set STILLMOTION_STORAGE_ROOT to s3://BUCKET/PREFIX"
        )
    return reasons


@cache
def versions_here() -> dict[str, str]:
    """Versions of Python and of what must be alike on both sides, by name."""
    found = {name: version_of(name) for name in ALIKE}
    return {"python": platform.python_version(), **{name: said for name, said in found.items() if said is not None}}


def facts_here(storage: Storage | None = None, shown: str = "") -> WorkerFacts:
    """What this process says of itself.

    Args:
        shown: Name of something in the storage that whoever asks sees.
    """
    return WorkerFacts(
        host=platform.node(),
        machine=_machine(),
        versions=versions_here(),
        memory_bytes=int(psutil.virtual_memory().available),
        devices=tuple(local_resources()),
        unseen="" if storage is None else _why_unseen(storage, shown),
    )


def _why_unseen(storage: Storage, name: str) -> str:
    try:
        return "" if storage.exists(name) else "it is not there"
    except PipelineError as error:
        return error.message


def _machine() -> str:
    return BOOT_ID.read_text().strip() if BOOT_ID.exists() else platform.node()


def attempt_alike(versions: Mapping[str, str], function: Callable[[Task], Result], task: Task, retries: int) -> Result:
    """``attempt``, on a worker with the same versions alone: one may have joined since the others were asked.

    Raises:
        SettingsError: This worker has others.
    """
    refuse_other_versions(versions, {platform.node(): versions_here()})
    return attempt(function, task, retries)


def refuse_other_versions(wanted: Mapping[str, str], found: Mapping[str, Mapping[str, str]]) -> None:
    """Raise if a worker has other versions than are wanted.

    Args:
        wanted: Here, by name.
        found: By worker.

    Raises:
        SettingsError: The message names both sides' versions and where the others are.
    """
    for worker, theirs in found.items():
        names = [name for name in {**wanted, **theirs} if wanted.get(name) != theirs.get(name)]
        if names:
            said = ", ".join(
                f"{name} {theirs.get(name, 'missing')} where this has {wanted.get(name)}" for name in names
            )
            raise SettingsError(
                f"the Dask worker at {worker} has other versions than this process: {said}; what it made would stand "
                "under a fingerprint that is not its own. Start workers from the same image or environment",
                worker=worker,
                wanted={name: wanted.get(name) for name in names},
                found={name: theirs.get(name) for name in names},
            )


class OnCluster(OnDask):
    """Tasks on workers that were there before this run and stay after it.

    Attributes:
        memory_bytes: What one task may plan with, on the smallest worker.
        device: ``cuda`` if a worker declares a GPU and has one, else ``cpu``.
        dashboard: Address of the cluster's own page, empty if it has none.
    """

    def __init__(self, client: Any, facts: Mapping[str, WorkerFacts], retries: int = 3) -> None:
        super().__init__(client, retries)
        told = client.scheduler_info(n_workers=-1)["workers"]
        self.memory_bytes = _smallest_share(told, facts)
        declared = {address for address, worker in told.items() if worker.get("resources", {}).get("GPU")}
        self.device = "cuda" if any("GPU" in facts[each].devices for each in declared & facts.keys()) else "cpu"
        self.dashboard = str(client.dashboard_link or "")

    @property
    def resources(self) -> dict[str, float]:
        """Everything that a worker declared, the most that one of them has."""
        return self._available()

    def _available(self) -> dict[str, float]:
        try:
            return super()._available()
        except WorkerLostError as error:
            self._wait_for_scheduler(error)
            return super()._available()

    def _submit(self, function: Callable[[Task], Result], task: Task, resources: dict[str, float]) -> Any:
        from distributed.client import ClosedClientError

        try:
            return self._client.submit(
                *(attempt_alike, versions_here(), function, task, self._retries),
                pure=False,
                resources=resources or None,
            )
        except ClosedClientError as error:  # it looked for the scheduler for as long as it is patient
            raise _lost() from error

    def _run_after_loss(
        self, function: Callable[[Task], Result], task: Task, resources: dict[str, float], error: CancelledError
    ) -> Any:
        """The task once more, when there is a scheduler again."""
        LOG.warning("the Dask scheduler went away; waiting for it")
        self._wait_for_scheduler(error)
        return self._result(self._submit(function, task, resources))

    def _wait_for_scheduler(self, error: BaseException) -> None:
        until = time.monotonic() + SCHEDULER_BACK_S
        while time.monotonic() < until and self._client.status in ("connecting", "running"):
            if self._client.status == "running" and self._client.scheduler_info(n_workers=-1).get("workers"):
                return
            time.sleep(POLL_S)
        raise _lost() from error


def _lost() -> WorkerLostError:
    return WorkerLostError(
        f"the Dask scheduler went away and was not back with a worker within {SCHEDULER_BACK_S:g} s; the same command "
        "goes on where this one was"
    )


def _smallest_share(told: Mapping[str, Mapping[str, Any]], facts: Mapping[str, WorkerFacts]) -> int:
    """Bytes for one task: a share of what is free on a machine or allowed to a worker, by the tasks there at a time."""
    threads: dict[str, int] = {}
    for address, each in facts.items():
        threads[each.machine] = threads.get(each.machine, 0) + int(told.get(address, {}).get("nthreads", 1))
    shares = []
    for address, each in facts.items():
        worker = told.get(address, {})
        allowed = int(worker.get("memory_limit") or 0) or each.memory_bytes
        mine = allowed / int(worker.get("nthreads", 1))
        shares.append(min(mine, each.memory_bytes / threads[each.machine]))
    return int(min(shares) * MEMORY_SHARE)


def settle(settings: Settings, executor: Executor) -> Settings:
    """The settings with what the executor's workers decide: the device where ``auto`` leaves it open, and memory."""
    if not isinstance(executor, OnCluster):
        return settings
    found: dict[str, object] = {}
    if settings.device == "auto":
        found["device"] = executor.device
    if settings.memory_limit_mb is None:
        found["memory_limit_mb"] = max(1, executor.memory_bytes // MEBIBYTE)
    return settings.model_copy(update=found)


def refuse_missing(executor: Executor, wanted: Resources) -> None:
    """Raise at a run's start what its tasks would be refused for, where workers are not ours.

    Raises:
        NoResourceError: No worker declares what is wanted; the message names what they declare.
    """
    if isinstance(executor, OnCluster):
        refuse_resources(wanted, executor.resources)


@contextmanager
def open_remote(settings: Settings, storage: Storage) -> Iterator[OnCluster]:
    """The cluster at the address that the settings name, its workers asked whether they can do this run's work.

    Raises:
        SettingsError: Nobody answers at the address, no worker comes, a worker has other versions, or it does not see
            the storage.
    """
    refuse_unshared(settings)
    with _connected(settings) as client:
        facts = _meet(client, settings, storage)
        refuse_other_versions(versions_here(), {address: each.versions for address, each in facts.items()})
        client.register_plugin(_guest())
        yield OnCluster(client, facts, settings.chunk_retries)


@contextmanager
def _connected(settings: Settings) -> Iterator[Any]:
    from distributed import Client

    address = settings.dask_address
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # other versions are refused below, in our own words
        try:
            client = Client(address, timeout=CONNECT_S, set_as_default=False)
        except (OSError, TimeoutError, ValueError) as error:
            raise SettingsError(
                f"no Dask scheduler answers at {address} within {CONNECT_S:g} s: {error or type(error).__name__}; "
                "check STILLMOTION_DASK_ADDRESS, or leave it out to work on this machine",
                dask_address=address,
            ) from error
    with client:
        client._timeout = SCHEDULER_BACK_S  # so long it looks for a scheduler that went away
        try:
            client.wait_for_workers(1, timeout=WORKERS_COME_S)
        except TimeoutError as error:
            raise SettingsError(
                f"the Dask scheduler at {address} has no worker, and none came within {WORKERS_COME_S:g} s; start one "
                f"with `dask worker {address}`",
                dask_address=address,
            ) from error
        yield client


def _meet(client: Any, settings: Settings, storage: Storage) -> dict[str, WorkerFacts]:
    """What every worker says of itself."""
    with _shown(storage) as name:
        answers = client.run(facts_here, storage, name, on_error="return")
    for worker, answer in answers.items():
        if isinstance(answer, ImportError | AttributeError):
            raise SettingsError(
                f"the Dask worker at {worker} does not have this program, or another one of it ({answer}); start "
                "workers from the same image or environment",
                worker=worker,
            )
    met = {worker: answer for worker, answer in answers.items() if isinstance(answer, WorkerFacts)}
    if not met:
        raise SettingsError(f"no worker of {settings.dask_address} answers: {answers}")
    strangers = {worker: each.unseen for worker, each in met.items() if each.unseen}
    if strangers and settings.local_root is not None:
        raise SettingsError(
            f"STILLMOTION_DASK_SAME_MACHINE says that workers share this machine, but {', '.join(strangers)} sees "
            f"nothing of {storage.root}; use s3:// and postgresql://",
            workers=list(strangers),
        )
    if strangers:
        worker, why = next(iter(strangers.items()))
        raise SettingsError(
            f"the Dask worker at {worker} cannot read {storage.root}: {why}. Give workers the same AWS_* variables as "
            "this process, or keep them in a block and name that in STILLMOTION_STORAGE_BLOCK",
            workers=list(strangers),
        )
    return met


@contextmanager
def _shown(storage: Storage) -> Iterator[str]:
    """Something in the storage that workers are to see."""
    name = f"probes/{secrets.token_hex(8)}"
    storage.write_bytes(name, b"")
    try:
        yield name
    finally:
        storage.filesystem.rm_file(storage.path(name))


def _guest() -> Any:
    """A plugin for workers that are not ours: what they say holds no secret, and OpenCV takes no core but its own."""
    from distributed import WorkerPlugin

    class Guest(WorkerPlugin):
        name = "stillmotion"

        def setup(self, worker: object) -> None:
            import cv2

            from datasets import redaction
            from datasets.known_secrets import remember_environment

            remember_environment(os.environ)
            redaction.install()
            cv2.setNumThreads(int(os.environ.get("OMP_NUM_THREADS", "1")))

    return Guest()
