"""Options that the commands share."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from datasets.errors import UsageError

if TYPE_CHECKING:
    from datasets.settings import Settings

Command = TypeVar("Command", bound=Callable[..., Any])

MODEL_OPTIONS = (
    click.option(
        "--models",
        default=("auto",),
        multiple=True,
        show_default=True,
        help="auto, official, embedded, block:NAME, or CAPABILITY=NAME (may be repeated).",
    ),
    click.option("--weights", multiple=True, metavar="NAME=PATH", help="Use a local file as the weights of a model."),
    click.option(
        "--purpose",
        type=click.Choice(["commercial", "research", "personal"]),
        default="commercial",
        show_default=True,
        help="What the pictures are for; licences are checked against it.",
    ),
)
OPTIONS = (
    click.option("--out", default="stillmotion-output", show_default=True, help="Folder for the results."),
    *MODEL_OPTIONS,
    click.option("--tenant", default=None, help="Whose work this is."),
    click.option("--budget", type=click.FloatRange(min=0), default=None, help="Most that may be spent, in USD."),
    click.option(
        "--approve",
        type=click.Choice(["none", "spend"]),
        default="none",
        show_default=True,
        help="spend: pause before the first paid call and ask a human.",
    ),
    click.option(
        "--quality",
        type=click.Choice(["economy", "balanced", "premium"]),
        default="balanced",
        show_default=True,
        help="What --models auto chooses by: money and time, all alike, or quality.",
    ),
    click.option("--max-cost", type=click.FloatRange(min=0), default=None, help="Most a model may cost an item, USD."),
    click.option(
        "--max-latency", type=click.FloatRange(min=0), default=None, help="Longest a model may take an item, seconds."
    ),
    click.option("--prefer", metavar="PROVIDER", default=None, help="Whose models come first: embedded, official."),
    click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default=None, help="Where models run."),
    click.option("--workers", type=click.IntRange(min=1, max=256), default=None, help="Worker processes."),
    click.option("--keep", is_flag=True, help="Store every stage's picture, also where stages could share a pass."),
    click.option("--dry-run", is_flag=True, help="Say what would be computed, and compute nothing."),
    click.option("--json", "as_json", is_flag=True, help="Print one JSON document on standard output."),
)
RESTYLE_OPTIONS = (
    click.option("--prompt", default=None, help="For the recipe restyle: what it is to look like, in words."),
    click.option("--style", default=None, help="For the recipe restyle: a style that the adapter knows."),
    click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=None, help="For the recipe restyle."),
    click.option("--adapter", default=None, help="For the recipe restyle: mock, a .json declaration, or a block."),
)


@dataclass(frozen=True)
class Common:
    """The values of the shared options."""

    out: str
    models: str | dict[str, str]
    weights: dict[str, str]
    purpose: str
    budget_usd: float | None
    keep: bool
    dry_run: bool
    as_json: bool
    settings: "Settings"
    quality: str = "balanced"
    max_cost_usd: float | None = None
    max_latency_s: float | None = None
    prefer: str | None = None
    approve: str = "none"
    restyle: dict[str, str | int] = field(default_factory=dict)


def common_options(command: Command) -> Command:
    """Give a command the shared options."""
    for option in reversed(OPTIONS):
        command = option(command)
    return command


def restyle_options(command: Command) -> Command:
    """Give a command the options of the recipe restyle."""
    for option in reversed(RESTYLE_OPTIONS):
        command = option(command)
    return command


def model_options(command: Command) -> Command:
    """Give a command the options that choose models."""
    for option in reversed(MODEL_OPTIONS):
        command = option(command)
    return command


def read_common(values: dict[str, Any]) -> Common:
    """The shared options as one value, settings included.

    Raises:
        UsageError: A model choice or a weights file is not spelled as it should be.
    """
    from datasets.settings import read_settings

    return Common(
        out=values["out"],
        models=_models(values["models"]),
        weights=_weights(values["weights"]),
        purpose=values["purpose"],
        budget_usd=values["budget"],
        keep=values["keep"],
        dry_run=values["dry_run"],
        as_json=values["as_json"],
        settings=read_settings(tenant=values["tenant"], device=values["device"], workers=values["workers"]),
        quality=values.get("quality", "balanced"),
        max_cost_usd=values.get("max_cost"),
        max_latency_s=values.get("max_latency"),
        prefer=values.get("prefer"),
        approve=values.get("approve", "none"),
        restyle=_restyle(values),
    )


def _restyle(values: dict[str, Any]) -> dict[str, str | int]:
    """What is said of the stage restyle; a file by its absolute path, since workers may run in another folder."""
    told = {name: values.get(name) for name in ("prompt", "style", "seed", "adapter")}
    given: dict[str, str | int] = {name: value for name, value in told.items() if value is not None}
    if str(given.get("adapter", "")).endswith(".json"):
        given["adapter"] = str(Path(str(given["adapter"])).expanduser().absolute())
    return given


def _models(given: tuple[str, ...]) -> str | dict[str, str]:
    named = dict(value.split("=", 1) for value in given if "=" in value)
    policies = [value for value in given if "=" not in value]
    if len(policies) > 1 or (named and policies and policies != ["auto"]):
        raise UsageError(f"--models takes one of auto, official, embedded, or CAPABILITY=NAME pairs, got {given}")
    return named or policies[0]


def _weights(given: tuple[str, ...]) -> dict[str, str]:
    """Absolute paths by model name: workers may run in another folder."""
    from model_blocks.registry import MODELS, find_model

    paths: dict[str, str] = {}
    for value in given:
        name, separator, path = value.partition("=")
        if not separator or not path:
            raise UsageError(f"--weights takes NAME=PATH, got {value!r}")
        if find_model(name).embedded:
            takers = ", ".join(facts.name for facts in MODELS if not facts.embedded) or "none so far"
            raise UsageError(f"{name} needs no weights; models that take some: {takers}")
        file = Path(path).expanduser().absolute()
        if not file.is_file():
            raise UsageError(f"the weights given for {name} are not there: {file}")
        if paths.setdefault(name, str(file)) != str(file):
            raise UsageError(f"--weights names two files for {name}")
    return paths
