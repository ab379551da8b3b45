"""Makes the records of what a journey delivers: from the keys of its stages, its recipe and the run's row."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from datasets.assets import put_asset
from datasets.errors import NotFoundError, StorageUnavailableError
from datasets.ledger import ItemNotes, LedgerSession
from datasets.ledger.lineage_rows import LineageRow
from datasets.lineage.beside import write_record
from datasets.lineage.environment import environment
from datasets.lineage.record import (
    BOUGHT,
    CORE,
    SEALED,
    Definition,
    Link,
    Material,
    RunDetails,
    Subject,
    make_record,
    record_bytes,
)
from datasets.storage import Storage
from flows.choosing import reason_for
from flows.fallback import decisions_of_item
from flows.journey_state import Journey
from flows.recipes import Step
from flows.summary import Delivered
from tasks.config import StageConfig
from tasks.context import current_run
from tasks.stage import StageKey

# Of a stage's configuration: paths of files, which count by their content.
FILE_FIELDS = ("lut", "mask", "picture", "background", "adapter")
BY_DIGEST = "sha256:"
PAID = "place"  # the stage whose output is an answer of a service, not a result of its inputs alone
ORDERED = ("models", "purpose")  # of an order: what decides the result beside the recipe


def record_deliveries(
    session: LedgerSession | ItemNotes,
    journey: Journey,
    step: Step,
    delivered: Sequence[Delivered],
    files: dict[str, str],
) -> list[LineageRow]:
    """Write where delivered files came from into the ledger.

    Args:
        step: What delivers them; by its name the way to a file is found again in its recipe.
        files: Digests of the files that the recipe names, by their paths.

    Returns:
        The records that count, in the files' order: where the ledger has one of the same core, that one.
    """
    run = session.find_run(current_run().run_id)
    now, keys = datetime.now(UTC), journey.keys()
    links_of = {digest: _link(key) for digest, key in keys.items()}
    rows = []
    for each in delivered:
        chain = chain_to(each.file.fingerprint, keys)
        recipe = {
            "flow": run.flow,
            "title": journey.recipe.title,
            "stages": [_portable(config, files) for config in journey.stage_configs],
            **{name: run.parameters.get(name) for name in ORDERED},
        }
        links = [links_of[key.fingerprint] for key in chain]
        libraries = {name for link in links for name in _libraries(link)}
        materials = [*_materials(journey, chain, files), *_bought(journey, chain)]
        record = make_record(
            Subject(each.path.name, each.file.sha256, _facts(journey, step, each)),
            Definition(recipe, {"device": _devices(chain)}, materials, links),
            RunDetails(
                run.run_id,
                run.version,
                run.started_at,
                now,
                environment(libraries),
                _about(journey.guardrails, chain),
                _paid(journey.charges, materials),
                _models(chain, run.purpose),
            ),
        )
        rows.append(_row(run.run_id, each, record, now))
    return session.record_lineages(rows)


def put_beside(delivered: Sequence[Delivered], rows: Sequence[LineageRow]) -> None:
    """Put the records beside their files.

    Raises:
        StorageUnavailableError: The folder does not take them.
    """
    for each, row in zip(delivered, rows, strict=True):
        try:
            write_record(each.path, f"{row.record}\n".encode())
        except OSError as error:
            raise StorageUnavailableError(
                f"could not write the record of {each.path}: {error.strerror}; check space and rights, then run the "
                "same command again",
                path=str(each.path),
            ) from error


def keep_recipe_files(storage: Storage, configs: Sequence[StageConfig]) -> dict[str, str]:
    """Keep the files that a recipe names as assets, so that what was made with them can be made again.

    Returns:
        Their digests by their paths.
    """
    return {path: put_asset(storage, _read(path)) for path in _paths(configs)}


def chain_to(fingerprint: str, keys: dict[str, StageKey]) -> list[StageKey]:
    """The keys of all stages that lead to an output, every one after what it works on."""
    chain: dict[str, StageKey] = {}

    def visit(digest: str) -> None:
        if digest in chain or digest not in keys:
            return
        for kind, source in keys[digest].inputs:
            if kind == "output":
                visit(source)
        chain[digest] = keys[digest]

    visit(fingerprint)
    return list(chain.values())


def _row(run_id: str, each: Delivered, record: dict[str, object], now: datetime) -> LineageRow:
    predicate = record["predicate"]
    assert isinstance(predicate, dict)
    return LineageRow(
        sha256=each.file.sha256,
        core=predicate[CORE],
        sealed=predicate[SEALED],
        unsigned_sha256=each.file.unsigned_sha256,
        run_id=run_id,
        fingerprint=each.file.fingerprint,
        record=record_bytes(record).decode().rstrip("\n"),
        recorded_at=now,
    )


def _facts(journey: Journey, step: Step, each: Delivered) -> dict[str, object]:
    file = each.file
    facts: dict[str, object] = {
        "item": journey.item,
        "step": step.name,
        "role": file.role,
        "stored": file.stored,
        "fingerprint": file.fingerprint,
        "bytes": file.bytes,
        "width": file.width,
        "height": file.height,
        "format": file.format,
        "skipped": [{"stage": stage.stage, "reason": stage.skipped} for stage in journey.stages if stage.skipped],
    }
    if file.unsigned_sha256 is None:
        return facts
    return facts | {"unsigned_sha256": file.unsigned_sha256, "signed_by": file.signed_by}


def _link(key: StageKey) -> Link:
    return Link(
        fingerprint=key.fingerprint,
        stage=key.stage,
        version=key.version,
        parameters=key.parameters,
        inputs=[list(entry) for entry in key.inputs],
        models=[model.identity for model in key.models],
        libraries=key.libraries,
    )


def _libraries(link: Link) -> Iterator[str]:
    yield from link.libraries
    for model in link.models:
        found = model["libraries"]
        assert isinstance(found, dict)
        yield from found


def _devices(chain: Sequence[StageKey]) -> str:
    return "cuda" if any(model.device == "cuda" for key in chain for model in key.models) else "cpu"


def _materials(journey: Journey, chain: Sequence[StageKey], files: dict[str, str]) -> list[Material]:
    """What the chain takes from outside: the original, files of the recipe, weights; each once."""
    names = {digest: Path(path).name for path, digest in files.items()}
    found: dict[tuple[str, str], Material] = {}
    for key in chain:
        for kind, digest in key.inputs:
            original = digest == journey.asset
            name = Path(journey.source).name if original else names.get(digest, "")
            if kind != "output":
                found[kind, digest] = Material(name, digest, "original" if original else "recipe_file")
        for model in key.models:
            if model.weights:
                facts = {"licence": model.facts.licence, "published": model.published, "version": model.facts.version}
                found["weights", model.weights] = Material(model.name, model.weights, "weights", facts)
    return list(found.values())


def _models(chain: Sequence[StageKey], purpose: str) -> list[dict[str, object]]:
    """The models that made a file, each once. Why they were chosen is the run's affair, and no part of the core."""
    decisions = decisions_of_item()
    used = {model.name: model.facts for key in chain for model in key.models}
    return [
        {
            "name": name,
            "capability": facts.capability,
            "licence": facts.licence,
            "purposes": list(facts.purposes),
            "purpose": purpose,
            "reason": reason_for(decisions.get(facts.capability), name),
        }
        for name, facts in used.items()
    ]


def _bought(journey: Journey, chain: Sequence[StageKey]) -> list[Material]:
    """Answers of paid services on the way to a file. What they cost, and who asked when, is the run's affair."""
    facts = {stage.key.fingerprint: stage.picture.facts for stage in journey.stages if stage.key is not None}
    found = []
    for key in chain:
        if key.stage != PAID:
            continue
        service, version = str(key.parameters["service"]), key.parameters["service_version"]
        told = {
            "service": service,
            "version": version,
            "purchase": facts[key.fingerprint]["purchase"],
            "fingerprint": key.fingerprint,
        }
        found.append(Material(service, str(facts[key.fingerprint]["answer"]), BOUGHT, told))
    return found


def _about(guardrails: Sequence[dict[str, object]], chain: Sequence[StageKey]) -> list[dict[str, object]]:
    """What gates said of pictures that led to a file."""
    way = {key.fingerprint for key in chain}
    return [each for each in guardrails if each["picture"] in way]


def _paid(charges: Sequence[dict[str, object]], materials: Sequence[Material]) -> list[dict[str, object]]:
    """Charges for what is in a file."""
    purchases = {each.facts["purchase"] for each in materials if each.kind == BOUGHT}
    return [each for each in charges if each["purchase"] in purchases]


def _portable(config: StageConfig, files: dict[str, str]) -> dict[str, object]:
    """A stage's configuration with files named by their content: a path says nothing elsewhere."""
    values = config.model_dump(mode="json")
    digests = {name: files[path] for name in FILE_FIELDS if (path := values.get(name)) in files}
    return values | {name: f"{BY_DIGEST}{digest}" for name, digest in digests.items()}


def _paths(configs: Sequence[StageConfig]) -> list[str]:
    """Paths of the files that a recipe names, each once."""
    values = ((name, getattr(config, name, None)) for config in configs for name in FILE_FIELDS)
    paths = (value for name, value in values if isinstance(value, str) and _is_file(name, value))
    return list(dict.fromkeys(paths))


def _is_file(name: str, value: str) -> bool:
    """An adapter may also be named; everything else is a path."""
    return name != "adapter" or value.endswith(".json")


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise NotFoundError(f"the recipe's file {path!r} cannot be read; check the path", path=path) from error
