"""Routing in runs: rules, history, what takes over from a model that fails, and where it is all written down."""

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from datasets.errors import UsageError
from datasets.ledger import ChosenModel, open_ledger
from datasets.settings import read_settings
from flows.choosing import Routing
from flows.order import ProductOrder
from flows.product import plan_product, product
from flows.recipes import parse_recipe
from flows.summary import RunSummary
from flows.video import run_video
from flows.video_order import VideoOrder
from model_blocks import registry
from model_blocks.registry import find_model
from model_blocks.routing import LicenceRefusedError, replay
from tasks.prefect_stage import value_of
from tests.datasets.ledger_rows import a_run, a_stage
from tests.flows.clip_samples import moving_bar, save_clip
from tests.photographs import save_product
from tests.shared_data import shared

pytestmark = pytest.mark.usefixtures("prefect_api")

ENLARGE = ({"stage": "upscale", "factor": 2}, {"stage": "publish", "format": "png"})
GENERAL, ANIME, EMBEDDED = "realesr-general-x4v3", "realesr-animevideo-v3", "embedded-upscaler"


def run(photo: Path, **more: Any) -> RunSummary:
    given = {"recipe": ENLARGE, "out": str(Path("out").absolute()), **more}
    summary = value_of(product(ProductOrder(photos=(str(photo),), **given), return_state=True))
    assert isinstance(summary, RunSummary)
    return summary


def choices(summary: RunSummary) -> list[ChosenModel]:
    settings = read_settings()
    with open_ledger(settings.ledger).session(settings.tenant, read_only=True) as session:
        return list(session.choices(summary.run_id))


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A weights folder whose digests are those of the files there, as after a download."""
    folder = tmp_path / "weights"
    folder.mkdir()
    monkeypatch.setenv("STILLMOTION_WEIGHTS_DIR", str(folder))
    monkeypatch.setenv("STILLMOTION_DEVICE", "cpu")
    return folder


def put(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, data: bytes | None = None) -> Path:
    """The real weights of a model, or other bytes under their name and digest."""
    facts = find_model(name)
    source = shared(f"weights/{Path(str(facts.file_url)).name}")
    content = source.read_bytes() if data is None else data
    path = folder / source.name
    path.write_bytes(content)
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    changed = [replace(each, sha256=digest) if each.name == name else each for each in registry.MODELS]
    monkeypatch.setattr(registry, "MODELS", tuple(changed))
    return path


def write_rules(monkeypatch: pytest.MonkeyPatch, *rules: dict[str, Any]) -> None:
    path = Path("rules.json").absolute()
    path.write_text(json.dumps(list(rules)))
    monkeypatch.setenv("STILLMOTION_ROUTING", str(path))


def small(path: Path, width: int = 48) -> Path:
    with Image.open(save_product(path)) as picture:
        picture.resize((width, 32)).save(path)
    return path


def test_a_bare_machine_takes_embedded_models_and_says_why(tmp_path: Path) -> None:
    photo = small(tmp_path / "cup.png")
    first, second = run(photo), run(photo)
    (choice,) = choices(first)
    assert (choice.model, choice.licence, choice.purpose) == (EMBEDDED, "Apache-2.0", "commercial")
    assert choice.reason == "fast, cost-effective; the only one that can be used"
    assert replay(choice.record).model_dump(mode="json") == choice.record
    assert {each["why"] for each in choice.record["left_out"]} == {"weights"}
    assert all(stage.cached for item in second.items for stage in item.stages)
    page = Path(str(second.report)).read_text()
    assert "Models chosen" in page
    assert choice.reason in page
    (record,) = Path("out").rglob("*.provenance.json")
    (model,) = json.loads(record.read_text())["predicate"]["stillmotion_models"]
    assert model == {
        "name": EMBEDDED,
        "capability": "upscale",
        "licence": "Apache-2.0",
        "purposes": ["commercial", "research", "personal"],
        "purpose": "commercial",
        "reason": choice.reason,
    }


def test_damaged_weights_hand_over_with_a_warning(
    tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = put(weights, monkeypatch, GENERAL)
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    summary = run(small(tmp_path / "cup.png"))
    (item,) = summary.items
    assert item.status == "delivered"
    (warning,) = item.reasons
    assert (warning.code, warning.level) == ("model_fallback", "warning")
    assert warning.facts["code"] == "weights_digest"
    assert (warning.facts["failed"], warning.facts["model"]) == ([GENERAL], EMBEDDED)
    assert [(each.item, each.model) for each in choices(summary)] == [("", GENERAL), (item.item, EMBEDDED)]
    assert choices(summary)[1].reason == f"{GENERAL} failed"
    assert [stage.model for stage in item.stages if stage.stage == "upscale"] == [EMBEDDED]
    digest = item.outputs[0].file.sha256
    alone = run(tmp_path / "cup.png", models="embedded", out=str(tmp_path / "other"))
    assert alone.items[0].outputs[0].file.sha256 == digest
    assert all(stage.cached for stage in alone.items[0].stages)


@pytest.mark.parametrize("named", [{"upscale": GENERAL}, "official"])
def test_who_names_a_model_gets_no_other(
    tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch, named: Any
) -> None:
    put(weights, monkeypatch, GENERAL, b"not weights")
    (item,) = run(small(tmp_path / "cup.png"), models=named).items
    assert item.status == "failed"
    assert item.reasons[0].code == "weights_digest"


def test_each_candidate_has_one_try(tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(weights, monkeypatch, GENERAL, b"not weights")
    put(weights, monkeypatch, ANIME, b"nor these")
    write_rules(monkeypatch, {"use": ANIME, "fallbacks": [GENERAL]})
    summary = run(small(tmp_path / "cup.png"))
    assert [reason.facts["failed"] for reason in summary.items[0].reasons] == [[ANIME], [ANIME, GENERAL]]
    assert summary.items[0].status == "delivered"
    with open_ledger(read_settings().ledger).session("default", read_only=True) as session:
        failed = [(each.model, each.error_code) for each in session.stages(summary.run_id) if each.error_code]
    assert failed == [(ANIME, "weights_digest"), (GENERAL, "weights_digest")]


def _no_memory(*_: Any) -> Any:
    raise MemoryError


def _no_numbers(_: Any, images: torch.Tensor) -> torch.Tensor:
    return images.repeat_interleave(4, 2).repeat_interleave(4, 3) * torch.nan


@pytest.mark.parametrize(("broken", "code"), [(_no_memory, "model_memory"), (_no_numbers, "model_output")])
def test_lack_of_memory_and_no_numbers_hand_over(
    tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch, broken: Callable[..., Any], code: str
) -> None:
    from model_blocks.realesrgan import RealEsrganUpscaler

    put(weights, monkeypatch, GENERAL)
    monkeypatch.setattr(RealEsrganUpscaler, "upscale", broken)
    (item,) = run(small(tmp_path / "cup.png")).items
    assert (item.status, item.reasons[0].code, item.reasons[0].facts["code"]) == ("delivered", "model_fallback", code)


def test_a_bad_picture_is_nobodys_fault(tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(weights, monkeypatch, GENERAL)
    photo = tmp_path / "broken.png"
    photo.write_bytes(b"no picture")
    (item,) = run(photo).items
    assert item.status == "failed"
    assert "model_fallback" not in [reason.code for reason in item.reasons]


def test_a_clip_falls_back_too(tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(weights, monkeypatch, GENERAL, b"not weights")
    clip = save_clip(tmp_path / "clip.webm", moving_bar(6, 32, 24))
    order = VideoOrder(clips=(str(clip),), recipe="upscale", out=str(tmp_path / "out"))
    (item,) = run_video(order, read_settings()).items
    assert item.status == "delivered"
    assert [reason.facts["model"] for reason in item.reasons if reason.code == "model_fallback"] == [EMBEDDED]


def test_rules_may_ask_for_the_size_of_each_item(
    tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(weights, monkeypatch, GENERAL)
    write_rules(monkeypatch, {"when": {"long_side_above": 50}, "use": EMBEDDED})
    narrow, wide = small(tmp_path / "narrow.png", 50), small(tmp_path / "wide.png", 51)
    order = ProductOrder(photos=(str(narrow), str(wide)), recipe=ENLARGE, out=str(tmp_path / "out"))
    summary = value_of(product(order, return_state=True))
    assert isinstance(summary, RunSummary)
    models = {item.item: stage.model for item in summary.items for stage in item.stages if stage.stage == "upscale"}
    assert models == {"narrow": GENERAL, "wide": EMBEDDED}
    assert [(each.item, each.model) for each in choices(summary)] == [("", GENERAL), ("wide", EMBEDDED)]
    planned = plan_product(order, read_settings())
    assert all(item.reasons[0].code == "unchanged" for item in planned.items)


def test_history_of_seven_days_counts_and_nothing_else(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(weights, monkeypatch, GENERAL)
    settings, now = read_settings(), datetime.now(UTC)
    Path(settings.storage_root).mkdir(parents=True)
    ledger = open_ledger(settings.ledger)
    with ledger.session("default") as session:
        session.start_run(a_run("photos", flow="product"))
        session.start_run(a_run("clips", flow="video"))
        kept: dict[str, Any] = {
            "run_id": "photos",
            "model": f"{GENERAL} (unpublished weights 01234567)",
            "cached": False,
            "chunks": 3,
        }
        kept |= {"skipped": None, "error_code": None, "device": "cpu", "seconds": 2.0, "started_at": now}
        others: tuple[dict[str, Any], ...] = (
            {},
            {"seconds": 4.0},
            {"seconds": 9.0, "started_at": now - timedelta(days=6, hours=23)},
            {"error_code": "weights_digest", "chunks": 0},
            {"error_code": "unreadable", "seconds": 99.0},
            {"cached": True, "seconds": 99.0},
            {"skipped": "large enough", "seconds": 99.0},
            {"run_id": "clips", "seconds": 99.0},
            {"device": "cuda", "seconds": 99.0},
            {"started_at": now - timedelta(days=7, hours=1), "seconds": 99.0},
        )
        for number, other in enumerate(others):
            session.record_stage(a_stage(stage_run_id=f"s{number}", **(kept | other)))
    order = ProductOrder(photos=("cup.png",), recipe="enlarge")
    decision = Routing(settings, order, parse_recipe("enlarge"), ledger).decisions["upscale"]
    (history,) = [each.history for each in decision.candidates if each.name == GENERAL]
    assert history is not None
    assert (history.successes, history.failures, history.median_s, history.p95_s) == (3, 1, 4.0, 9.0)


def test_limits_and_what_is_out_of_service_decide(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(weights, monkeypatch, GENERAL)
    settings, recipe = read_settings(), parse_recipe("enlarge")

    def chosen(out_of_service: frozenset[str] = frozenset(), **wishes: Any) -> str:
        order = ProductOrder(photos=("cup.png",), recipe="enlarge", **wishes)
        return Routing(settings, order, recipe, out_of_service=out_of_service).decisions["upscale"].chosen

    assert chosen() == chosen(quality="premium") == chosen(max_cost_usd=0) == GENERAL
    assert chosen(quality="economy") == chosen(max_latency_s=1) == chosen(prefer="embedded") == EMBEDDED
    assert chosen(frozenset({GENERAL})) == EMBEDDED
    with pytest.raises(UsageError, match="known: embedded, official"):
        chosen(prefer="nobody")


def test_a_restricted_licence_is_refused_with_what_there_is_instead(
    tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(weights, monkeypatch, GENERAL)
    restricted = [
        replace(each, licence="S-Lab-1.0", purposes=("research",)) if each.name == GENERAL else each
        for each in registry.MODELS
    ]
    monkeypatch.setattr(registry, "MODELS", tuple(restricted))
    photo = small(tmp_path / "cup.png")
    order = ProductOrder(photos=(str(photo),), recipe=ENLARGE, models={"upscale": GENERAL})
    error = value_of(product(order, return_state=True))
    assert isinstance(error, LicenceRefusedError)
    assert (error.code, error.facts["licence"]) == ("licence_refused", "S-Lab-1.0")
    assert EMBEDDED in error.facts["alternatives"]  # type: ignore[operator]
    assert "--purpose research would allow it" in error.message
    commercial = run(photo)
    assert [each.model for each in choices(commercial)] == [EMBEDDED]
    research = run(photo, purpose="research")
    (choice,) = choices(research)
    assert (choice.model, choice.licence, choice.purpose) == (GENERAL, "S-Lab-1.0", "research")
    assert "S-Lab-1.0" in Path(str(research.report)).read_text()


def test_weights_that_go_between_choice_and_use(tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(weights, monkeypatch, GENERAL)
    from tasks.cluster import refuse_missing as begin

    def gone(*arguments: Any, **more: Any) -> Any:
        shutil.rmtree(weights)
        return begin(*arguments, **more)

    monkeypatch.setattr("flows.opening.refuse_missing", gone)  # behind the choice
    (item,) = run(small(tmp_path / "cup.png")).items
    assert (item.status, item.reasons[0].facts["code"]) == ("delivered", "weights_missing")
