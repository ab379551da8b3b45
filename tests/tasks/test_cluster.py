"""A cluster by address: refused where it could not do the work, with the reason; its workers' resources and memory."""

import os
import platform
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from datasets.errors import NoResourceError, SettingsError
from datasets.settings import Settings
from datasets.storage import Storage
from tasks import cluster as clusters
from tasks.cluster import (
    OnCluster,
    WorkerFacts,
    attempt_alike,
    facts_here,
    open_remote,
    refuse_missing,
    refuse_other_versions,
    refuse_unshared,
    settle,
    versions_here,
)
from tasks.dask_executor import IN_FLIGHT_PER_WORKER
from tests.services.dask_apart import DaskApart, dask_apart, end

ELSEWHERE = "tcp://scheduler.example:8786"
POSTGRESQL = "postgresql://somebody@db.example/ledger"


@dataclass(frozen=True)
class Job:
    number: int
    log: str
    seconds: float = 0.0


def work(job: Job) -> int:
    with Path(job.log).open("a") as log:
        log.write(f"{job.number} {os.getpid()}\n")
    time.sleep(job.seconds)
    return job.number**2


def lines(log: Path) -> list[tuple[int, int]]:
    """Number and process of every execution."""
    return [(int(number), int(pid)) for number, pid in (line.split() for line in log.read_text().splitlines())]


@pytest.mark.parametrize(
    ("root", "ledger", "reasons"),
    [
        ("/a/folder", POSTGRESQL, ["storage_local"]),
        ("file:///a/folder", POSTGRESQL, ["storage_local"]),
        ("memory://here", POSTGRESQL, ["storage_memory"]),
        ("s3://bucket/shop", "", ["ledger_sqlite"]),
        ("s3://bucket/shop", "sqlite:////nfs/ledger.db", ["ledger_sqlite"]),
        ("/a/folder", "", ["ledger_sqlite", "storage_local"]),
    ],
)
def test_what_other_machines_do_not_see_is_refused_with_every_reason(
    root: str, ledger: str, reasons: list[str]
) -> None:
    settings = Settings(dask_address=ELSEWHERE, storage_root=root, ledger_url=ledger)
    with pytest.raises(SettingsError) as refused:
        refuse_unshared(settings)
    assert refused.value.facts["reasons"] == reasons
    said = refused.value.message
    assert ELSEWHERE in said
    assert ("STILLMOTION_LEDGER_URL" in said) == ("ledger_sqlite" in reasons)
    assert ("STILLMOTION_STORAGE_ROOT" in said) == (len(reasons) == 2 or "ledger_sqlite" not in reasons)


@pytest.mark.parametrize(
    "settings",
    [
        Settings(storage_root="/a/folder", workers=2),
        Settings(dask_address=ELSEWHERE, storage_root="s3://bucket/shop", ledger_url=POSTGRESQL),
        Settings(dask_address="tcp://127.0.0.1:8786", storage_root="/a/folder", dask_same_machine=True),
    ],
)
def test_what_workers_see_is_not_refused(settings: Settings) -> None:
    refuse_unshared(settings)


def test_other_versions_are_refused_with_both_named() -> None:
    ours = {"python": "3.11.2", "torch": "2.13.0", "av": "18.1.0"}
    refuse_other_versions(ours, {"tcp://a:1": dict(ours)})
    with pytest.raises(SettingsError) as refused:
        refuse_other_versions(ours, {"tcp://a:1": ours, "tcp://b:1": {"python": "3.11.2", "torch": "2.12.0"}})
    said = refused.value.message
    assert all(word in said for word in ("tcp://b:1", "2.12.0", "2.13.0", "av missing", "18.1.0"))
    assert "3.11.2" not in said


def test_a_worker_with_other_versions_that_came_later_does_no_task(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=platform.node()):
        attempt_alike({**versions_here(), "torch": "0.1"}, work, Job(1, str(tmp_path / "log")), 0)
    assert not (tmp_path / "log").exists()
    assert attempt_alike(versions_here(), work, Job(3, str(tmp_path / "log")), 0) == 9


def test_memory_is_that_of_the_smallest_worker_shared_by_its_neighbours(monkeypatch: pytest.MonkeyPatch) -> None:
    def facts(machine: str, free: int) -> WorkerFacts:
        return WorkerFacts(machine, machine, {}, free, (), "")

    monkeypatch.setattr(clusters, "MEMORY_SHARE", 0.5)
    met = {"a": facts("large", 1000), "b": facts("large", 1000), "c": facts("small", 800)}
    told = {"a": {"nthreads": 1}, "b": {"nthreads": 3}, "c": {"nthreads": 1, "memory_limit": 0}}
    assert clusters._smallest_share(told, met) == 125  # half of 1000 / (1 + 3) on the large machine
    told["c"]["memory_limit"] = 100
    assert clusters._smallest_share(told, met) == 50


def test_a_scheduler_that_does_not_answer_is_said_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(clusters, "CONNECT_S", 1.0)
    settings = Settings(dask_address="tcp://127.0.0.1:9", dask_same_machine=True, storage_root=str(tmp_path))
    with (
        pytest.raises(SettingsError, match=r"127\.0\.0\.1:9 .*STILLMOTION_DASK_ADDRESS"),
        open_remote(settings, Storage(str(tmp_path), "default")),
    ):
        pass


@pytest.fixture(scope="module")
def apart(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaskApart]:
    with dask_apart(tmp_path_factory.mktemp("dask"), {"gpu": "GPU=1", "plain": ""}) as running:
        yield running


@pytest.fixture
def remote(apart: DaskApart, tmp_path: Path) -> Iterator[OnCluster]:
    with open_remote(_settings(apart, tmp_path), Storage(str(tmp_path), "default")) as executor:
        yield executor


def _settings(apart: DaskApart, root: Path) -> Settings:
    return Settings(dask_address=apart.address, dask_same_machine=True, storage_root=str(root))


@pytest.mark.slow
def test_tasks_go_where_their_resource_is_and_a_missing_one_is_refused_at_once(
    remote: OnCluster, apart: DaskApart, tmp_path: Path
) -> None:
    assert (remote.workers, remote.resources) == (2, {"GPU": 1.0})
    jobs = [Job(n, str(tmp_path / "log"), 0.02) for n in range(12)]
    assert dict(remote.run(work, jobs, resources={"GPU": 1})) == {n: n * n for n in range(12)}
    assert {pid for _, pid in lines(tmp_path / "log")} == {apart.workers["gpu"].pid}
    begun = time.monotonic()
    for refuse in (
        lambda: refuse_missing(remote, {"abacus": 1}),
        lambda: list(remote.run(work, jobs, resources={"abacus": 1})),
        lambda: refuse_missing(remote, {"GPU": 2}),
    ):
        with pytest.raises(NoResourceError, match="GPU=1"):
            refuse()
    assert time.monotonic() - begun < 5
    assert len(lines(tmp_path / "log")) == len(jobs)


@pytest.mark.slow
def test_settings_are_completed_by_what_the_workers_are(remote: OnCluster, apart: DaskApart, tmp_path: Path) -> None:
    found = settle(_settings(apart, tmp_path), remote)
    assert found.device == ("cuda" if facts_here().devices else "cpu")  # declared, and not there on this machine
    assert found.memory_limit_mb is not None
    assert found.memory_limit_mb <= 0.6 * 2048  # of the 2 GiB that a worker may take
    chosen = _settings(apart, tmp_path).model_copy(update={"device": "cuda", "memory_limit_mb": 77})
    assert settle(chosen, remote) == chosen


@pytest.mark.slow
def test_workers_with_another_release_are_refused(apart: DaskApart, tmp_path: Path) -> None:
    facts = tmp_path / "other" / "stillmotion-9.9.dist-info" / "METADATA"
    facts.parent.mkdir(parents=True)
    facts.write_text("Metadata-Version: 2.1\nName: stillmotion\nVersion: 9.9\n")
    path = f"{facts.parents[1]}{os.pathsep}{apart.environment['PYTHONPATH']}"
    stranger = apart.add_worker("stranger", PYTHONPATH=path)
    try:
        apart.wait_for_workers(3)
        with (
            pytest.raises(SettingsError) as refused,
            open_remote(_settings(apart, tmp_path), Storage(str(tmp_path), "default")),
        ):
            pass
    finally:
        end(stranger)
    assert refused.value.facts["found"] == {"stillmotion": "9.9"}
    assert f"9.9 where this has {versions_here()['stillmotion']}" in refused.value.message


@pytest.mark.slow
def test_a_killed_worker_costs_only_its_tasks(apart: DaskApart, remote: OnCluster, tmp_path: Path) -> None:
    log, count = tmp_path / "log", 30
    victim = apart.add_worker("victim")
    apart.wait_for_workers(3)
    with open_remote(_settings(apart, tmp_path), Storage(str(tmp_path), "default")) as executor:
        results: dict[int, int] = {}
        for position, result in executor.run(work, (Job(n, str(log), 0.1) for n in range(count))):
            results[position] = result
            if len(results) == 9:
                end(victim)
    assert results == {n: n * n for n in range(count)}
    done = lines(log)
    again = {number for number, _ in done if sum(number == other for other, _ in done) > 1}
    assert len(done) - count <= IN_FLIGHT_PER_WORKER
    assert again <= {number for number, pid in done if pid == victim.pid}


@pytest.mark.slow
def test_a_scheduler_that_comes_back_costs_the_tasks_it_had_and_no_run(tmp_path: Path) -> None:
    log, count = tmp_path / "log", 30
    with dask_apart(tmp_path / "dask", {"first": "", "second": ""}) as apart:
        with open_remote(_settings(apart, tmp_path), Storage(str(tmp_path), "default")) as executor:
            results: dict[int, int] = {}
            for position, result in executor.run(work, (Job(n, str(log), 0.05) for n in range(count))):
                results[position] = result
                if len(results) == 6:
                    apart.kill_scheduler()
                    apart.start_scheduler()
                    apart.add_worker("third")
        assert results == {n: n * n for n in range(count)}
        assert {number for number, _ in lines(log)} == set(range(count))
        assert len(lines(log)) - count <= IN_FLIGHT_PER_WORKER * 2
