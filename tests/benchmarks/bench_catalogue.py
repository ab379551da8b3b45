"""What a catalogue run costs on top of the array functions, per row that is as it was, and in Prefect and the ledger.

Pictures are pieces of fixture photographs, of about a megapixel, behind a server on loopback. The flow has several
rows under way, so it and the bare loop cannot take turns; processor time is told besides the clock's, which a busy
machine changes less.
"""

import os
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
from prefect import flow
from sqlalchemy import event

from datasets.ledger import open_ledger
from datasets.settings import Settings, read_settings
from flows.catalogue import CatalogueOrder, CatalogueSummary, run_catalogue
from tasks.ops.encode import encode_picture
from tasks.ops.photo import read_photo
from tasks.ops.preview import make_preview
from tasks.ops.resample import resize_image
from tasks.thumbnails import ThumbnailsConfig
from tests.benchmarks.bench_overhead import prefect_server
from tests.flows.catalogue_shop import LARGEST, Shop, crop
from tests.services.picture_server import serve_apart

GOAL = 1.15
TASKS_GOAL = 100  # of Prefect, per 1,000 rows


def run(rows: int = 240, side: int = 1400, unchanged: int = 1500, repeats: int = 3) -> list[str]:
    """Print and return the tables."""
    with tempfile.TemporaryDirectory() as name, prefect_server(Path(name)):
        lines = _unchanged(Path(name) / "small", unchanged, repeats)  # first, so that everything is imported
        lines = _ratio(Path(name) / "large", rows, side, repeats) + lines
    for line in lines:
        print(line)
    return lines


def _ratio(folder: Path, rows: int, side: int, repeats: int) -> list[str]:
    """Loop and flow in turns, the flow each time with an empty store."""
    walls, processor, paces = list[float](), list[float](), list[tuple[float, float]]()
    with _shop(folder, rows, side) as (shop, settings):
        for repeat in range(repeats):
            empty = settings.model_copy(update={"storage_root": str(folder / f"store-{repeat}")})
            summaries = list[CatalogueSummary]()
            bare_s, bare_cpu = _timed(lambda: [_bare(shop.served / name) for name in shop.products.values()])
            with _counting(empty) as writes:
                flow_s, flow_cpu = _timed(partial(_run_into, summaries, shop, empty, repeat))
            walls.append(flow_s / bare_s)
            processor.append(flow_cpu / bare_cpu)
            paces.append((rows / flow_s, rows / bare_s))
        tasks = _task_runs(summaries[0].run_id)
    flow, loop = (statistics.median(pace) for pace in zip(*paces, strict=True))
    return [
        f"{rows} pictures of {side} px, medians of {repeats}: flow {flow:.2f} rows/s, loop {loop:.2f} rows/s",
        f"ratio {_spread(walls)} by the clock, {_spread(processor)} in processor time (goal {GOAL})",
        f"{1000 * tasks / rows:.0f} Prefect tasks per 1,000 rows (goal {TASKS_GOAL})",
        f"{writes['commit'] / rows:.2f} writing transactions and {writes['statement'] / rows:.2f} statements per row",
    ]


def _run_into(summaries: list[CatalogueSummary], shop: Shop, settings: Settings, number: int) -> None:
    summaries.append(_run(shop, settings, number))


def _unchanged(folder: Path, rows: int, repeats: int) -> list[str]:
    """Runs of all rows and of one row, which differ by what the others cost."""
    with _shop(folder, rows, LARGEST) as (shop, settings):
        _run(shop, settings)
        whole = [_left_alone(shop, settings) for _ in range(repeats)]
        shop.products = dict(list(shop.products.items())[:1])
        shop.write()
        _run(shop, settings)  # the others retire
        single = [_left_alone(shop, settings) for _ in range(repeats)]
    start = statistics.median(single)
    each = [1000 * (seconds - start) / (rows - 1) for seconds in whole]
    return [f"{_spread(each)} ms per row that is as it was ({rows} rows), {_spread(single)} s for a run of one row"]


def _left_alone(shop: Shop, settings: Settings) -> float:
    begun = time.perf_counter()
    summary = _run(shop, settings)
    assert summary.worked == 0
    return time.perf_counter() - begun


def _spread(values: Sequence[float]) -> str:
    """The median, and the least and the largest."""
    return f"{statistics.median(values):.3f} ({min(values):.3f} to {max(values):.3f})"


@contextmanager
def _shop(folder: Path, rows: int, side: int) -> Iterator[tuple[Shop, Settings]]:
    shop = Shop(folder)
    shop.served.mkdir(parents=True)
    for number in range(rows):
        shop.products[f"P-{number:05}"] = f"p{number:05}.jpg"
        (shop.served / f"p{number:05}.jpg").write_bytes(crop(number, side=side))
    with serve_apart(shop.served) as address:
        shop.base = f"http://{address}"
        shop.write()
        before = os.environ.get("STILLMOTION_FETCH_ALLOW")
        os.environ["STILLMOTION_FETCH_ALLOW"] = address
        try:
            yield shop, read_settings(storage_root=str(folder / "store"))
        finally:
            os.environ.pop("STILLMOTION_FETCH_ALLOW")
            os.environ.update({"STILLMOTION_FETCH_ALLOW": before} if before else {})


def _run(shop: Shop, settings: Settings, number: int = 0) -> CatalogueSummary:
    out = str(shop.folder / f"out-{number}")
    order = CatalogueOrder(table=str(shop.table), recipe="thumbnails", out=out, shrink_limit=1.0)

    @flow(name="catalogue")
    def body() -> CatalogueSummary:
        return run_catalogue(order, settings)

    return body()


def _bare(path: Path) -> int:
    """One picture by array functions alone; bytes that were made."""
    image = read_photo(path.read_bytes()).pixels
    made = len(make_preview(image))
    config = ThumbnailsConfig()
    height, width = image.shape[:2]
    for size in config.sizes:
        ratio = min(1.0, size / max(height, width))
        small = resize_image(image, max(1, round(width * ratio)), max(1, round(height * ratio))) if ratio < 1 else image
        made += len(encode_picture(np.ascontiguousarray(small), format=config.format, quality=config.quality))
    return made


def _timed(work: object) -> tuple[float, float]:
    """Seconds by the clock and of the processor."""
    assert callable(work)
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


@contextmanager
def _counting(settings: Settings) -> Iterator[dict[str, int]]:
    """Transactions of the ledger that write, and statements in them."""
    engine = open_ledger(settings.ledger).engine
    counts = {"commit": 0, "statement": 0}
    writing = ("INSERT", "UPDATE", "DELETE")

    def count(connection: object, cursor: object, statement: str, *_: object) -> None:
        if statement.lstrip().upper().startswith(writing):
            counts["statement"] += 1
            connection.info["wrote"] = True  # type: ignore[attr-defined]

    def commit(connection: object) -> None:
        counts["commit"] += bool(connection.info.pop("wrote", False))  # type: ignore[attr-defined]

    event.listen(engine, "before_cursor_execute", count)
    event.listen(engine, "commit", commit)
    try:
        yield counts
    finally:
        event.remove(engine, "before_cursor_execute", count)
        event.remove(engine, "commit", commit)


def _task_runs(flow_run_id: str) -> int:
    """How many tasks Prefect has of a flow run, once all of them have arrived."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId

    wanted = FlowRunFilter(id=FlowRunFilterId(any_=[flow_run_id]))
    found = -1
    with get_client(sync_client=True) as client:
        for _ in range(20):
            before, found = found, len(client.read_task_runs(flow_run_filter=wanted))
            if found == before and found:
                break
            time.sleep(0.5)
    return found


if __name__ == "__main__":
    run()
