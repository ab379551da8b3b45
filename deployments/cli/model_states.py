"""``stillmotion models warm``, ``cool`` and ``status``: what is wanted of models, and how they are."""

import getpass
import re
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from datasets.errors import UsageError
from deployments.cli.inspecting import json_option, print_document, tenant_option

if TYPE_CHECKING:
    from datasets.ledger import ModelInProcess, ModelState
    from datasets.settings import Settings
    from datasets.thermal import Wanted

DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|h|d)")
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
USUAL = timedelta(hours=1)
SILENT_AFTER = timedelta(hours=1)  # a process of another host that said nothing for so long is taken for gone


adapter_option = click.option(
    "--adapter", "adapters", multiple=True, metavar="NAME", help="A service: a declaration's .json file, or a block."
)


@click.command("warm")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@adapter_option
@click.option(
    "--until", default=None, metavar="TIME", help="How long: 90m, 2h, 1d, or a moment. One hour if not given."
)
@click.option("--hot", is_flag=True, help="For good, until it is cooled.")
@tenant_option
@json_option
def warm_models(
    names: tuple[str, ...],
    adapters: tuple[str, ...],
    until: str | None,
    hot: bool,
    tenant: str | None,
    as_json: bool,
) -> int:
    """Have workers load models when they start, and keep them; have services ready, and wait until they are."""
    from datasets.thermal import Wanted

    if not names and not adapters:
        raise UsageError("name the models to warm, or services with --adapter")
    if hot and until is not None:
        raise UsageError("a model is hot for good; give --hot or --until")
    wanted = Wanted("hot") if hot else Wanted("warm", moment(until, datetime.now(UTC)))
    return _want(names, wanted, tenant, as_json, services=[_warmed(name) for name in adapters])


@click.command("cool")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option("--off", is_flag=True, help="Do not use it at all.")
@click.option("--automatic", is_flag=True, help="Keep it while it is asked for, as models are that nobody spoke of.")
@tenant_option
@json_option
def cool_models(names: tuple[str, ...], off: bool, automatic: bool, tenant: str | None, as_json: bool) -> int:
    """Have models loaded only when they are asked for, and let go soon after."""
    from datasets.thermal import Wanted

    if off and automatic:
        raise UsageError("give --off or --automatic")
    return _want(names, Wanted("off" if off else "automatic" if automatic else "cold"), tenant, as_json)


@click.command("status")
@adapter_option
@tenant_option
@json_option
def status_of_models(adapters: tuple[str, ...], tenant: str | None, as_json: bool) -> int:
    """Show how models are: running, degraded, disabled or offline, where they are loaded, what went wrong."""
    from datasets.settings import read_settings
    from model_blocks.registry import known_models

    settings = read_settings(tenant=tenant)
    states, processes = _of_ledger(settings)
    rows = [_document(facts.name, settings, states, processes) for facts in known_models()]
    rows += [_service(name) for name in adapters]
    print_document(rows, as_json, lambda: _lines(rows))
    return 0


def thermal_column(settings: "Settings") -> dict[str, str]:
    """What is wanted of models, in words; empty for those that nobody spoke of, and if the ledger is away."""
    from datasets.errors import SettingsError, StorageUnavailableError

    try:
        states, _ = _of_ledger(settings)
    except (SettingsError, StorageUnavailableError):
        return {}
    return {name: _words(state.wanted) for name, state in states.items()}


def moment(text: str | None, now: datetime) -> datetime:
    """The end of ``2h``, or a moment as ISO 8601; without a zone in UTC.

    Raises:
        UsageError: It is neither, or over already.
    """
    if text is None:
        return now + USUAL
    duration = DURATION.fullmatch(text.strip().lower())
    if duration:
        return now + timedelta(seconds=float(duration[1]) * SECONDS[duration[2]])
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise UsageError(f"expected a time such as 2h or 2026-05-04T18:00, got {text!r}") from error
    found = found if found.tzinfo else found.replace(tzinfo=UTC)
    if found <= now:
        raise UsageError(f"{text} is over already; give a time to come, such as 2h")
    return found


def _warmed(name: str) -> dict[str, Any]:
    """A service that is ready, waited for where it can be told to be."""
    from model_blocks.adapters.finding import find_adapter, make_adapter

    adapter = make_adapter(find_adapter(name))
    warm = getattr(adapter, "warm", None)
    if warm is not None:
        warm()
    return {"name": adapter.declaration.name, "thermal": adapter.ping(), "warm_until": None}


def _service(name: str) -> dict[str, Any]:
    """A service asked how it is; nothing of it is loaded here."""
    from model_blocks.adapters.finding import find_adapter, make_adapter
    from model_blocks.adapters.frames_errors import AdapterError

    adapter = make_adapter(find_adapter(name))
    try:
        said = adapter.ping()
        state = "running" if said in ("ready", "unknown") else "degraded"
    except AdapterError as error:
        said, state = error.message, "offline"
    document = dict.fromkeys(("warm_until", "circuit", "last_reason", "retry_at", "weights", "measured_bytes"))
    told = {"name": adapter.declaration.name, "state": state, "thermal": "", "said": said}
    return {**document, **told, "failures": 0, "processes": []}


def _want(
    names: tuple[str, ...],
    wanted: "Wanted",
    tenant: str | None,
    as_json: bool,
    services: Sequence[dict[str, Any]] = (),
) -> int:
    from datasets.ledger import open_ledger
    from datasets.settings import read_settings
    from model_blocks.registry import find_model

    chosen = [find_model(name).name for name in dict.fromkeys(names)]
    settings = read_settings(tenant=tenant)
    ledger = open_ledger(settings.ledger, owner_url=settings.ledger_owner_url)
    with ledger.session(settings.tenant) as session:
        for name in chosen:
            session.want_model(name, wanted, by=getpass.getuser())
    until = wanted.warm_until.isoformat(timespec="seconds") if wanted.warm_until else None
    rows = [{"name": name, "thermal": wanted.thermal, "warm_until": until} for name in chosen]
    lines = [f"{name}: {_words(wanted)}, from the next run on" for name in chosen]
    lines += [f"{service['name']}: {service['thermal']}" for service in services]
    print_document([*rows, *services], as_json, lambda: lines)
    return 0


def _of_ledger(settings: "Settings") -> tuple[dict[str, "ModelState"], list["ModelInProcess"]]:
    from datasets.ledger import open_ledger

    ledger = open_ledger(settings.ledger, owner_url=settings.ledger_owner_url)
    with ledger.session(settings.tenant, read_only=True) as session:
        return session.model_states(), session.model_processes()


def _document(
    name: str, settings: "Settings", states: dict[str, "ModelState"], processes: list["ModelInProcess"]
) -> dict[str, Any]:
    from datasets.ledger import ModelState
    from model_blocks.model_states import service_state
    from model_blocks.registry import find_model
    from model_blocks.weight_files import look

    state = states.get(name) or ModelState(name)
    presence = look(find_model(name), weights_dir=settings.weights_dir).presence
    own = [each for each in processes if each.model == name]
    circuit = state.circuit
    return {
        "name": name,
        "state": service_state(state, reachable=presence in ("needs none", "present"), now=time.time()),
        "thermal": state.wanted.now(),
        "warm_until": _shown(state.wanted.warm_until),
        "circuit": circuit.circuit,
        "failures": circuit.failures,
        "last_reason": circuit.last_reason,
        "retry_at": _shown(circuit.retry_at),
        "weights": presence,
        "measured_bytes": max((each.bytes for each in own), default=None),
        "processes": [_process(each) for each in own],
    }


def _process(told: "ModelInProcess") -> dict[str, Any]:
    return {
        "host": told.host,
        "pid": told.pid,
        "alive": _is_alive(told),
        "device": told.device,
        "bytes": told.bytes,
        "loaded_at": _shown(told.loaded_at),
        "last_used_at": _shown(told.last_used_at),
        "requests_per_minute": told.requests_per_minute,
        "loads": told.loads,
        "hits": told.hits,
        "evictions": told.evictions,
        "told_at": _shown(told.told_at),
    }


def _is_alive(told: "ModelInProcess") -> bool:
    from datasets.ledger.processes import host_name, is_alive

    if told.host == host_name():
        return is_alive(told.pid, born_by=told.told_at.timestamp())
    return told.told_at > datetime.now(UTC) - SILENT_AFTER


def _lines(rows: list[dict[str, Any]]) -> Iterator[str]:
    from deployments.cli.words import size, table

    yield from table(
        ("model", "state", "thermal", "memory", "loaded in", "remarks"),
        (
            (
                row["name"],
                row["state"],
                row["thermal"],
                "" if row["measured_bytes"] is None else size(row["measured_bytes"]),
                ", ".join(_place(each) for each in row["processes"] if each["alive"] and each["loaded_at"]),
                _remarks(row),
            )
            for row in rows
        ),
    )


def _place(told: dict[str, Any]) -> str:
    return f"{told['host']}:{told['pid']} ({told['device']}, {told['requests_per_minute']:g}/min)"


def _remarks(row: dict[str, Any]) -> str:
    if "said" in row:
        return str(row["said"])
    said = [f"weights {row['weights']}"] if row["state"] == "offline" else []
    if row["warm_until"] and row["thermal"] == "warm":
        said.append(f"until {row['warm_until']}")
    if row["failures"]:
        said.append(f"failed {row['failures']} times: {row['last_reason']}")
    if row["circuit"] == "open":
        said.append(f"tried again after {row['retry_at']}")
    return "; ".join(said)


def _words(wanted: "Wanted") -> str:
    if wanted.now() == "warm" and wanted.warm_until is not None:
        return f"warm until {_shown(wanted.warm_until)}"
    return wanted.now()


def _shown(at: datetime | None) -> str | None:
    return None if at is None else at.astimezone(UTC).isoformat(timespec="seconds")
