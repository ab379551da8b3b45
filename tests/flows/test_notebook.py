"""What a notebook shows of runs and items, and how a cell runs and interrupts a flow."""

import asyncio
import base64
import io
import re
import signal
import sys
import threading
import time
import types
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from datasets.errors import NotFoundError, PermanentError, UsageError
from datasets.facts import Facts
from datasets.outputs import Manifest, OutputPlace
from datasets.storage import open_storage
from flows import notebook
from flows.notebook_progress import Bar, HtmlSurface, TextSurface, surface_here
from flows.notebook_running import watched
from flows.notebook_views import ROWS, ItemView, RunView
from tests.datasets.ledger_rows import a_run, a_stage, an_item, an_output, new_ledger
from tests.photographs import product_pixels

HOSTILE = '<script>alert("1")</script>\u202egnp.exe'
RUN = "0123456789ab"


@pytest.fixture
def facts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Facts:
    ledger = new_ledger(tmp_path / "ledger.db")
    monkeypatch.setenv("STILLMOTION_LEDGER_URL", f"sqlite:///{tmp_path / 'ledger.db'}")
    with ledger.session("default") as session:
        session.start_run(a_run(RUN, recipe=HOSTILE))
    return Facts(ledger, open_storage(str(tmp_path / "store"), "default"))


def add(facts: Facts, item: str, status: str | None, *, number: int = 0, pictures: bool = False) -> None:
    """An item; with pictures, a red source and a packshot of it are in the store."""
    source, made = f"{number:02x}" * 32, f"{number + 100:02x}" * 32
    reason = {"code": "odd", "message": f"{HOSTILE} is odd", "facts": {}, "level": "error"}
    with facts.ledger.session("default") as session:
        session.save_items(RUN, [an_item(item, number, RUN)])
        if status:
            session.finish_item(RUN, item, status, [reason])
        session.record_stage(a_stage(f"a{number}", RUN, item=item, stage="intake", fingerprint=source, seconds=0.5))
        if pictures:
            session.record_output(
                an_output(f"/out/{item}.jpg", RUN, item=item, role="packshot", fingerprint=made,
                          extra={"stored": "picture.png"})
            )  # fmt: skip
    for fingerprint in (source, made) if pictures else ():
        place = OutputPlace(facts.storage, fingerprint)
        stored = io.BytesIO()
        Image.fromarray(product_pixels(600, 400)).save(stored, "PNG")
        entry = place.write_file("preview.webp", stored.getvalue())
        place.finish(Manifest(fingerprint, "made", place.stored_objects(), files={"preview.webp": entry}))


class Tags(HTMLParser):
    """What a page consists of; an image that is no data URI is an error."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.names: list[str] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.open += [tag] if tag not in ("img", "meta", "br") else []
        source = dict(attrs).get("src")
        assert source is None or source.startswith("data:image/webp;base64,")
        assert not any(name.startswith("on") for name, _ in attrs)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_source_and_what_was_made_stand_side_by_side(facts: Facts) -> None:
    add(facts, "shoe", "delivered", pictures=True)
    shown = notebook.show("shoe")
    assert [picture.caption for picture in shown.pictures] == ["source", "packshot, 1200 × 800"]
    page = shown._repr_html_()
    images = [base64.b64decode(each) for each in re.findall(r"base64,([^\"]+)", page)]
    assert [Image.open(BytesIO(each)).size for each in images] == [(256, 171)] * 2
    assert Tags(page).names.count("figure") == 2
    assert len(page) < 60_000


def test_names_are_only_text(facts: Facts) -> None:
    add(facts, HOSTILE, "failed", pictures=True)
    run = notebook.run()
    for view in (run, run.item(HOSTILE), notebook.show(HOSTILE)):
        page = view._repr_html_()
        tags = Tags(page)
        assert "script" not in tags.names
        assert tags.open == []
        assert "\u202e" not in page
    assert "alert" in Tags(run._repr_html_()).text


def test_what_needs_somebody_comes_first_and_the_rest_is_counted(facts: Facts) -> None:
    for number in range(ROWS + 3):
        add(facts, f"item-{number:02d}", "delivered", number=number)
    add(facts, "bad", "failed", number=ROWS + 3)
    add(facts, "under-way", None, number=ROWS + 4)
    page = notebook.run(RUN[:6])._repr_html_()
    text = Tags(page).text
    assert text.index("bad") < text.index("item-00")
    assert f"and {ROWS + 5 - ROWS} items more" in re.sub(r"\s+", " ", text)
    assert "17 items" in text
    assert len(page) < 20_000
    assert notebook.run().items.height == ROWS + 5


def test_a_large_run_is_shown_by_a_few_of_its_items(facts: Facts) -> None:
    with facts.ledger.session("default") as session:
        session.save_items(RUN, [an_item(f"item-{number}", number, RUN) for number in range(2000)])
    begun = time.perf_counter()
    page = RunView(facts, RUN)._repr_html_()
    assert "and 1988 items more" in re.sub(r"\s+", " ", Tags(page).text)
    assert time.perf_counter() - begun < 10


def test_what_is_gone_is_said(facts: Facts) -> None:
    add(facts, "shoe", "delivered")
    assert "holds no picture of shoe" in notebook.show("shoe")._repr_html_()
    assert repr(notebook.item("shoe")) == "shoe: delivered"
    with pytest.raises(NotFoundError, match="no item 'boot'"):
        notebook.item("boot")
    with pytest.raises(NotFoundError):
        notebook.run("ffff")
    assert ItemView(facts, RUN, "shoe").measures.is_empty()


def test_an_order_that_does_not_hold_is_refused_before_anything_runs(facts: Facts) -> None:
    with pytest.raises(UsageError, match="budget_usd"):
        notebook.run_product("shoe.jpg", budget_usd=-1)
    with pytest.raises(UsageError, match="colour"):
        notebook.run_product("shoe.jpg", colour="red")


class Drawn:
    """Remembers what was drawn."""

    def __init__(self) -> None:
        self.lines: list[tuple[float, str]] = []
        self.closed = False

    def draw(self, share: float, words: str) -> None:
        self.lines.append((share, words))

    def close(self) -> None:
        self.closed = True


def stages(bar: Bar, count: int, *, pause_s: float = 0.0) -> Callable[[], str]:
    """Work of so many stages."""

    def work() -> str:
        bar.expect(count)
        for number in range(count):
            bar.started("shoe", f"stage-{number}")
            time.sleep(pause_s)
            bar.finished("shoe", f"stage-{number}", seconds=pause_s, cached=False, skipped=None)
        return "done"

    return work


def test_a_cell_inside_a_running_event_loop_waits_for_work_without_one(facts: Facts) -> None:
    bar, drawn = Bar(), Drawn()

    def work() -> str:
        with pytest.raises(RuntimeError):  # the loop is the cell's, not the work's
            asyncio.get_running_loop()
        return asyncio.run(asyncio.sleep(0, stages(bar, 3)()))

    async def cell() -> str:
        return watched(work, bar, drawn)

    assert asyncio.run(cell()) == "done"
    assert drawn.lines[-1][0] == 1.0
    assert "3 of 3 stages" in drawn.lines[-1][1]
    assert drawn.closed


def test_what_the_work_raises_is_raised_in_the_cell() -> None:
    def work() -> None:
        raise PermanentError("it does not hold")

    with pytest.raises(PermanentError, match="does not hold"):
        watched(work, Bar(), Drawn())


@pytest.fixture
def interruptible() -> Iterator[None]:
    """SIGINT interrupts, also where whoever started the tests has it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_an_interrupted_cell_ends_the_work_first() -> None:
    bar, drawn, ended = Bar(), Drawn(), threading.Event()

    def work() -> None:
        try:
            stages(bar, 1000, pause_s=0.02)()
        finally:
            ended.set()

    threading.Timer(0.3, lambda: signal.raise_signal(signal.SIGINT)).start()
    begun = time.perf_counter()
    with pytest.raises(KeyboardInterrupt):
        watched(work, bar, drawn)
    assert ended.is_set()
    assert time.perf_counter() - begun < 5
    assert drawn.lines[-1][1].startswith("interrupted")


def test_the_bar_counts_items_that_end_early_and_begin_again() -> None:
    bar, drawn = Bar(), Drawn()
    bar.expect(4)
    bar.started("a", "one")
    bar.advanced("a", "one", 1, 2)
    bar.draw(drawn)
    assert drawn.lines[-1][0] == 0.125
    bar.finished("a", "one", seconds=1, cached=False, skipped=None)
    bar.dropped("b", 2)
    bar.noted("<b>slow</b>")
    bar.draw(drawn)
    assert drawn.lines[-1][0] == 0.5
    assert "note: <b>slow</b>" in drawn.lines[-1][1]


def test_in_a_kernel_the_bar_is_html_in_one_place(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[dict[str, str]] = []
    handle = types.SimpleNamespace(update=lambda data, raw: told.append(data))
    kernel: Any = types.ModuleType("IPython")
    kernel.get_ipython = lambda: types.SimpleNamespace(kernel=object())
    kernel.display = types.SimpleNamespace(display=lambda data, raw, display_id: handle)
    monkeypatch.setitem(sys.modules, "IPython", kernel)
    surface = surface_here()
    assert isinstance(surface, HtmlSurface)
    surface.draw(0.25, "<b>shoe</b>")
    assert 'value="0.2500"' in told[0]["text/html"]
    assert "&lt;b&gt;shoe" in told[0]["text/html"]
    kernel.get_ipython = types.SimpleNamespace  # IPython in a terminal
    assert isinstance(surface_here(), TextSurface)


def test_outside_of_a_terminal_only_the_last_line_is_written() -> None:
    stream = io.StringIO()
    surface = TextSurface(stream)
    surface.draw(0.1, "one")
    surface.draw(1.0, "two")
    surface.close()
    assert stream.getvalue() == f"{'█' * 30} two\n"
