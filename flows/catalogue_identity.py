"""What names a catalogue's rows: a key and a file name for each SKU, a digest for what decides a row's outputs."""

import json
import unicodedata
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache
from importlib import import_module
from pathlib import Path

from pydantic import ValidationError

from datasets.catalogue import CatalogueRow, RowReason
from datasets.errors import RecipeError
from datasets.identity import digest_bytes, digest_file, fingerprint
from datasets.lineage.environment import environment
from datasets.settings import Settings
from flows.catalogue_order import CatalogueOrder
from flows.provenance import FILE_FIELDS
from flows.recipes import Recipe, RecipeName, check_recipe, parse_recipe
from model_blocks.choice import ModelRef
from tasks.config import StageConfig
from tasks.ops.names import safe_stem

LIMITS = ("max_input_mb", "max_megapixels", "min_side", "gates")  # of the settings: decide what is refused
DIGITS = 8  # hexadecimal, of a SKU that no file can be named after
MOST_RECIPES = 512  # different ones of single rows that are kept checked


class RowRefusedError(Exception):
    """A row asks for something that there is not; ``reason`` says what."""

    def __init__(self, reason: RowReason) -> None:
        super().__init__(reason.message)
        self.reason = reason


def sku_key(sku: str) -> str:
    """The same for SKUs that are one: upper and lower case and outer spaces make no difference."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", sku.strip()).casefold())


def item_of(sku: str) -> str:
    """A name for files: the SKU itself if it is one, else what can be kept of it and a digest of the whole."""
    stem = safe_stem(sku.replace("/", "-"))
    if stem == sku and unicodedata.normalize("NFKC", sku) == sku:
        return sku
    return f"{stem}-{digest_bytes(sku_key(sku).encode('utf-8', 'surrogatepass'))[:DIGITS]}"


class RowRecipes:
    """The recipes of a catalogue's rows: the order's own, another named by a row, or one with a row's parameters."""

    def __init__(self, order: CatalogueOrder, settings: Settings, names: Sequence[str] = ()) -> None:
        self.main = replace(parse_recipe(order.recipe, restyle=order.restyle), keep=order.keep)
        self._order, self._settings = order, settings
        self._named = {name: _named(name, order.keep) for name in names if name in list(RecipeName)}
        self._made = lru_cache(MOST_RECIPES)(self._make)
        self._identities = lru_cache(MOST_RECIPES)(lambda *asked: self._identity(self._made(*asked)))
        self.models: Mapping[str, ModelRef] = {}  # of the run; they are part of what decides outputs

    @property
    def whole(self) -> Recipe:
        """What the run has to be opened for: the capabilities of all recipes, and the service if one is paid."""
        every = [self.main, *self._named.values()]
        paid = next((each for each in every if each.is_paid), self.main)
        needed = dict.fromkeys(capability for each in every for capability in each.capabilities)
        return replace(paid, title=self.main.title, capabilities=tuple(needed))

    @property
    def are_plain(self) -> bool:
        """Whether all recipes are array functions alone."""
        return all(each.is_plain for each in (self.main, *self._named.values()))

    @property
    def stages(self) -> int:
        """The most stages that a row goes through."""
        from flows.items import stages_of

        return max(stages_of(each) for each in (self.main, *self._named.values()))

    def of_row(self, row: CatalogueRow) -> Recipe:
        """The recipe of a row.

        Raises:
            RowRefusedError: There is no such recipe, or a parameter does not hold.
        """
        return self._made(*_asked(row))

    def identity_of(self, row: CatalogueRow) -> str:
        """A digest of all that decides a row's outputs besides its picture."""
        return self._identities(*_asked(row))

    def _make(self, name: str | None, parameters: str) -> Recipe:
        recipe = self.main if name is None else self._named.get(name)
        if recipe is None:
            known = ", ".join(RecipeName)
            message = f"unknown recipe {name!r}; known: {known}"
            raise RowRefusedError(RowReason("recipe_unknown", message, {"recipe": name}))
        given = json.loads(parameters)
        return _with_parameters(recipe, given) if given else recipe

    def _identity(self, recipe: Recipe) -> str:
        """More goes in than decides the pixels: where it has changed for nothing, the store knows all stages."""
        settings, models = self._settings, self.models
        return fingerprint(
            {
                "stages": [_portable(step.config) for step in recipe.steps],
                "keep": recipe.keep,
                "versions": {step.config.stage_name: _version(step.config) for step in recipe.steps},
                "intake": _module_version("tasks.intake"),
                "models": {name: models[name].identity for name in recipe.capabilities},
                "libraries": environment()["libraries"],
                "limits": json.loads(settings.model_dump_json(include=set(LIMITS))),
                "signed": settings.signing_key is not None,
                "service": settings.place_service if recipe.is_paid else "",
                "rules": digest_file(settings.routing) if settings.routing is not None else "",
            }
        )


def row_identity(asset: str, recipe_identity: str) -> str:
    """A digest of all that decides a row's outputs."""
    return fingerprint({"asset": asset, "recipe": recipe_identity})


def _asked(row: CatalogueRow) -> tuple[str | None, str]:
    return row.recipe, json.dumps(dict(row.parameters), sort_keys=True, default=str) if row.parameters else "{}"


def _named(name: str, keep: bool) -> Recipe:
    return replace(parse_recipe(name), keep=keep)


def _with_parameters(recipe: Recipe, given: Mapping[str, object]) -> Recipe:
    stages = [step.config for step in recipe.steps]
    for name, value in given.items():
        stage, _, field = name.partition(".")
        places = [at for at, config in enumerate(stages) if stage in (config.id, config.stage_name)]
        if not places:
            known = ", ".join(dict.fromkeys(config.stage_name for config in stages))
            message = f"the recipe has no stage {stage!r}; it has: {known}"
            raise RowRefusedError(RowReason("parameter_invalid", message, {"parameter": name}))
        for at in places:
            stages[at] = _changed(stages[at], name, field, value)
    try:
        return replace(check_recipe(recipe.title, stages), keep=recipe.keep)
    except RecipeError as error:
        raise RowRefusedError(RowReason("parameter_invalid", error.message, {})) from error


def _changed(config: StageConfig, name: str, field: str, value: object) -> StageConfig:
    """The stage with a field from a table; text that is a list or an object is read as JSON."""
    if field in FILE_FIELDS or field in ("stage", "id", "input", "when"):
        message = f"{field!r} cannot come from a table; name it in the recipe"
        raise RowRefusedError(RowReason("parameter_invalid", message, {"parameter": name}))
    if isinstance(value, str) and value[:1] in ("[", "{"):
        with suppress(ValueError):  # then the stage says what it wants
            value = json.loads(value)
    try:
        return type(config).model_validate(config.model_dump() | {field: value})
    except ValidationError as error:
        found = error.errors(include_input=False)[0]["msg"]
        message = f"{name} does not hold: {found}"
        raise RowRefusedError(RowReason("parameter_invalid", message, {"parameter": name})) from error


def _portable(config: StageConfig) -> dict[str, object]:
    """A stage's configuration, files by their content: another file behind the same path is another recipe."""
    values = config.model_dump(mode="json")
    paths = {name: Path(str(values[name])) for name in FILE_FIELDS if values.get(name)}
    return values | {name: digest_file(path) for name, path in paths.items() if path.is_file()}


def _version(config: StageConfig) -> int:
    return _module_version(type(config).__module__.removesuffix("_config")) or int(getattr(config, "version", 0))


def _module_version(name: str) -> int:
    return int(getattr(import_module(name), "VERSION", 0))
