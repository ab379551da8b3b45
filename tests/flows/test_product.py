"""The product flow against a real Prefect API: what it delivers, what it computes, how items part ways."""

import hashlib
import json
import shutil
import time
from collections import Counter
from pathlib import Path
from typing import Any
from uuid import UUID

import cv2
import numpy as np
import pytest
from PIL import Image
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    FlowRunFilter,
    FlowRunFilterId,
)

from datasets.ledger import open_ledger
from datasets.settings import read_settings
from flows.order import ProductOrder
from flows.product import plan_product, product
from flows.summary import RunSummary
from tasks.prefect_stage import value_of
from tests.photographs import save_product
from tests.shared_data import shared

pytestmark = pytest.mark.usefixtures("prefect_api")


SMALL = [
    {"stage": "cutout"},
    {"stage": "compose", "width": 160, "height": 120},
    {"stage": "publish", "format": "png"},
    {"stage": "thumbnails", "sizes": [48]},
]


def run(*photos: Path, recipe: Any = SMALL, **more: Any) -> RunSummary:
    order = ProductOrder(photos=tuple(map(str, photos)), recipe=recipe, out=str(Path("out").absolute()), **more)
    summary = value_of(product(order, return_state=True))
    assert isinstance(summary, RunSummary)
    return summary


def files(summary: RunSummary) -> dict[str, str]:
    """Digest of every delivered file, taken from the file itself."""
    return {
        output.path.name: hashlib.sha256(output.path.read_bytes()).hexdigest()
        for item in summary.items
        for output in item.outputs
    }


def test_a_photograph_becomes_a_packshot_with_thumbnails(tmp_path: Path) -> None:
    summary = run(save_product(tmp_path / "cup.png"), recipe="packshot")
    assert summary.exit_status == 0
    (item,) = summary.items
    assert [output.file.role for output in item.outputs] == ["packshot", "thumbnail", "thumbnail", "thumbnail"]
    for output in item.outputs:
        with Image.open(output.path) as picture:
            assert picture.size == (output.file.width, output.file.height)
            assert picture.info.get("icc_profile")
            assert not picture.getexif()
        assert hashlib.sha256(output.path.read_bytes()).hexdigest() == output.file.sha256
    with Image.open(item.outputs[0].path) as shot:
        pixels = np.asarray(shot.convert("RGB"))
    assert pixels.shape == (2000, 2000, 3)
    assert (pixels[:100] == 255).all()
    assert tuple(pixels[1000, 1000] // 100) == (1, 0, 0) or pixels[1000, 1000, 0] > 150  # the red disc is in the middle


def test_the_second_run_computes_nothing_and_prefect_says_so(tmp_path: Path) -> None:
    photos = [save_product(tmp_path / "a.png", hue=0), save_product(tmp_path / "b.png", hue=1)]
    first, second = run(*photos), run(*photos)
    assert not any(stage.cached for item in first.items for stage in item.stages)
    assert all(stage.cached for item in second.items for stage in item.stages)
    assert files(first) == files(second)
    assert Counter(states(first.run_id, 10).values()) == {"Completed": 10}
    assert Counter(states(second.run_id, 10).values()) == {"Cached": 10}
    ledger = open_ledger(read_settings().ledger)
    with ledger.session("default") as session:
        computed = Counter(stage.fingerprint for stage in session.stages(first.run_id))
        assert {session.executions(fingerprint) for fingerprint in computed} == {1}
        assert all(stage.cached for stage in session.stages(second.run_id))
        assert session.find_run(second.run_id).status == "delivered"


def states(run_id: str, count: int) -> dict[str, str]:
    """Name and state of every task run of a flow run, once Prefect has written down that many as ended."""
    asked = FlowRunFilter(id=FlowRunFilterId(any_=[UUID(run_id)]))
    deadline = time.monotonic() + 30
    while True:
        with get_client(sync_client=True) as client:
            found = client.read_task_runs(flow_run_filter=asked)
        ended = {
            task_run.name: str(task_run.state_name)
            for task_run in found
            if task_run.state and task_run.state.is_final()
        }
        if len(ended) >= count or time.monotonic() > deadline:
            return ended
        time.sleep(0.1)


def test_a_picture_changed_behind_its_path_is_redone_and_no_other(tmp_path: Path) -> None:
    photos = [save_product(tmp_path / f"{name}.png", hue=hue) for hue, name in enumerate("abc")]
    run(*photos)
    save_product(photos[1], hue=2, width=90)
    again = run(*photos)
    cached = {item.item: {stage.cached for stage in item.stages} for item in again.items}
    assert cached == {"a": {True}, "b": {False}, "c": {True}}


def test_the_same_bytes_under_another_name_are_not_computed_again(tmp_path: Path) -> None:
    photo = save_product(tmp_path / "a.png")
    run(photo)
    shutil.copy(photo, tmp_path / "other name.png")
    again = run(tmp_path / "other name.png")
    assert all(stage.cached for stage in again.items[0].stages)
    assert again.items[0].outputs[0].path.name == "other-name-packshot.png"


@pytest.mark.parametrize("victim", ["frames.zarr/pixels/c", "manifest.json", "files", ""])
def test_cached_bytes_deleted_by_hand_are_made_again(tmp_path: Path, victim: str) -> None:
    photo = save_product(tmp_path / "a.png")
    first = run(photo)
    for folder in (tmp_path / "store" / "tenants" / "default" / "outputs").glob("*/*"):
        path = folder / victim
        if path.is_dir():
            shutil.rmtree(path)
        elif path.exists():
            path.unlink()
    again = run(photo)
    assert again.exit_status == 0
    assert files(again) == files(first)
    assert not all(stage.cached for stage in again.items[0].stages)


@pytest.mark.parametrize(
    "kind", ["outputs/*/*/frames.zarr/pixels/c/**/0", "outputs/*/*/files/picture.png", "assets/*/*"]
)
def test_flipped_bits_in_the_store_are_noticed_and_made_again_in_the_same_run(tmp_path: Path, kind: str) -> None:
    photo = save_product(tmp_path / "a.png")
    first = run(photo)
    flipped = [path for path in (tmp_path / "store" / "tenants" / "default").glob(kind) if path.is_file()]
    assert flipped
    for path in flipped:
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 4
        path.write_bytes(bytes(data))
    other = [*SMALL, {"stage": "thumbnails", "sizes": [32]}]  # something new to make from what is stored
    again = run(photo, recipe=other)
    assert again.exit_status == 0, again.items[0].reasons
    new = {"a-thumbnail-2-32.webp"}
    assert {name: digest for name, digest in files(again).items() if name not in new} == files(first)


def test_a_deleted_result_is_delivered_again_without_computing(tmp_path: Path) -> None:
    photo = save_product(tmp_path / "a.png")
    first = run(photo)
    path = first.items[0].outputs[0].path
    path.unlink()
    again = run(photo)
    assert all(stage.cached for stage in again.items[0].stages)
    assert path.exists()


def test_items_fail_apart_from_each_other(tmp_path: Path) -> None:
    good = save_product(tmp_path / "good.png")
    (tmp_path / "page.jpg").write_text("<html><body>Please log in</body></html>")
    (tmp_path / "empty.png").write_bytes(b"")
    summary = run(tmp_path / "page.jpg", good, tmp_path / "empty.png", tmp_path / "missing.png", tmp_path)
    statuses = {item.item: (item.status, [reason.code for reason in item.reasons]) for item in summary.items}
    assert summary.exit_status == 1
    assert statuses["good"] == ("delivered", [])
    assert statuses["page"] == ("failed", ["not_an_image"])
    assert statuses["empty"] == ("failed", ["empty_file"])
    assert statuses["missing"] == ("failed", ["not_found"])
    assert statuses[tmp_path.name][1] == ["unreadable"]
    with open_ledger(read_settings().ledger).session("default") as session:
        assert {error.code for error in session.errors(summary.run_id)} == {
            "not_an_image", "empty_file", "not_found", "unreadable",
        }  # fmt: skip


def test_not_one_readable_input_is_bad_usage(tmp_path: Path) -> None:
    (tmp_path / "empty.png").write_bytes(b"")
    summary = run(tmp_path / "empty.png")
    assert (summary.status, summary.exit_status) == ("unreadable", 2)


def test_a_picture_without_an_object_is_delivered_uncut_with_a_warning(tmp_path: Path) -> None:
    texture = np.random.default_rng(0).integers(90, 160, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(texture).save(tmp_path / "texture.png")
    (item,) = run(tmp_path / "texture.png", recipe="cutout").items
    assert item.status == "delivered"
    assert "no_object" in [reason.code for reason in item.reasons]
    with Image.open(item.outputs[0].path) as picture:
        assert np.array_equal(np.asarray(picture.convert("RGB")), texture)


def test_an_existing_alpha_is_kept(tmp_path: Path) -> None:
    pixels = np.full((40, 50, 4), (10, 200, 30, 255), np.uint8)
    pixels[:10, :, 3] = 0
    pixels[10:12, :, 3] = 100
    Image.fromarray(pixels).save(tmp_path / "own.png")
    (item,) = run(tmp_path / "own.png", recipe="cutout").items
    with Image.open(item.outputs[0].path) as picture:
        assert np.array_equal(np.asarray(picture), pixels)


def test_a_condition_skips_a_stage_and_says_so(tmp_path: Path) -> None:
    stages = [{"stage": "upscale", "when": {"fact": "short_side", "below": 50}}, {"stage": "publish", "format": "png"}]
    summary = run(save_product(tmp_path / "large.png"), save_product(tmp_path / "small.png", 40, 30), recipe=stages)
    sizes = {item.item: (item.outputs[0].file.width, item.outputs[0].file.height) for item in summary.items}
    assert sizes == {"large": (96, 80), "small": (80, 60)}
    skipped = [stage.skipped for stage in summary.items[0].stages if stage.skipped]
    assert skipped == ["short_side is 80, not below 50"]
    document = summary.to_json()
    assert document["skipped"] == [{"item": "large", "stage": "upscale", "reason": skipped[0]}]
    assert str(document["stages"]).count("'upscale'") == 1  # the small one's


def test_fused_stages_give_the_bytes_of_unfused_ones(tmp_path: Path) -> None:
    photo = save_product(tmp_path / "a.png", 97, 61)
    stages = [
        {"stage": "upscale", "factor": 2.5},
        {"stage": "grade", "exposure_stops": 0.4, "sharpen": 0.7, "denoise": 0.3},
        {"stage": "publish", "format": "png"},
    ]
    fused = run(photo, recipe=stages)
    digest = files(fused)
    shutil.rmtree(tmp_path / "store" / "tenants")
    apart = run(photo, recipe=stages, keep=True)
    assert [stage.stage for stage in fused.items[0].stages] == ["intake", "upscale+grade", "publish"]
    assert [stage.stage for stage in apart.items[0].stages] == ["intake", "upscale", "grade", "publish"]
    assert files(apart) == digest


def test_a_dry_run_says_what_would_be_computed_and_writes_nothing(tmp_path: Path) -> None:
    photo = save_product(tmp_path / "a.png")
    order = ProductOrder(photos=(str(photo),), recipe="cutout", out=str(tmp_path / "out"))
    plan = plan_product(order, read_settings())
    assert (plan.status, plan.exit_status) == ("planned", 0)
    assert plan.items[0].reasons[0].facts == {"stages": "intake, cutout, publish, thumbnails"}
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "store" / "tenants").exists()
    run(photo, recipe="cutout")
    assert [reason.code for reason in plan_product(order, read_settings()).items[0].reasons][-1] == "unchanged"


def test_a_plan_that_cannot_fit_is_refused_with_both_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STILLMOTION_MEMORY_LIMIT_MB", "64")
    stages = [{"stage": "compose", "width": 8000, "height": 8000}, {"stage": "publish"}]
    (item,) = run(save_product(tmp_path / "a.png"), recipe=stages).items
    (reason,) = item.reasons
    assert (item.status, reason.code) == ("failed", "plan_too_large")
    assert "64 MiB" in reason.message


def test_workers_give_the_same_bytes_as_one_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photos = [save_product(tmp_path / f"{hue}.png", 80 + hue, 70, hue) for hue in range(3)]
    alone = files(run(*photos, recipe="complete"))
    shutil.rmtree(tmp_path / "store" / "tenants")
    monkeypatch.setenv("STILLMOTION_WORKERS", "2")
    together = run(*photos, recipe="complete")
    assert together.exit_status == 0
    assert files(together) == alone


def test_the_report_and_the_json_tell_the_same(tmp_path: Path) -> None:
    summary = run(save_product(tmp_path / "a.png"))
    document = json.loads(json.dumps(summary.to_json()))
    assert set(document) >= {"run_id", "status", "items", "stages", "cost_usd", "avoided_usd", "report"}
    assert set(document["stages"][0]) >= {"stage", "model", "seconds", "cached", "chunks"}
    page = Path(document["report"]).read_text()
    for output in document["items"][0]["outputs"]:
        assert output["sha256"] in page


def test_sixteen_bits_go_through_every_stage(tmp_path: Path) -> None:
    pixels = (np.arange(40 * 50 * 3).reshape(40, 50, 3) * 10 % 65536).astype(np.uint16)
    cv2.imwrite(str(tmp_path / "deep.png"), pixels)
    stages = [
        {"stage": "upscale", "factor": 2},
        {"stage": "grade", "exposure_stops": 0.1},
        {"stage": "compose", "width": 120, "height": 100, "preset": "transparent"},
        {"stage": "publish"},
    ]
    (item,) = run(tmp_path / "deep.png", recipe=stages).items
    made = np.asarray(cv2.imread(str(item.outputs[0].path), cv2.IMREAD_UNCHANGED))
    assert (made.dtype.name, made.shape) == ("uint16", (100, 120, 4))
    assert len(np.unique(made[..., :3] % 257)) > 2  # values that eight bits do not have


def test_the_prefect_ui_is_given_pictures_table_and_summary(tmp_path: Path) -> None:
    summary = run(save_product(tmp_path / "a.png"))
    asked = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[UUID(summary.run_id)]))
    with get_client(sync_client=True) as client:
        artifacts = {artifact.key: artifact for artifact in client.read_artifacts(artifact_filter=asked)}
    assert set(artifacts) == {"before-after", "stages", "summary"}
    assert str(artifacts["before-after"].data).count("data:image/webp;base64,") == 2
    assert "cutout" in str(artifacts["stages"].data)
    assert "delivered" in str(artifacts["summary"].data)


def test_official_weights_enlarge_and_are_recorded_as_unpublished(tmp_path: Path) -> None:
    weights = shared("weights/realesr-animevideov3.pth")
    photo = save_product(tmp_path / "a.png", 48, 40)
    stages = [{"stage": "upscale", "factor": 4}, {"stage": "publish", "format": "png"}]
    official = run(photo, recipe=stages, weights={"realesr-animevideo-v3": str(weights)})
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    assert official.items[0].stages[1].model == f"realesr-animevideo-v3 (unpublished weights {digest[:8]})"
    assert official.items[0].outputs[0].file.width == 192
    embedded = run(photo, recipe=stages)
    assert embedded.items[0].stages[1].model == "embedded-upscaler"
    assert not embedded.items[0].stages[1].cached  # another model is another output
    damaged = tmp_path / "damaged.pth"
    damaged.write_bytes(weights.read_bytes()[:-1000])
    (item,) = run(photo, recipe=stages, weights={"realesr-animevideo-v3": str(damaged)}).items
    assert [reason.code for reason in item.reasons] == ["weights_damaged"]


def test_a_picture_that_is_large_enough_is_not_enlarged(tmp_path: Path) -> None:
    photo = save_product(tmp_path / "a.png")
    (item,) = run(photo, recipe=[{"stage": "upscale", "long_side": 50}, {"stage": "publish", "format": "png"}]).items
    with Image.open(photo) as given, Image.open(item.outputs[0].path) as made:
        assert np.array_equal(np.asarray(given), np.asarray(made))


def test_a_notebook_cell_with_a_bad_order_is_refused_by_field() -> None:
    with pytest.raises(ValueError, match="photos"):
        ProductOrder(photos=())
