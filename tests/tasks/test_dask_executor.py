"""Workers that die: what they had in hand is done again, and a task that kills them fails alone."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from datasets.errors import NoResourceError, WorkerLostError
from datasets.settings import Settings
from datasets.storage import Storage
from tasks.dask_executor import IN_FLIGHT_PER_WORKER, open_cluster
from tasks.executor import Executor

WORKERS = 2


@dataclass(frozen=True)
class Job:
    number: int
    log: str
    seconds: float = 0.0
    deadly: bool = False


def work(job: Job) -> int:
    with Path(job.log).open("a") as log:
        log.write(f"{job.number} {os.getpid()}\n")
    time.sleep(job.seconds)
    if job.deadly:
        os._exit(1)
    return job.number**2


def executions(log: Path) -> list[int]:
    return [int(line.split()[0]) for line in log.read_text().splitlines()]


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Executor]:
    with open_cluster(
        Settings(workers=WORKERS, storage_root=str(tmp_path)), Storage(str(tmp_path), "default")
    ) as executor:
        yield executor


def test_a_killed_worker_costs_at_most_the_tasks_it_had_in_hand(cluster: Executor, tmp_path: Path) -> None:
    log, count = tmp_path / "log", 24
    results: dict[int, int] = {}
    for position, result in cluster.run(work, (Job(n, str(log), 0.05) for n in range(count))):
        results[position] = result
        if len(results) == 8:
            os.kill(int(log.read_text().splitlines()[-1].split()[1]), signal.SIGKILL)
    assert results == {n: n * n for n in range(count)}
    again = len(executions(log)) - count
    assert 1 <= again <= IN_FLIGHT_PER_WORKER * WORKERS
    assert set(executions(log)) == set(range(count))


def test_a_task_that_kills_its_workers_fails_alone(cluster: Executor, tmp_path: Path) -> None:
    """The others stand in one queue with it, so that they see workers die as often as it does."""
    good, bad = tmp_path / "good", tmp_path / "bad"
    count, runs = 40, 8

    def innocent() -> list[int]:
        return sorted(result for _, result in cluster.run(work, (Job(n, str(good), 0.05) for n in range(count))))

    def poisoned() -> None:
        while not good.exists():
            time.sleep(0.01)
        list(cluster.run(work, [Job(n, str(bad), deadly=n == 1) for n in range(3)]))

    with ThreadPoolExecutor(runs + 1) as threads:
        fine, failed = [threads.submit(innocent) for _ in range(runs)], threads.submit(poisoned)
        with pytest.raises(WorkerLostError, match="also alone"):
            failed.result(120)
        for results in fine:
            assert results.result(120) == sorted(n * n for n in range(count))
    assert executions(bad).count(1) >= 2


def test_a_cluster_that_goes_away_is_said_and_leaves_nobody_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from distributed import LocalCluster

    monkeypatch.setattr("tasks.cluster.SCHEDULER_BACK_S", 1.0)

    with LocalCluster(n_workers=1, threads_per_worker=1, processes=True, dashboard_address=None) as remote:
        settings = Settings(dask_address=remote.scheduler_address, dask_same_machine=True, storage_root=str(tmp_path))
        with open_cluster(settings, Storage(str(tmp_path), "default")) as executor:
            results = executor.run(work, [Job(n, str(tmp_path / "log"), 0.1) for n in range(100)])
            next(results)
            remote.close()
            with pytest.raises(WorkerLostError, match="went away"):
                list(results)
            with pytest.raises(WorkerLostError, match="went away"):
                list(executor.run(work, [Job(0, str(tmp_path / "log"))]))


def test_a_resource_that_no_worker_has_is_refused_at_once(cluster: Executor, tmp_path: Path) -> None:
    with pytest.raises(NoResourceError) as refused:
        list(cluster.run(work, [Job(0, str(tmp_path / "log"))], resources={"abacus": 1}))
    assert refused.value.facts["resource"] == "abacus"


def test_a_run_that_ends_early_takes_its_tasks_with_it(cluster: Executor, tmp_path: Path) -> None:
    log = tmp_path / "log"
    running = cluster.run(work, (Job(n, str(log), 0.05) for n in range(1000)))
    next(running)
    running.close()  # type: ignore[attr-defined]  # a generator
    time.sleep(0.5)
    so_far = len(executions(log))
    time.sleep(0.3)
    assert len(executions(log)) == so_far < 20


def test_results_are_handed_on_while_the_next_task_is_waited_for(cluster: Executor, tmp_path: Path) -> None:
    handed_on = threading.Event()

    def tasks() -> Iterator[Job]:
        yield Job(2, str(tmp_path / "log"))
        assert handed_on.wait(30), "a result waits for a task"
        yield Job(3, str(tmp_path / "log"))

    results = {}
    for position, result in cluster.run(work, tasks()):
        results[position] = result
        handed_on.set()
    assert results == {0: 4, 1: 9}


def test_what_goes_wrong_with_the_tasks_themselves_is_raised_where_the_results_are_read(
    cluster: Executor, tmp_path: Path
) -> None:
    def tasks() -> Iterator[Job]:
        yield Job(2, str(tmp_path / "log"))
        raise LookupError("no such task")

    with pytest.raises(LookupError, match="no such task"):
        list(cluster.run(work, tasks()))
    assert list(cluster.run(work, [Job(5, str(tmp_path / "log"))])) == [(0, 25)]


def test_workers_start_with_the_first_task(tmp_path: Path) -> None:
    before = len(psutil.Process().children(recursive=True))
    with open_cluster(
        Settings(workers=WORKERS, storage_root=str(tmp_path)), Storage(str(tmp_path), "default")
    ) as executor:
        assert list(executor.run(work, [])) == []
        assert executor.workers == WORKERS
        assert len(psutil.Process().children(recursive=True)) == before
        assert list(executor.run(work, [Job(2, str(tmp_path / "log"))])) == [(0, 4)]


def test_nothing_of_the_cluster_is_left_behind(tmp_path: Path) -> None:
    with open_cluster(
        Settings(workers=WORKERS, storage_root=str(tmp_path)), Storage(str(tmp_path), "default")
    ) as executor:
        list(executor.run(work, [Job(0, str(tmp_path / "log"))]))
        assert len(psutil.Process().children(recursive=True)) >= WORKERS
    names = [child.cmdline() for child in psutil.Process().children(recursive=True)]
    assert not [name for name in names if any("spawn_main" in part for part in name)]
