"""Models in worker processes: kept as is wanted, there again after a crash, told to the ledger by the driver."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from datasets.ledger import Ledger, open_ledger
from datasets.settings import Settings
from datasets.storage import open_storage
from datasets.thermal import Wanted
from flows.tending import write_statistics
from model_blocks import runtime
from model_blocks.choice import ModelRef
from model_blocks.model_states import is_routable, open_circuits, refs_to_bring, unavailable_models, wanted_states
from model_blocks.shelf import ModelShelf
from model_blocks.shelf_facts import ModelKey, ShelfRules, ShelfStatistics
from tasks.dask_executor import open_cluster
from tasks.executor import Executor, InProcess
from tasks.worker_models import ModelOrders, gather, give_orders, take_orders
from tests.datasets.ledger_rows import new_ledger_url

HOT, USED = ModelRef("embedded-segmenter", "", "cpu"), ModelRef("embedded-inpainter", "", "cpu")


def use(ref: ModelRef) -> int:
    """A task: asks for a model, tells where."""
    runtime.inpainter(ref)
    return os.getpid()


def answered(executor: Executor, wanted: Callable[[ShelfStatistics], bool], *, but: int = 0) -> ShelfStatistics:
    """What the one worker tells once it is as wanted; its statistics stay untold."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        for told in gather(executor, tell=False):
            if told.pid != but and wanted(told):
                return told
        time.sleep(0.1)
    raise AssertionError(f"no worker is as wanted: {gather(executor, tell=False)}")


def has_hot(told: ShelfStatistics) -> bool:
    return any(counts.model == HOT.name and counts.loaded_at for counts in told.models)


@pytest.mark.slow
def test_a_killed_worker_comes_back_warm(tmp_path: Path) -> None:
    """The new process loads what is wanted hot by itself; what was only asked for waits until it is asked for."""
    orders = ModelOrders(ShelfRules(wanted={HOT.name: Wanted("hot")}), (HOT,))
    settings = Settings(workers=1, storage_root=str(tmp_path))
    with open_cluster(settings, open_storage(settings.storage_root, settings.tenant)) as executor:
        give_orders(executor, orders)
        assert gather(executor) == []  # no worker was started for it
        ((_, first),) = executor.run(use, [USED])
        before = answered(executor, has_hot)
        assert before.pid == first != os.getpid()
        assert {counts.model: (counts.loads, counts.requests) for counts in before.models} == {
            HOT.name: (1, 0),
            USED.name: (1, 1),
        }
        os.kill(first, signal.SIGKILL)
        after = answered(executor, has_hot, but=first)
        assert {counts.model: (counts.loads, counts.requests) for counts in after.models} == {HOT.name: (1, 0)}
        ((_, second),) = executor.run(use, [USED])
        assert second == after.pid
        assert executor.in_process is False


def test_a_process_of_its_own_is_told_and_loads_nothing_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    shelf = ModelShelf(free=lambda: None)
    monkeypatch.setattr(runtime, "SHELF", shelf)
    rules = ShelfRules(memory_bytes=123)
    give_orders(InProcess(), ModelOrders(rules, (HOT,)))
    assert shelf.rules is rules
    assert [told.models for told in gather(InProcess())] == [()]


def test_what_cannot_be_loaded_ahead_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    shelf = ModelShelf(free=lambda: None)
    monkeypatch.setattr(runtime, "SHELF", shelf)
    missing = ModelRef("realesr-general-x4v3", "0" * 64, "cpu", path="/nowhere/net.pth")
    take_orders(ModelOrders(ShelfRules(), (missing, HOT))).join(60)
    told = shelf.statistics()
    assert told.counts(HOT.name).loads == 1
    assert [event.model for event in told.events if event.kind == "load_failed"] == [missing.name]


# the ledger


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ledger]:
    opened = open_ledger(new_ledger_url(request, request.param, tmp_path))
    yield opened
    opened.close()


def test_a_model_that_fails_in_three_runs_is_taken_out_of_routing(ledger: Ledger) -> None:
    """Each run is told by a process of its own; one in which the model works begins the count anew."""

    class Gone(Exception): ...

    def load() -> object:
        raise Gone("no such file")

    def run(works: bool) -> None:
        shelf = ModelShelf(free=lambda: None)
        if works:
            shelf.get(ModelKey("net", "cpu"), object)
        else:
            with pytest.raises(Gone):
                shelf.get(ModelKey("net", "cpu"), load)
        with ledger.session("anna") as session:
            write_statistics(session, shelf.statistics(tell=True), "run-1")

    for works in (False, False, True, False, False):
        run(works)
        with ledger.session("anna", read_only=True) as session:
            assert is_routable(session, "net")
    run(False)
    with ledger.session("anna", read_only=True) as session:
        assert open_circuits(session) == {"net": "load_failed: Gone: no such file"}
        assert list(unavailable_models(session)) == ["net"]
        assert not is_routable(session, "net")
        assert [event.kind for event in session.model_events("net")].count("load_failed") == 5
    with ledger.session("bert", read_only=True) as session:
        assert is_routable(session, "net")


def test_what_a_process_tells_is_written_down_once(ledger: Ledger) -> None:
    shelf = ModelShelf(free=lambda: None)
    for _ in range(3):
        shelf.get(ModelKey("net", "cpu"), object)
    for _ in range(2):
        with ledger.session("anna") as session:
            write_statistics(session, shelf.statistics(tell=True), "run-1")
    with ledger.session("anna", read_only=True) as session:
        (told,) = session.model_processes()
        assert (told.model, told.pid, told.loads, told.hits, told.loaded_at is None) == (
            "net",
            os.getpid(),
            1,
            2,
            False,
        )
        (event,) = session.model_events()
        assert (event.kind, event.run_id, event.pid) == ("load", "run-1", os.getpid())


def test_a_model_that_is_off_may_not_be_chosen(ledger: Ledger) -> None:
    with ledger.session("anna") as session:
        session.want_model("net", Wanted("off"), by="anna")
        session.want_model("other", Wanted("hot"), by="anna")
        session.want_model("third", Wanted("automatic"), by="anna")
    assert wanted_states(ledger, "anna") == {"net": Wanted("off"), "other": Wanted("hot")}
    with ledger.session("anna", read_only=True) as session:
        assert (is_routable(session, "net"), is_routable(session, "other")) == (False, True)
        assert "--automatic" in unavailable_models(session)["net"]


def test_what_is_brought_are_the_warm_and_hot_ones_that_can_be_loaded(tmp_path: Path) -> None:
    own = ModelRef("realesr-general-x4v3", "1" * 64, "cpu", path="/mine.pth", published=False)
    wanted = {
        HOT.name: Wanted("hot"),
        own.name: Wanted("hot"),
        USED.name: Wanted("cold"),
        "realesrgan-x4plus": Wanted("hot"),  # whose weights are not there
        "no-longer-registered": Wanted("hot"),
    }
    assert refs_to_bring(wanted, [own, USED], weights_dir=tmp_path, device="cpu") == (HOT, own)
