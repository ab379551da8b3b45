"""Makes a published file again from its record alone, in a place of its own, where nothing is cached."""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from datasets.assets import get_asset, local_asset
from datasets.errors import NotFoundError
from datasets.identity import digest_file
from datasets.lineage.environment import differences
from datasets.lineage.record import bought_in, chain_of, subject_of
from datasets.settings import Settings
from datasets.storage import Storage
from flows.items import process_item, stages_of
from flows.opening import open_books
from flows.order import ProductOrder
from flows.provenance import BY_DIGEST, FILE_FIELDS
from flows.recipes import Recipe, parse_recipe
from flows.recorded_answers import RecordedService, bring_answer
from flows.services import served_by
from flows.summary import RunSummary
from flows.video import run_video
from flows.video_order import VideoOrder
from flows.working import work
from model_blocks.registry import find_model
from tasks.gate_config import GateConfig

FILE_FOLDER = "files"


@dataclass(frozen=True)
class Rebuilt:
    """A file that was made again.

    Attributes:
        expected: sha256 of the unsigned file by its record.
        sha256: Of the file as it is now; empty if the way there failed.
        differs: In what this machine is not like the recorded one, in words.
        reasons: What the way there said.
    """

    path: Path | None
    expected: str
    sha256: str
    differs: list[str]
    reasons: list[str]

    @property
    def equal(self) -> bool:
        return self.sha256 == self.expected


def rebuild(record: Mapping[str, Any], storage: Storage, settings: Settings, out: Path) -> Rebuilt:
    """Make the file of a record again and put it into a folder.

    Args:
        record: Intact, as ``parse_record`` gives it.
        storage: Where the original bytes and the recipe's files are, by their digests.
        settings: Of this installation; storage and ledger of the work itself lie in a temporary folder.
        out: Folder for the file.

    Raises:
        NotFoundError: The original bytes, or the answer of a paid service, are not in the storage.
        OutputDamagedError: They are not what they were.
    """
    name, sha256 = subject_of(record)
    published = record["predicate"]["stillmotion_published"]
    expected = str(published.get("unsigned_sha256") or sha256)
    with tempfile.TemporaryDirectory(prefix="stillmotion-rebuild-") as folder:
        place = Path(folder)
        summary = _run(record, storage, _apart(settings, place), place)
        outputs = {(each.file.role, each.path.name): each.path for item in summary.items for each in item.outputs}
        made = outputs.get((published["role"], name))  # some lie in a folder of their own
        reasons = [reason.message for item in summary.items for reason in item.reasons]
        told = differences(record["predicate"]["runDetails"]["stillmotion_environment"])
        if made is None:
            return Rebuilt(None, expected, "", told, reasons)
        out.mkdir(parents=True, exist_ok=True)
        target = out / name
        target.write_bytes(made.read_bytes())
    return Rebuilt(target, expected, digest_file(target), told, reasons)


def _apart(settings: Settings, place: Path) -> Settings:
    """The settings with storage and ledger of their own, and no signing: what is made is the unsigned file."""
    return settings.model_copy(
        update={
            "storage_root": str(place / "store"),
            "storage_block": "",
            "ledger_url": f"sqlite:///{place / 'ledger.db'}",
            "ledger_owner_url": "",
            "lineage_url": "",
            "place_service": "",
            "signing_key": None,
        }
    )


def _run(record: Mapping[str, Any], storage: Storage, settings: Settings, place: Path) -> RunSummary:
    asked = record["predicate"]["buildDefinition"]["externalParameters"]
    source = _original(record, storage, place)
    order = {
        "recipe": _stages(asked["stages"], storage, place),
        "out": str(place / "out"),
        "models": _models(record),
        "purpose": asked["purpose"],
    }
    if asked["flow"] == "video":
        return run_video(VideoOrder.model_validate({"clips": (str(source),), **order}), settings)
    step = record["predicate"]["stillmotion_published"].get("step")  # older records name none
    with _answered(record, storage, settings):
        return _run_way(ProductOrder.model_validate({"photos": (str(source),), **order}), step, settings)


def _run_way(order: ProductOrder, step: str | None, settings: Settings) -> RunSummary:
    whole = parse_recipe(order.recipe)
    recipe = _way(whole, step) if step else whole
    return work(
        "product",
        order,
        recipe,
        settings,
        lambda item, source: process_item(item, source, recipe, order.out_folder),
        stages=stages_of(recipe),
    )


def _way(recipe: Recipe, name: str) -> Recipe:
    """What leads to one file, without gates: they let it through, and what they would say today is no matter.

    Everything keeps the name and number it has in the whole recipe, and with them the file its own.
    """
    way = {step.name: step for step in recipe.way_to(name)}

    def behind_gates(source: str) -> str:
        while source in way and isinstance(way[source].config, GateConfig):
            source = way[source].source
        return source

    steps = tuple(
        replace(step, source=behind_gates(step.source))
        for step in recipe.steps
        if step.name in way and not isinstance(step.config, GateConfig)
    )
    return replace(recipe, steps=steps)


@contextmanager
def _answered(record: Mapping[str, Any], storage: Storage, settings: Settings) -> Iterator[None]:
    """While the block runs, what the record names as bought is bought, and nothing else can be."""
    answers = bought_in(record)
    if not answers:
        yield
        return
    own, ledger = open_books(settings)
    with closing(ledger):
        for answer in answers:
            bring_answer(answer, storage, own, ledger)
    facts = answers[0]["annotations"]
    with served_by(RecordedService(str(facts["service"]), str(facts["version"]))):
        yield


def _original(record: Mapping[str, Any], storage: Storage, place: Path) -> Path:
    """The original bytes, under the item's own name: what is made of them is then called as it was.

    Raises:
        NotFoundError: They are not in the storage.
    """
    materials = record["predicate"]["buildDefinition"]["resolvedDependencies"]
    digest = next(each["digest"]["sha256"] for each in materials if each["annotations"]["kind"] == "original")
    item = str(record["predicate"]["stillmotion_published"]["item"])
    target = place / "in" / item
    target.parent.mkdir()
    try:
        with local_asset(storage, digest) as path:
            target.write_bytes(path.read_bytes())
    except NotFoundError as error:
        raise NotFoundError(
            f"the original bytes sha256 {digest} are not in the storage any more; bring the file back with any run "
            "over it, then rebuild again",
            digest=digest,
        ) from error
    return target


def _stages(stages: list[dict[str, Any]], storage: Storage, place: Path) -> tuple[dict[str, Any], ...]:
    """The recipe's stages, the files they name by digest written down for them."""
    folder = place / FILE_FOLDER
    folder.mkdir()

    def local(value: object) -> object:
        if not isinstance(value, str) or not value.startswith(BY_DIGEST):
            return value
        digest = value.removeprefix(BY_DIGEST)
        (folder / digest).write_bytes(get_asset(storage, digest))
        return str(folder / digest)

    return tuple(stage | {name: local(stage[name]) for name in FILE_FIELDS if name in stage} for stage in stages)


def _models(record: Mapping[str, Any]) -> dict[str, str]:
    """The models that ran, by what they can do: a choice that was left open then is not open now."""
    names = {str(model["name"]) for link in chain_of(record) for model in link.models}
    return {find_model(name).capability: name for name in sorted(names)}
