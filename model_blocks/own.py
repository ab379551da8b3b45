"""Models and stages that other installed packages bring, found by their entry points, read once and only when needed.

Entry points of the group ``stillmotion.models`` are ``ModelFacts``, each under the name of its model; those of the
group ``stillmotion.stages`` are stage configurations (``tasks.own_stage.OwnStageConfig``), each under the name of its
stage. One that cannot be loaded is an error only for whoever asks for it by name.
"""

import logging
from functools import cache
from importlib.metadata import EntryPoint, entry_points

from datasets.errors import SettingsError
from model_blocks.facts import ModelFacts

MODELS, STAGES = "stillmotion.models", "stillmotion.stages"
LOG = logging.getLogger("stillmotion")


class OwnBrokenError(SettingsError):
    """What a package brings by an entry point cannot be used."""

    code = "own_broken"


@cache
def brought(group: str) -> dict[str, EntryPoint]:
    """The entry points of a group by their names; of two packages with one name, the first on the path."""
    found: dict[str, EntryPoint] = {}
    for point in entry_points(group=group):
        found.setdefault(point.name, point)
    return found


def own_model(name: str) -> ModelFacts | None:
    """A model that another package brings; None if none does.

    Raises:
        OwnBrokenError: One does, and it cannot be loaded or is no ``ModelFacts`` of that name.
    """
    point = brought(MODELS).get(name)
    return _model(point) if point is not None else None


@cache
def own_models() -> tuple[ModelFacts, ...]:
    """All models that other packages bring; those that cannot be loaded are left out and said in the log."""
    found = []
    for point in brought(MODELS).values():
        try:
            found.append(_model(point))
        except OwnBrokenError as error:
            LOG.warning("%s", error)
    return tuple(found)


@cache
def _model(point: EntryPoint) -> ModelFacts:
    facts = load(point)
    if not isinstance(facts, ModelFacts) or facts.name != point.name:
        raise broken(point, f"expected ModelFacts of the name {point.name!r}, got {facts!r:.200}")
    return facts


def load(point: EntryPoint) -> object:
    """What an entry point names.

    Raises:
        OwnBrokenError: Its package cannot be imported, or has nothing of that name.
    """
    try:
        return point.load()
    except Exception as error:  # whatever somebody else's module does when it is imported
        raise broken(point, f"{type(error).__name__}: {error}") from error


def broken(point: EntryPoint, why: str) -> OwnBrokenError:
    """The error of an entry point, with its package."""
    package = f"{point.dist.name} {point.dist.version}" if point.dist is not None else "unknown"
    return OwnBrokenError(
        f"the package {package} brings {point.name!r} ({point.group}: {point.value}), which cannot be used: {why}; "
        "update or remove the package",
        package=package,
        entry_point=point.name,
        group=point.group,
        value=point.value,
    )
