"""Made worlds for retention: runs, items, outputs and assets with their ages, and what of them must be left."""

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import insert

from datasets.assets import asset_path, put_asset
from datasets.identity import digest_bytes
from datasets.ledger import Ledger, QuarantineRecord
from datasets.ledger.lineage_rows import LineageRow
from datasets.ledger.spend_tables import purchases
from datasets.ledger.tables import items as item_rows
from datasets.ledger.transactions import transaction
from datasets.outputs import FRAMES, FramesEntry, Manifest, OutputPlace, find_output
from datasets.retention import RetentionRules
from datasets.storage import Storage
from tests.datasets.ledger_rows import a_run, a_stage, an_item, an_output

RULES = RetentionRules(
    frames_days=10, steps_days=20, outputs_days=100, originals_days=50, assets_days=40, quarantine_days=30
)
DAY = timedelta(days=1)
HALF = 0.5  # of a day: no age lies on a border


@dataclass(frozen=True)
class Output:
    """What an output was made of, by number, and how old it is in days."""

    sources: tuple[int, ...] = ()
    assets: tuple[int, ...] = ()
    age: int = 500
    frames: bool = True
    finished: bool = True


@dataclass(frozen=True)
class Item:
    """Stages are outputs by number; ``names`` are assets that its files' records name."""

    status: str | None = "delivered"
    stages: tuple[int, ...] = ()
    delivered: tuple[int, ...] = ()
    original: int | None = None
    names: tuple[int, ...] = ()


@dataclass(frozen=True)
class Run:
    """``ended`` days ago; None while it is at work."""

    ended: int | None = 500
    items: tuple[Item, ...] = ()
    keep: bool = False


@dataclass(frozen=True)
class World:
    """Held: (output, asset, released days ago or None). Bought: (answer, run, item, state)."""

    outputs: tuple[Output, ...] = ()
    assets: tuple[int, ...] = ()  # ages in days
    runs: tuple[Run, ...] = ()
    held: tuple[tuple[int, int, int | None], ...] = ()
    bought: tuple[tuple[int | None, int, int, str], ...] = ()


@dataclass
class Left:
    """What must be there after a pass: outputs, those of them with their frames, assets; by number."""

    outputs: set[int] = field(default_factory=set)
    framed: set[int] = field(default_factory=set)
    assets: set[int] = field(default_factory=set)


def fingerprint(number: int) -> str:
    return digest_bytes(f"output {number}".encode())


def content(number: int) -> bytes:
    return f"asset {number}".encode()


def asset(number: int) -> str:
    return digest_bytes(content(number))


# what must be left, worked out on the world itself


def left(world: World, rules: RetentionRules = RULES) -> Left:
    result = Left()
    held, whole = _closed(world, _roots(world, rules)), _closed(world, _whole_roots(world, rules))
    held |= whole
    shown = {number for run in world.runs for item in run.items for number in item.delivered}
    originals = {item.original for run in world.runs for item in run.items}
    for number, output in enumerate(world.outputs):
        idle, name = _idle(world, number), ("output", number)
        days = rules.outputs_days if number in shown else rules.steps_days
        if idle < 1 or name in held or days is None or idle < days:
            result.outputs.add(number)
            old = rules.frames_days is not None and idle >= max(1, rules.frames_days)
            if output.frames and (name in whole or not old or not output.finished):
                result.framed.add(number)
    for number, age in enumerate(world.assets):
        made = [_used(world, each) for each, output in enumerate(world.outputs) if number in output.assets]
        idle = min([age + HALF, *made])
        days = rules.originals_days if number in originals else rules.assets_days
        if idle < 1 or ("asset", number) in held or days is None or idle < days:
            result.assets.add(number)
    return result


def _used(world: World, number: int) -> float:
    """Days since a run last asked for an output."""
    ends = [(run.ended or 0) + HALF for run in world.runs for item in run.items if number in item.stages]
    return min(ends, default=float("inf"))


def _idle(world: World, number: int) -> float:
    return min(world.outputs[number].age + HALF, _used(world, number))


def _is_pending(world: World, run: int, item: int | None = None) -> bool:
    """Whether a purchase of a run, or of one of its items, may have been charged."""
    return any(at == run and item in (None, of) and state == "unknown" for _, at, of, state in world.bought)


def _is_kept(world: World, at: int, rules: RetentionRules) -> bool:
    ended = world.runs[at].ended
    young = ended is None or rules.outputs_days is None or ended < rules.outputs_days
    return young or _is_pending(world, at)


def _roots(world: World, rules: RetentionRules) -> set[tuple[str, int]]:
    roots: set[tuple[str, int]] = set()
    for at, run in enumerate(world.runs):
        for item in run.items if _is_kept(world, at, rules) else ():
            roots |= {("output", each) for each in item.delivered}
            roots |= {("asset", each) for each in item.names if item.delivered}
            if item.status == "delivered":
                roots |= {("output", each) for each in item.stages} | _asset(item.original)
    for answer, at, number, _ in world.bought:
        if answer is not None:
            roots |= _asset(answer) | {("output", each) for each in world.runs[at].items[number].stages[:1]}
    for picture, original, released in world.held:
        if released is not None and (rules.quarantine_days is None or released < rules.quarantine_days):
            roots |= {("output", picture), ("asset", original)}
    return roots


def _whole_roots(world: World, rules: RetentionRules) -> set[tuple[str, int]]:
    roots: set[tuple[str, int]] = set()
    for at, run in enumerate(world.runs):
        for number, item in enumerate(run.items):
            is_kept = run.keep and _is_kept(world, at, rules)
            if run.ended is None or is_kept or _is_pending(world, at, number):
                roots |= {("output", each) for each in item.stages}
            if run.ended is None:
                roots |= _asset(item.original)
    for picture, original, released in world.held:
        if released is None:
            roots |= {("output", picture), ("asset", original)}
    return roots


def _asset(number: int | None) -> set[tuple[str, int]]:
    return set() if number is None else {("asset", number)}


def _closed(world: World, roots: set[tuple[str, int]]) -> set[tuple[str, int]]:
    """All that can be reached: added until nothing is new."""
    found, before = set(roots), -1
    while len(found) > before:
        before = len(found)
        for kind, number in list(found):
            if kind == "output":
                found |= {("output", each) for each in world.outputs[number].sources}
                found |= {("asset", each) for each in world.outputs[number].assets}
    return found


# making it real


def build(world: World, storage: Storage, ledger: Ledger, now: datetime) -> None:
    """The world in a storage and a ledger, its ages counted from a moment; in object stores files are new."""
    for number, age in enumerate(world.assets):
        put_asset(storage, content(number))
        _age(storage, asset_path(asset(number)), now - age * DAY - DAY / 2)
    for number, output in enumerate(world.outputs):
        _make(storage, number, output, now)
    _write_runs(world, ledger, storage.tenant, now)
    _write_money(world, ledger, storage.tenant, now)


def _make(storage: Storage, number: int, output: Output, now: datetime) -> None:
    place = OutputPlace(storage, fingerprint(number))
    files = {"a.txt": place.write_file("a.txt", f"file of {number}".encode())}
    frames = FramesEntry((1, 2, 2, 3), "uint8", (1, 2, 2, 3), {"0.0.0": 1}, {}) if output.frames else None
    if output.frames:
        storage.write_bytes(place.inside(f"{FRAMES}/zarr.json"), b"{}")
        storage.write_bytes(place.inside(f"{FRAMES}/pixels/c/0/0/0"), bytes(20))
    if output.finished:
        place.finish(Manifest(place.fingerprint, "made", place.stored_objects(), frames, files))
    _age(storage, place.folder, now - output.age * DAY - DAY / 2)


def _age(storage: Storage, relative: str, at: datetime) -> None:
    path = storage.local_path(relative)
    for each in () if path is None else [path, *Path(path).rglob("*")]:
        os.utime(each, (at.timestamp(), at.timestamp()))


def _write_runs(world: World, ledger: Ledger, tenant: str, now: datetime) -> None:
    with ledger.session(tenant) as session:
        for number, output in enumerate(world.outputs):
            inputs = [("output", fingerprint(each)) for each in output.sources]
            session.record_inputs(fingerprint(number), [*inputs, *(("asset", asset(each)) for each in output.assets)])
        for at, run in enumerate(world.runs):
            ended = now - (run.ended or 0) * DAY - DAY / 2
            finished = None if run.ended is None else ended
            status = "running" if finished is None else "delivered"
            times = {"started_at": ended, "heartbeat_at": now, "finished_at": finished}
            session.start_run(a_run(f"run-{at}", parameters={"keep": run.keep}, status=status, **times))
            session.save_items(f"run-{at}", [an_item(f"item-{n}", n, f"run-{at}") for n in range(len(run.items))])
    for at, run in enumerate(world.runs):
        for number, item in enumerate(run.items):
            _write_item(ledger, tenant, at, number, item, now - (run.ended or 0) * DAY - DAY / 2)
    with ledger.session(tenant) as session:
        for number, (picture, original, released) in enumerate(world.held):
            at_time = None if released is None else now - released * DAY - DAY / 2
            session.put_in_quarantine(
                QuarantineRecord(
                    digest_bytes(f"held {number}".encode()),
                    "run-0",
                    "item-0",
                    "/in",
                    asset(original),
                    "intake",
                    fingerprint(picture),
                    [],
                    now - 600 * DAY,
                    at_time,
                )
            )


def _write_item(ledger: Ledger, tenant: str, run: int, number: int, item: Item, at: datetime) -> None:
    run_id, name = f"run-{run}", f"item-{number}"
    with ledger.session(tenant) as session:
        for position, output in enumerate(item.stages):
            stage = "place" if position == 0 else f"stage-{position}"
            session.record_stage(
                a_stage(
                    f"{run}-{number}-{position}",
                    run_id,
                    item=name,
                    stage=stage,
                    fingerprint=fingerprint(output),
                    started_at=at,
                )
            )
        for output in item.delivered:
            sha256 = digest_bytes(f"{run} {number} {output}".encode())
            session.record_output(
                an_output(
                    f"/out/{run}/{number}/{output}", run_id, item=name, sha256=sha256, fingerprint=fingerprint(output)
                )
            )
            record = json.dumps({"stages": [f"sha256:{asset(each)}" for each in item.names]})
            session.record_lineage(LineageRow(sha256, sha256, sha256, None, run_id, fingerprint(output), record, at))
    with transaction(ledger.engine, tenant) as connection:
        where = (item_rows.c.tenant_id == tenant, item_rows.c.run_id == run_id, item_rows.c.item == name)
        original = None if item.original is None else asset(item.original)
        connection.execute(item_rows.update().where(*where).values(status=item.status, asset_digest=original))


def _write_money(world: World, ledger: Ledger, tenant: str, now: datetime) -> None:
    rows: list[dict[str, Any]] = [
        {
            "tenant_id": tenant,
            "purchase_key": digest_bytes(f"purchase {number}".encode()),
            "state": state,
            "run_id": f"run-{run}",
            "item": f"item-{item}",
            "stage": "place",
            "adapter": "paid",
            "adapter_version": "1",
            "price_micro_usd": 1,
            "price_list": "list",
            "held_micro_usd": 0,
            "scopes": [],
            "policy": "hold",
            "guard": False,
            "attempt": 1,
            "sendings": 1,
            "idempotency_key": str(number),
            "response_digest": None if answer is None else asset(answer),
            "intent_at": now,
            "day": "2026-01-01",
        }
        for number, (answer, run, item, state) in enumerate(world.bought)
    ]
    with transaction(ledger.engine, tenant) as connection:
        for row in rows:
            connection.execute(insert(purchases).values(row))


# what is there


def found(world: World, storage: Storage) -> Left:
    """What is there now: outputs that are whole, or were never finished and still lie there."""
    result = Left()
    for number, output in enumerate(world.outputs):
        place = OutputPlace(storage, fingerprint(number))
        if output.finished:
            manifest = find_output(place)
            if manifest is None:
                continue
            _check_whole(place, manifest)
            if manifest.frames is not None:
                result.framed.add(number)
        elif not storage.list_tree(place.folder) or storage.exists(f"condemned/{place.fingerprint}.json"):
            continue
        elif output.frames:
            result.framed.add(number)
        result.outputs.add(number)
    result.assets = {
        number for number in range(len(world.assets)) if storage.size(asset_path(asset(number))) == len(content(number))
    }
    return result


def _check_whole(place: OutputPlace, manifest: Manifest) -> None:
    """Nothing that is half gone may count as there."""
    for name, entry in manifest.files.items():
        place.read_file(name, entry)
    if manifest.frames is not None:
        place.check_descriptions(manifest)
        assert place.storage.read_bytes(place.inside(f"{FRAMES}/pixels/c/0/0/0")) == bytes(20)


def rubbish(storage: Storage) -> Iterable[str]:
    """What only a pass that is not over may leave."""
    return storage.list_tree("condemned")


def a_moment() -> datetime:
    return datetime.now(UTC)
