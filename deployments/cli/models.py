"""``stillmotion models``: what the registry holds, which weights are there, and fetching them."""

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import click

from datasets.errors import PipelineError, UsageError
from deployments.cli.inspecting import json_option
from deployments.cli.model_states import cool_models, status_of_models, thermal_column, warm_models

if TYPE_CHECKING:
    from datasets.settings import Settings
    from model_blocks.registry import ModelFacts
    from model_blocks.weight_files import WeightsState

SHORT = 12  # digits of a digest in a table


@click.group()
def models() -> None:
    """The models that can be used."""


for command in (warm_models, cool_models, status_of_models):
    models.add_command(command)


@models.command("list")
@json_option
def list_models(as_json: bool) -> int:
    """List all models with what they do, their licence and where their weights come from."""
    from datasets.settings import read_settings
    from model_blocks.registry import known_models
    from model_blocks.weight_files import look

    settings = read_settings()
    thermal = thermal_column(settings)
    rows = [(facts, look(facts, weights_dir=settings.weights_dir)) for facts in known_models()]
    wanted = {facts.name: thermal.get(facts.name, "automatic") for facts, _ in rows}
    if as_json:
        documents = [_document(facts, state) | {"thermal": wanted[facts.name]} for facts, state in rows]
        click.echo(json.dumps(documents, indent=1))
        return 0
    headings = (
        "capability",
        "model",
        "presence",
        "thermal",
        "size",
        "digest",
        "licence",
        "purpose",
        "method",
        "weights",
    )
    _table(headings, (_row(facts, state, wanted[facts.name]) for facts, state in rows))
    return 0


def _document(facts: "ModelFacts", state: "WeightsState") -> dict[str, Any]:
    return {
        "name": facts.name,
        "capability": facts.capability,
        "architecture": facts.architecture,
        "embedded": facts.embedded,
        "licence": facts.licence,
        "purposes": list(facts.purposes),
        "file_url": facts.file_url,
        "bytes": facts.bytes,
        "sha256": facts.sha256,
        "present": state.presence in ("needs none", "present"),
        **_state(state),
    }


def _state(state: "WeightsState") -> dict[str, Any]:
    return {
        "presence": state.presence,
        "path": str(state.path) if state.path else None,
        "known_sha256": state.sha256,
        "published": state.published,
        "detail": state.detail,
    }


def _row(facts: "ModelFacts", state: "WeightsState", thermal: str) -> tuple[str, ...]:
    from deployments.cli.words import size
    from model_blocks.registry import EVERY_PURPOSE

    return (
        facts.capability,
        facts.name,
        state.presence,
        thermal,
        "" if facts.bytes is None else size(facts.bytes),
        (state.sha256 or "")[:SHORT],
        facts.licence,
        "any" if facts.purposes == EVERY_PURPOSE else ", ".join(facts.purposes),
        facts.architecture,
        facts.file_url or "",
    )


def _table(headings: Iterable[str], rows: Iterable[Iterable[object]]) -> None:
    from deployments.cli.words import table

    for line in table(headings, rows):
        click.echo(line)


@models.command("check")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@json_option
def check_models(names: tuple[str, ...], as_json: bool) -> int:
    """Read weight files and compare their digests; all that are there, or those named.

    Exit status 1 if one is damaged, or if one that was named is missing.
    """
    from datasets.settings import read_settings
    from model_blocks.weight_files import check

    folder = read_settings().weights_dir
    states = [check(facts, weights_dir=folder) for facts in _chosen(names, everything=not names)]
    if as_json:
        click.echo(json.dumps([{"name": state.name, **_state(state)} for state in states], indent=1))
    else:
        rows = ((state.name, state.presence, (state.sha256 or "")[:SHORT], state.detail) for state in states)
        _table(("model", "weights", "digest", "remarks"), rows)
    wrong = ("damaged", "missing") if names else ("damaged",)
    return int(any(state.presence in wrong for state in states))


@models.command("pull")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--all", "everything", is_flag=True, help="Every model that takes weights.")
@json_option
def pull_models(names: tuple[str, ...], everything: bool, as_json: bool) -> int:
    """Fetch weights from the mirror or their authors, verify them, and keep them. Goes on where it broke off.

    Exit status 1 if one could not be fetched; the others are.
    """
    from datasets.settings import read_settings

    if bool(names) == everything:
        raise UsageError("name the models to fetch, or give --all")
    settings = read_settings()
    results = [_pull(facts, settings) for facts in _chosen(names, everything)]
    if as_json:
        click.echo(json.dumps(results, indent=1))
    else:
        for result in results:
            click.echo(result["message"])
    return int(any(result["status"] == "failed" for result in results))


def _pull(facts: "ModelFacts", settings: "Settings") -> dict[str, Any]:
    from deployments.cli.pulling import download_display
    from model_blocks.download import pull
    from model_blocks.object_access import access_options
    from model_blocks.weight_files import UNVERIFIED

    try:
        with download_display(facts.name) as progress:
            done = pull(
                facts,
                weights_dir=settings.weights_dir,
                mirror=settings.weights_mirror,
                progress=progress,
                options=access_options(settings.weights_mirror, settings),
            )
    except PipelineError as error:
        reason = {"code": error.code, "message": error.message, "facts": error.facts}
        return {"name": facts.name, "status": "failed", "message": f"{error.message} [{error.code}]", "reason": reason}
    worth = "verified" if done.published else f"digest {done.sha256[:SHORT]} {UNVERIFIED}"
    how = f"fetched from {done.source}" if done.source else "there already"
    return {
        "name": facts.name,
        "status": "fetched" if done.source else "present",
        "message": f"{facts.name}: {how}, {worth}, {done.path}",
        "path": str(done.path),
        "sha256": done.sha256,
        "published": done.published,
        "source": done.source,
    }


def _chosen(names: tuple[str, ...], everything: bool) -> list["ModelFacts"]:
    """The named models, all known and taking weights, or every model that takes some."""
    from model_blocks.registry import find_model, known_models
    from model_blocks.weight_files import official_name

    if everything:
        return [facts for facts in known_models() if not facts.embedded]
    chosen = [find_model(name) for name in dict.fromkeys(names)]
    for facts in chosen:
        official_name(facts)  # refuses those that need none
    return chosen
