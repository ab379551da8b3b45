"""Leases and signs of life, with real processes."""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from multiprocessing.synchronize import Event
from pathlib import Path

import psutil
import pytest
from sqlalchemy import event, select, update
from sqlalchemy.exc import OperationalError

from datasets.errors import LeaseBusyError, StorageUnavailableError, UsageError
from datasets.ledger import Lease, Ledger, RunHeart, open_ledger
from datasets.ledger.beats import Heart
from datasets.ledger.processes import host_name, is_alive, own_birth
from datasets.ledger.tables import leases
from datasets.ledger.transactions import transaction
from tests.datasets.ledger_rows import NOW, PROCESSES, a_run, join_all, new_ledger_url, start

KEY = "ab" * 32
LONG_S = 60.0  # so long that only a death or an edited row can end it within a test


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return new_ledger_url(request, request.param, tmp_path)


@pytest.fixture
def ledger(url: str) -> Iterator[Ledger]:
    opened = open_ledger(url)
    yield opened
    opened.close()


def wait_until(condition: Callable[[], bool], timeout_s: float = 10.0) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.01)


def holder_of(ledger: Ledger, key: str = KEY) -> str | None:
    with transaction(ledger.engine, "default") as connection:
        return connection.execute(select(leases.c.holder).where(leases.c.key == key)).scalar_one_or_none()


def expiry_of(ledger: Ledger, key: str = KEY) -> datetime:
    with transaction(ledger.engine, "default") as connection:
        found: datetime = connection.execute(select(leases.c.expires_at).where(leases.c.key == key)).scalar_one()
        return found


def edit(ledger: Ledger, **values: object) -> None:
    with transaction(ledger.engine, "default") as connection:
        assert connection.execute(update(leases).values(values)).rowcount == 1


def stop_beating(ledger: Ledger, lease: Lease) -> None:
    ledger.heart.remove(lease)


# one holder at a time


def _take_turns(url: str, marker: str, times: int) -> None:
    ledger = open_ledger(url)
    for _ in range(times):
        lease = ledger.lease("default", KEY)
        while not lease.try_acquire():
            time.sleep(0.001)
        os.close(os.open(marker, os.O_CREAT | os.O_EXCL))  # fails if another one holds the lease too
        time.sleep(0.001)
        Path(marker).unlink()
        lease.release()


def test_four_processes_never_hold_one_key_together(url: str, tmp_path: Path) -> None:
    open_ledger(url)
    workers = [start(_take_turns, url, str(tmp_path / "held"), 25) for _ in range(4)]
    assert join_all(workers) == [0, 0, 0, 0]


def test_a_second_lease_waits_until_the_first_is_given_back(ledger: Ledger) -> None:
    first, second = ledger.lease("default", KEY), ledger.lease("default", KEY)
    assert first.try_acquire()
    assert not second.try_acquire()
    first.release()
    assert holder_of(ledger) is None
    assert second.try_acquire()
    assert holder_of(ledger) == second.holder


def test_given_back_later_it_goes_with_the_next_transaction_that_takes_one(ledger: Ledger) -> None:
    first, other = ledger.lease("default", KEY, ttl_s=LONG_S), ledger.lease("default", "cd" * 32, ttl_s=LONG_S)
    assert first.try_acquire()
    first.release(later=True)
    assert other.try_acquire()
    assert holder_of(ledger) is None
    other.release(later=True)
    again = ledger.lease("default", other.key, ttl_s=LONG_S)  # the very one that waits to go
    assert again.try_acquire()
    assert holder_of(ledger, again.key) == again.holder


def test_given_back_later_it_is_gone_within_a_moment_or_with_the_ledger(url: str) -> None:
    ledger = open_ledger(url)
    with ledger.lease("default", KEY, ttl_s=LONG_S) as lease:
        lease.release(later=True)
    lease = ledger.lease("default", KEY, ttl_s=LONG_S)
    assert lease.try_acquire()
    lease.release(later=True)
    wait_until(lambda: holder_of(ledger) is None)
    assert lease.try_acquire()
    lease.release(later=True)
    ledger.close()
    assert holder_of(open_ledger(url)) is None


def test_what_could_not_be_given_back_yet_waits_on(ledger: Ledger) -> None:
    first, other = ledger.lease("default", KEY, ttl_s=LONG_S), ledger.lease("default", "cd" * 32, ttl_s=LONG_S)
    assert first.try_acquire()
    first.release(later=True)

    def away(*_: object) -> None:
        raise OperationalError("", {}, Exception("away"))

    event.listen(ledger.engine, "before_cursor_execute", away)
    try:
        with pytest.raises(StorageUnavailableError):
            other.try_acquire()
    finally:
        event.remove(ledger.engine, "before_cursor_execute", away)
    wait_until(lambda: holder_of(ledger) is None)


def test_keys_and_tenants_do_not_stand_in_each_others_way(ledger: Ledger) -> None:
    taken = [ledger.lease(tenant, key).try_acquire() for tenant in ("a", "b") for key in (KEY, "cd" * 32)]
    assert taken == [True, True, True, True]


def test_a_lease_belongs_to_a_valid_tenant(ledger: Ledger) -> None:
    with pytest.raises(UsageError, match="not a valid name"):
        ledger.lease("../b", KEY)


def test_as_a_block_it_is_given_back_and_refuses_when_busy(ledger: Ledger) -> None:
    with ledger.lease("default", KEY), pytest.raises(LeaseBusyError) as caught, ledger.lease("default", KEY):
        pytest.fail("entered twice")
    assert caught.value.facts == {"key": KEY}
    with pytest.raises(ZeroDivisionError), ledger.lease("default", KEY):
        _ = 1 / 0
    assert holder_of(ledger) is None


def test_release_leaves_somebody_elses_lease_alone(ledger: Ledger) -> None:
    first, second = ledger.lease("default", KEY), ledger.lease("default", KEY)
    assert first.try_acquire()
    stop_beating(ledger, first)
    edit(ledger, expires_at=datetime.now(UTC) - timedelta(seconds=1))
    assert second.try_acquire()
    first.release()
    assert holder_of(ledger) == second.holder


# dead holders


def _hold(url: str, ttl_s: float, held: Event) -> None:
    lease = open_ledger(url).lease("default", KEY, ttl_s=ttl_s)
    assert lease.try_acquire()
    held.set()
    time.sleep(60)


def test_a_killed_holder_on_this_host_is_taken_over_at_once(url: str, ledger: Ledger) -> None:
    held = PROCESSES.Event()
    process = start(_hold, url, LONG_S, held)
    assert held.wait(20)
    lease = ledger.lease("default", KEY, ttl_s=LONG_S)
    assert not lease.try_acquire()
    process.kill()
    process.join(10)
    assert process.exitcode == -signal.SIGKILL
    assert lease.try_acquire()
    assert holder_of(ledger) == lease.holder


def test_a_killed_holder_that_nobody_has_buried_yet_counts_as_dead(ledger: Ledger) -> None:
    assert ledger.lease("default", KEY, ttl_s=LONG_S).try_acquire()
    process = subprocess.Popen(["sleep", "60"])
    birth = psutil.Process(process.pid).create_time()
    edit(ledger, holder=f"{host_name()}|{process.pid}|{birth:.2f}|other")
    lease = ledger.lease("default", KEY, ttl_s=LONG_S)
    assert not lease.try_acquire()
    process.kill()
    wait_until(lambda: psutil.Process(process.pid).status() == psutil.STATUS_ZOMBIE)
    try:
        assert lease.try_acquire()
    finally:
        process.wait(10)


def test_a_number_used_again_is_another_process(ledger: Ledger) -> None:
    assert ledger.lease("default", KEY, ttl_s=LONG_S).try_acquire()
    edit(ledger, holder=f"{host_name()}|{os.getpid()}|{own_birth() - 3600:.2f}|other")
    assert ledger.lease("default", KEY).try_acquire()


def test_a_holder_on_another_host_has_its_whole_period(ledger: Ledger) -> None:
    first = ledger.lease("default", KEY, ttl_s=LONG_S)
    assert first.try_acquire()
    stop_beating(ledger, first)
    end = datetime.now(UTC) + timedelta(seconds=0.5)
    edit(ledger, holder="elsewhere|1|1000.00|other", expires_at=end)
    wait_until(ledger.lease("default", KEY).try_acquire)
    assert datetime.now(UTC) >= end


def test_a_process_of_this_host_is_told_from_others() -> None:
    assert host_name().startswith(os.uname().nodename)
    now = time.time()
    assert is_alive(os.getpid(), born_by=now)
    assert is_alive(os.getpid(), born_by=own_birth(), born_after=own_birth())
    assert not is_alive(os.getpid(), born_by=own_birth() - 10)
    assert not is_alive(os.getpid(), born_by=now + 100, born_after=own_birth() + 10)
    assert not is_alive(2**22 + 1, born_by=now)  # above Linux's largest process number


# signs of life


def test_the_heartbeat_keeps_a_lease_beyond_its_period(ledger: Ledger) -> None:
    lease = ledger.lease("default", KEY, ttl_s=0.6)
    assert lease.try_acquire()
    end = time.monotonic() + 1.5
    while time.monotonic() < end:
        assert not ledger.lease("default", KEY).try_acquire()
        time.sleep(0.1)
    assert not lease.lost


def test_without_a_heartbeat_it_runs_out(ledger: Ledger) -> None:
    begun = time.monotonic()
    lease = ledger.lease("default", KEY, ttl_s=0.4)
    assert lease.try_acquire()
    stop_beating(ledger, lease)
    wait_until(ledger.lease("default", KEY).try_acquire)
    assert time.monotonic() - begun >= 0.4


def test_a_lease_that_was_taken_over_is_noticed(ledger: Ledger) -> None:
    lease = ledger.lease("default", KEY, ttl_s=0.3)
    assert lease.try_acquire()
    assert not lease.lost
    edit(ledger, holder="elsewhere|1|1000.00|other", expires_at=datetime.now(UTC) + timedelta(seconds=60))
    wait_until(lambda: lease.lost)
    lease.release()
    assert holder_of(ledger) == "elsewhere|1|1000.00|other"
    edit(ledger, expires_at=datetime.now(UTC))
    assert lease.try_acquire()
    assert not lease.lost


def test_a_beat_that_comes_after_the_release_is_no_loss(ledger: Ledger) -> None:
    lease = ledger.lease("default", KEY)
    assert lease.try_acquire()
    lease.release()
    lease.beat()
    assert not lease.lost
    assert holder_of(ledger) is None


def test_a_shorter_lease_does_not_wait_for_the_pause_of_a_longer_one(ledger: Ledger) -> None:
    assert ledger.lease("default", "cd" * 32, ttl_s=LONG_S).try_acquire()
    time.sleep(0.1)  # the thread sleeps for a third of a minute now
    assert ledger.lease("default", KEY, ttl_s=0.3).try_acquire()
    begun = expiry_of(ledger)
    wait_until(lambda: expiry_of(ledger) > begun, timeout_s=2)


def test_the_thread_outlives_a_passing_database_error(ledger: Ledger) -> None:
    lease = ledger.lease("default", KEY, ttl_s=0.45)
    failures: list[str] = []

    def locked(*_: object) -> None:
        if threading.current_thread().name == "ledger-heart" and len(failures) < 2:
            failures.append("locked")
            raise OperationalError("UPDATE leases", {}, Exception("database is locked"))

    event.listen(ledger.engine, "before_cursor_execute", locked)
    assert lease.try_acquire()
    begun = expiry_of(ledger)
    wait_until(lambda: expiry_of(ledger) > begun)
    assert failures == ["locked", "locked"]
    assert not lease.lost


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_a_locked_database_is_an_error_worth_retrying(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    lease = ledger.lease("default", KEY)
    monkeypatch.setattr("datasets.ledger.engine.BUSY_TIMEOUT_MS", 50)
    with ledger.engine.connect() as other:
        other.exec_driver_sql("SELECT 1")  # holds the writer's lock
        with pytest.raises(StorageUnavailableError, match=r"database is locked; try again"):
            lease.try_acquire()
    assert lease.try_acquire()


class _Counter:
    def __init__(self, every_s: float) -> None:
        self.every_s = every_s
        self.beats = 0

    def beat(self) -> None:
        self.beats += 1


def heart_threads() -> int:
    return sum(thread.name == "ledger-heart" for thread in threading.enumerate())


def test_each_pulse_has_its_own_period_and_one_thread_serves_all() -> None:
    heart, before = Heart(), heart_threads()
    quick, slow = _Counter(0.05), _Counter(0.4)
    begun = time.monotonic()
    heart.add(slow)
    heart.add(quick)
    assert heart_threads() == before + 1
    wait_until(lambda: slow.beats == 2)
    heart.remove(quick)
    assert 5 <= quick.beats <= (time.monotonic() - begun) / 0.05
    time.sleep(0.06)  # a beat may have been on its way
    beats = quick.beats
    time.sleep(0.2)
    assert quick.beats == beats
    heart.stop()
    wait_until(lambda: heart_threads() == before)


def test_a_heart_that_was_stopped_beats_again_for_what_comes_next() -> None:
    heart = Heart()
    for _ in range(20):  # the new thread may begin before the old one has noticed
        heart.add(_Counter(60))
        heart.stop()
    counter = _Counter(0.02)
    heart.add(counter)
    wait_until(lambda: counter.beats >= 3)
    heart.stop()


def heartbeat(ledger: Ledger) -> datetime:
    with ledger.session("default") as session:
        return session.find_run("run-1").heartbeat_at


def test_a_run_is_heard_of_while_it_goes_and_not_after(ledger: Ledger) -> None:
    with ledger.session("default") as session:
        session.start_run(a_run())
    with RunHeart(ledger, "default", "run-1", every_s=0.05):
        wait_until(lambda: heartbeat(ledger) > NOW)
        first = heartbeat(ledger)
        assert abs(first - datetime.now(UTC)) < timedelta(seconds=5)
        wait_until(lambda: heartbeat(ledger) > first)
    time.sleep(0.1)  # a beat may have been on its way
    last = heartbeat(ledger)
    time.sleep(0.2)
    assert heartbeat(ledger) == last


def test_a_lease_in_memory_lives_beside_sessions() -> None:
    ledger = open_ledger("sqlite:///:memory:")
    with ledger.lease("default", KEY, ttl_s=0.06) as lease:
        for number in range(50):
            with ledger.session("default") as session:
                session.start_run(a_run(f"run-{number}"))
            time.sleep(0.002)
        assert not lease.lost
        assert not ledger.lease("default", KEY).try_acquire()
    ledger.close()
