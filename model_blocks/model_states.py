"""Models by what is wanted of them: which may be chosen, which are to be loaded ahead, what state each is in."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal

from datasets.errors import ModelUnknownError, PipelineError
from datasets.ledger import Ledger, LedgerSession, ModelState
from datasets.thermal import AUTOMATIC, Wanted
from model_blocks.choice import ModelRef, choose_device
from model_blocks.registry import find_model
from model_blocks.weight_files import find_weights

ServiceState = Literal["running", "degraded", "disabled", "offline"]


def wanted_states(ledger: Ledger, tenant: str) -> dict[str, Wanted]:
    """What is wanted of models by name; those that are not in it are automatic."""
    with ledger.session(tenant, read_only=True) as session:
        return {name: state.wanted for name, state in session.model_states().items() if state.wanted != AUTOMATIC}


def open_circuits(session: LedgerSession) -> dict[str, str]:
    """Models that are left alone because they kept failing, with the last reason."""
    from datetime import UTC, datetime

    now = datetime.now(UTC)
    states = session.model_states()
    return {name: state.circuit.last_reason or "" for name, state in states.items() if state.circuit.is_left_alone(now)}


def unavailable_models(session: LedgerSession) -> dict[str, str]:
    """Models that must not be chosen now, each with the reason in words."""
    off = {
        name: f"turned off by {state.changed_by}; `stillmotion models cool {name} --automatic` allows it again"
        for name, state in session.model_states().items()
        if state.wanted.thermal == "off"
    }
    failing = {name: f"it kept failing: {reason}" for name, reason in open_circuits(session).items()}
    return failing | off


def is_routable(session: LedgerSession, name: str) -> bool:
    """Whether a model may be chosen now."""
    return name not in unavailable_models(session)


def service_state(state: ModelState, *, reachable: bool, now: float) -> ServiceState:
    """The state of a model as a service.

    Args:
        state: What the ledger knows of it.
        reachable: Whether its weights are there, or its endpoint answers.
        now: Seconds since the epoch.
    """
    from datetime import UTC, datetime

    if state.wanted.at(now) == "off" or state.circuit.is_left_alone(datetime.fromtimestamp(now, UTC)):
        return "disabled" if state.circuit.circuit != "half_open" else "degraded"
    if not reachable:
        return "offline"
    return "degraded" if state.circuit.circuit != "closed" or state.circuit.failures else "running"


def refs_to_bring(
    wanted: Mapping[str, Wanted], chosen: Iterable[ModelRef], *, weights_dir: Path | None, device: str
) -> tuple[ModelRef, ...]:
    """The models that are wanted warm or hot now, as a worker can load them; those whose weights are missing are not.

    Args:
        wanted: By name.
        chosen: What a run uses, with its own weights and devices.
        weights_dir: Where the others' weights are.
        device: Where the others are to run: ``auto``, ``cpu`` or ``cuda``.
    """
    known = {ref.name: ref for ref in chosen}
    names = [name for name, wish in wanted.items() if wish.now() in ("warm", "hot")]
    found = (known.get(name) or _ref(name, weights_dir, device) for name in names)
    return tuple(ref for ref in found if ref is not None)


def _ref(name: str, weights_dir: Path | None, device: str) -> ModelRef | None:
    try:
        facts = find_model(name)
        if facts.embedded:
            return ModelRef(name, "", "cpu")
        found = find_weights(facts, weights_dir=weights_dir, overrides={})
    except (ModelUnknownError, PipelineError):
        return None
    where = choose_device(device)
    return ModelRef(name, found.sha256, where, facts.precision_on(where), str(found.path), found.published)
