"""Recipes: the order of stages as data, checked before anything runs. A recipe is a small graph over one picture."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError

from datasets.errors import RecipeError
from expectations.suites import suite
from model_blocks.registry import Capability
from tasks.compose import ComposeConfig
from tasks.config import Condition, StageConfig
from tasks.cutout import CutoutConfig
from tasks.faces import FacesConfig
from tasks.gate_config import GateConfig
from tasks.grade import GradeConfig
from tasks.inpaint import InpaintPhotoConfig
from tasks.own_stage import own_stage
from tasks.place_config import PlaceConfig
from tasks.publish import PublishConfig
from tasks.restyle_config import RestyleConfig
from tasks.thumbnails import ThumbnailsConfig
from tasks.upscale import UpscaleConfig

StageSpec = Annotated[
    CutoutConfig
    | UpscaleConfig
    | GradeConfig
    | ComposeConfig
    | GateConfig
    | PlaceConfig
    | PublishConfig
    | ThumbnailsConfig
    | InpaintPhotoConfig
    | FacesConfig
    | RestyleConfig,
    Field(discriminator="stage"),
]
StageList = TypeAdapter(tuple[StageSpec, ...])

INTAKE = "intake"
_NEEDS: dict[type[StageConfig], tuple[Capability, ...]] = {
    CutoutConfig: ("segment", "matte"),
    UpscaleConfig: ("upscale",),
    InpaintPhotoConfig: ("inpaint",),
    FacesConfig: ("detect_faces", "restore_faces"),
}
_MAKES: dict[type[StageConfig], str] = {
    CutoutConfig: "cutout",
    UpscaleConfig: "enlarged",
    PlaceConfig: "placed",
    FacesConfig: "restored",
    RestyleConfig: "restyled",
}
SINKS = (PublishConfig, ThumbnailsConfig)  # they deliver the picture and do not change it
PLAIN = (GradeConfig, ComposeConfig, *SINKS)  # array functions on one core, without a model, a gate or the outside


class RecipeName(StrEnum):
    """The recipes that come with the house."""

    CUTOUT = "cutout"
    PACKSHOT = "packshot"
    ENLARGE = "enlarge"
    THUMBNAILS = "thumbnails"
    COMPLETE = "complete"
    HERO = "hero"
    RESTYLE = "restyle"


CANVAS_READY = UpscaleConfig(long_side=2400, factor=4, when=Condition(fact="long_side", below=2000))

NAMED: dict[RecipeName, tuple[StageConfig, ...]] = {
    RecipeName.CUTOUT: (CutoutConfig(), PublishConfig(format="png"), ThumbnailsConfig()),
    RecipeName.PACKSHOT: (
        CutoutConfig(),
        CANVAS_READY,
        ComposeConfig(),
        PublishConfig(format="jpeg"),
        ThumbnailsConfig(),
    ),
    RecipeName.ENLARGE: (UpscaleConfig(factor=2), PublishConfig(), ThumbnailsConfig()),
    RecipeName.THUMBNAILS: (ThumbnailsConfig(),),
    RecipeName.COMPLETE: (
        CutoutConfig(id="object"),
        PublishConfig(format="png"),
        CANVAS_READY.model_copy(update={"input": "object"}),
        ComposeConfig(id="shot"),
        PublishConfig(format="jpeg"),
        ThumbnailsConfig(input="shot"),
        UpscaleConfig(id="large", input=INTAKE, factor=2),
        PublishConfig(),
    ),
    RecipeName.HERO: (
        GateConfig(gate="intake"),
        CutoutConfig(),
        CANVAS_READY.model_copy(update={"id": "product"}),
        GateConfig(gate="spend"),
        PlaceConfig(id="scene"),
        GateConfig(gate="delivery"),
        PublishConfig(format="jpeg"),
        ThumbnailsConfig(),
        ComposeConfig(input="product"),
        PublishConfig(format="jpeg"),
    ),
    RecipeName.RESTYLE: (RestyleConfig(), PublishConfig(), ThumbnailsConfig()),
}


@dataclass(frozen=True)
class Step:
    """One stage of a recipe with its input resolved.

    Attributes:
        name: Unique in the recipe.
        source: Name of the step whose picture it takes; ``intake`` for the photograph.
        role: For steps that deliver: what the file is.
        number: For roles delivered several times: 1, 2, ...
    """

    name: str
    config: StageConfig
    source: str
    role: str = ""
    number: int = 1


@dataclass(frozen=True)
class Recipe:
    """A checked recipe.

    Attributes:
        title: Its name, or ``own`` for a list of stages.
        steps: In an order in which every input comes first.
        capabilities: The model capabilities that its stages use.
        keep: Whether every stage's picture is stored, so that no stages share a pass.
    """

    title: str
    steps: tuple[Step, ...]
    capabilities: tuple[Capability, ...] = ()
    keep: bool = False

    @property
    def is_paid(self) -> bool:
        """Whether it has a stage that costs money."""
        return any(isinstance(step.config, PlaceConfig) for step in self.steps)

    @property
    def is_plain(self) -> bool:
        """Whether it is array functions alone, so that several items at a time cost nothing but cores."""
        return all(isinstance(step.config, PLAIN) for step in self.steps)

    def way_to(self, name: str) -> list[Step]:
        """The steps whose pictures lead to a step's, itself first."""
        steps = {step.name: step for step in self.steps}
        way = list[Step]()
        while name in steps:
            way.append(steps[name])
            name = steps[name].source
        return way

    def from_on(self, first: Step) -> tuple[Step, ...]:
        """A step and all that come after it."""
        return self.steps[self.steps.index(first) :]

    def consumers(self, name: str) -> int:
        """How many steps take the picture of a step."""
        return sum(step.source == name for step in self.steps)


def named_recipe(name: RecipeName) -> Recipe:
    return check_recipe(name.value, NAMED[name])


def parse_recipe(value: str | Sequence[object], *, restyle: Mapping[str, object] | None = None) -> Recipe:
    """A recipe for photographs from its name, the path of a JSON file with a list of stages, or such a list itself.

    Args:
        restyle: Fields for its stage ``restyle``.

    Raises:
        RecipeError: No such recipe, or the list does not hold; the message names stage and field.
    """
    if isinstance(value, str) and value in list(RecipeName):
        return check_recipe(value, asked(NAMED[RecipeName(value)], restyle))
    return check_recipe("own", asked(read_stages(value, StageList, list(RecipeName)), restyle))


def asked(stages: Sequence[StageConfig], restyle: Mapping[str, object] | None) -> Sequence[StageConfig]:
    """The stages with what a command says of its stage ``restyle`` given to the first one.

    Raises:
        RecipeError: There is none, or a field does not hold.
    """
    if not restyle:
        return stages
    takers = [number for number, config in enumerate(stages) if isinstance(config, RestyleConfig)]
    if not takers:
        raise RecipeError(f"{' and '.join(restyle)} given and no stage 'restyle' takes it; use the recipe restyle")
    at = takers[0]
    try:
        told = RestyleConfig.model_validate(stages[at].model_dump() | dict(restyle))
    except ValidationError as error:
        first = error.errors()[0]
        raise RecipeError(f"{first['loc'][0]} does not hold: {first['msg']}", where=str(first["loc"][0])) from error
    return (*stages[:at], told, *stages[at + 1 :])


def read_stages(
    value: str | Sequence[object], kinds: TypeAdapter[tuple[Any, ...]], known: Sequence[str]
) -> tuple[StageConfig, ...]:
    """A list of stages, given as such or as the path of a JSON file, with every field checked.

    Args:
        kinds: What the stages may be.
        known: Names of recipes, for the message.

    Raises:
        RecipeError: No such file, or the list does not hold; the message names stage and field.
    """
    if not isinstance(value, str):
        return _validated(value, kinds)
    path = Path(value)
    if path.suffix != ".json" or not path.is_file():
        raise RecipeError(
            f"unknown recipe {value!r}; known: {', '.join(known)}, or the path of a .json file with a list of stages",
            recipe=value,
        )
    try:
        return _validated(json.loads(path.read_text(encoding="utf-8")), kinds)
    except ValueError as error:
        raise RecipeError(f"{value} is not valid JSON: {error}", recipe=value) from error


def _validated(stages: object, kinds: TypeAdapter[tuple[Any, ...]]) -> tuple[StageConfig, ...]:
    try:
        return kinds.validate_python(stages)
    except ValidationError as error:
        own = _own(stages, error)
        wrong = [each for each in error.errors() if not each["loc"] or each["loc"][0] not in own]
        if wrong:
            raise _not_held(wrong[0]) from error
        assert isinstance(stages, list | tuple)
        others = iter(kinds.validate_python([stage for at, stage in enumerate(stages) if at not in own]))
        return tuple(own[at] if at in own else next(others) for at in range(len(stages)))


def _own(stages: object, error: ValidationError) -> dict[int | str, StageConfig]:
    """The stages of other packages, by their position; looked for only where a name is none of the house's."""
    found: dict[int | str, StageConfig] = {}
    for each in error.errors():
        if each["type"] != "union_tag_invalid" or not isinstance(stages, list | tuple):
            continue
        at = int(each["loc"][0])
        kind = own_stage(str(stages[at]["stage"]))
        if kind is not None:
            try:
                found[at] = kind.model_validate(stages[at])
            except ValidationError as wrong:
                first = wrong.errors()[0]
                raise _not_held({**first, "loc": (at, *first["loc"])}) from wrong
    return found


def _not_held(first: Mapping[str, Any]) -> RecipeError:
    where = ".".join(str(part) for part in first["loc"]) or "the list"
    return RecipeError(f"the recipe does not hold at {where}: {first['msg']}", where=where)


def check_recipe(title: str, stages: Sequence[StageConfig]) -> Recipe:
    """Resolve the inputs of a list of stages for photographs and check that it delivers something.

    Raises:
        RecipeError: A name is given twice, an input is not known yet, nothing is delivered, or a paid stage is not
            guarded.
    """
    recipe = resolve(title, stages, first=INTAKE, sinks=SINKS, role=_role, needs=_needs)
    for step in recipe.steps:
        _refuse_unguarded(recipe, step)
    return recipe


def _refuse_unguarded(recipe: Recipe, step: Step) -> None:
    """Nothing is paid for before a gate has looked at it, and a comparison needs something to compare with."""
    config = step.config
    guards = [each.config.gate for each in recipe.way_to(step.source) if isinstance(each.config, GateConfig)]
    if isinstance(config, PlaceConfig) and "spend" not in guards:
        raise RecipeError(
            f"the paid stage {step.name!r} has no gate before it; put {{'stage': 'gate', 'gate': 'spend'}} there",
            stage=step.name,
        )
    if isinstance(config, GateConfig):
        suite(config.gate, {config.gate: config.thresholds})  # refuses what does not hold
        if config.cutout is not None and config.cutout not in (INTAKE, *(each.name for each in recipe.steps)):
            raise RecipeError(f"the gate {step.name!r} compares with {config.cutout!r}, which no stage makes")


Role = Callable[[StageConfig, str, Mapping[str, Step]], str]
Needs = Callable[[StageConfig], tuple[Capability, ...]]


def resolve(
    title: str,
    stages: Sequence[StageConfig],
    *,
    first: str,
    sinks: tuple[type[StageConfig], ...],
    role: Role,
    needs: Needs,
) -> Recipe:
    """A list of stages as a graph.

    Args:
        first: Name of what comes before them all.
        sinks: Stages that deliver and make nothing for others.
        role: What a stage delivers, by its configuration, its source and the steps before it.
        needs: The model capabilities that a stage uses.

    Raises:
        RecipeError: A name is given twice, an input is not known yet, or nothing is delivered.
    """
    steps: dict[str, Step] = {}
    last, roles = first, list[str]()
    for position, config in enumerate(stages, start=1):
        name = config.id or f"stage_{position}"
        source = config.input or last
        if name in steps or name == first:
            raise RecipeError(f"two stages are called {name!r}; give every stage its own id", id=name)
        if source != first and (source not in steps or isinstance(steps[source].config, sinks)):
            raise RecipeError(
                f"stage {position} takes its picture from {source!r}, which no earlier stage makes", input=source
            )
        roles.append(role(config, source, steps))
        steps[name] = Step(name, config, source, roles[-1], roles.count(roles[-1]))
        last = last if isinstance(config, sinks) else name
    if not any(isinstance(config, sinks) for config in stages):
        delivers = " or ".join(f"'{sink.model_fields['stage'].default}'" for sink in sinks)
        raise RecipeError(f"the recipe delivers nothing; add a stage {delivers}")
    capabilities = tuple(dict.fromkeys(each for config in stages for each in needs(config)))
    return Recipe(title, tuple(steps.values()), capabilities)


def _needs(config: StageConfig) -> tuple[Capability, ...]:
    if isinstance(config, UpscaleConfig) and config.denoise < 1:
        return ("upscale", "upscale_blend")
    return _NEEDS.get(type(config), ())


def _role(config: StageConfig, source: str, steps: Mapping[str, Step]) -> str:
    """What a publish step delivers: what it says, else what the nearest stage before it makes."""
    if isinstance(config, ThumbnailsConfig):
        return "thumbnail"
    if not isinstance(config, PublishConfig):
        return ""
    if config.role is not None:
        return config.role
    while source != INTAKE:
        made = steps[source]
        role = made.config.role if isinstance(made.config, ComposeConfig) else _MAKES.get(type(made.config))
        if role is not None:
            return role
        source = made.source
    return "composed"
