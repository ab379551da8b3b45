"""``lineage``, ``verify`` and ``rebuild`` on real runs: every format, every flipped bit, files that moved."""

import hashlib
import json
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from datasets.errors import SettingsError
from datasets.ledger import open_ledger
from datasets.lineage.beside import record_path
from datasets.lineage.record import CORE, SEALED, core_of, parse_record, record_bytes, seal_of
from datasets.settings import read_settings
from flows.order import ProductOrder
from flows.product import run_product
from flows.summary import Delivered, RunSummary
from flows.video import run_video
from flows.video_order import VideoOrder
from tests.deployments.test_cli import stillmotion
from tests.flows.made_clips import planes_clip
from tests.photographs import save_product

pytestmark = pytest.mark.usefixtures("prefect_api")

FORMATS = ("png", "jpeg", "webp")
PICTURES = [
    {"stage": "cutout", "id": "object"},
    {"stage": "compose", "width": 96, "height": 64},
    *({"stage": "publish", "format": name, "role": "packshot"} for name in FORMATS),
]


@pytest.fixture(scope="module")
def published(prefect_api: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a photograph and a clip, what was made of them in ``out``, and the storage."""
    folder = tmp_path_factory.mktemp("published")
    settings = read_settings(storage_root=str(folder / "store"))
    photo = save_product(folder / "my cup.png", 64, 48)
    order = ProductOrder(photos=(str(photo),), recipe=tuple(PICTURES), out=str(folder / "out"), models="embedded")
    assert run_product(order, settings).exit_status == 0
    clip = planes_clip(folder / "turn.mkv", "libx264", "yuv420p")
    recipe = ({"stage": "upscale", "factor": 2}, {"stage": "encode"})
    assert run_video(VideoOrder(clips=(str(clip),), recipe=recipe, out=str(folder / "out")), settings).exit_status == 0
    return folder


@pytest.fixture
def folder(published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, of this test's own."""
    shutil.copytree(published, tmp_path / "copy")
    monkeypatch.setenv("STILLMOTION_STORAGE_ROOT", str(tmp_path / "copy" / "store"))
    return tmp_path / "copy"


FILES = {
    "png": "my-cup-packshot.png",
    "jpeg": "my-cup-packshot-2.jpg",
    "webp": "my-cup-packshot-3.webp",
    "mp4": "turn-clip.mp4",
}


def problems(capsys: pytest.CaptureFixture[str], file: Path) -> tuple[int, list[str], list[str]]:
    status, out, _ = stillmotion(capsys, "verify", str(file), "--json")
    document = json.loads(out)
    assert document["status"] == ("verified" if status == 0 else "failed")
    return status, [each["code"] for each in document["problems"]], document["notes"]


def flip(path: Path, share: float) -> None:
    """Turn one bit over, at a share of the file's length."""
    data = bytearray(path.read_bytes())
    data[min(int(len(data) * share), len(data) - 1)] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("name", FILES.values())
def test_what_was_published_is_verified(folder: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    assert problems(capsys, folder / "out" / name) == (0, [], [])


@pytest.mark.parametrize("share", [0, 0.01, 0.33, 0.66, 1])
@pytest.mark.parametrize("kind", FILES)
def test_one_flipped_bit_in_a_file_is_found(
    folder: Path, capsys: pytest.CaptureFixture[str], kind: str, share: float
) -> None:
    flip(folder / "out" / FILES[kind], share)
    assert problems(capsys, folder / "out" / FILES[kind])[:2] == (1, ["file_changed"])


@pytest.mark.parametrize("kind", FILES)
def test_a_flipped_bit_in_the_metadata_is_found(folder: Path, capsys: pytest.CaptureFixture[str], kind: str) -> None:
    """In the colour profile of a picture, in the index of a clip: pixels stay as they are."""
    path = folder / "out" / FILES[kind]
    data = bytearray(path.read_bytes())
    mark = {"png": b"iCCP", "jpeg": b"ICC_PROFILE", "webp": b"ICCP", "mp4": b"mvhd"}[kind]
    data[data.index(mark) + len(mark) + 8] ^= 0x10
    path.write_bytes(data)
    assert problems(capsys, path)[:2] == (1, ["file_changed"])


@pytest.mark.parametrize("share", [0, 0.1, 0.25, 0.5, 0.75, 0.9, 1])
@pytest.mark.parametrize("kind", FILES)
def test_one_flipped_bit_in_a_record_is_found(
    folder: Path, capsys: pytest.CaptureFixture[str], kind: str, share: float
) -> None:
    flip(record_path(folder / "out" / FILES[kind]), share)
    assert problems(capsys, folder / "out" / FILES[kind])[:2] == (1, ["record_damaged"])


def seal_anew(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change a record as somebody would who knows how it is sealed."""
    record = parse_record(path.read_bytes())
    change(record)
    record["predicate"][CORE] = core_of(record)
    record["predicate"][SEALED] = seal_of(record)
    path.write_bytes(record_bytes(record))


def test_a_record_sealed_anew_is_not_the_one_in_the_ledger(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = folder / "out" / FILES["png"]
    seal_anew(record_path(file), lambda record: record["predicate"].update(stillmotion_charges=[{"usd": 1}]))
    assert problems(capsys, file)[:2] == (1, ["record_differs"])


def test_a_record_whose_stages_were_changed_is_found_without_a_ledger(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = folder / "out" / FILES["png"]
    shutil.rmtree(folder / "store")
    seal_anew(record_path(file), lambda record: record["predicate"]["stillmotion_chain"][0].update(version=99))
    assert problems(capsys, file)[:2] == (1, ["chain_broken"])
    seal_anew(record_path(file), lambda record: record["predicate"]["stillmotion_chain"].pop(0))
    assert problems(capsys, file)[:2] == (1, ["chain_broken"])


def test_a_changed_record_in_the_ledger_is_found(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with sqlite3.connect(folder / "store" / "ledger.db") as connection:
        connection.execute("UPDATE lineage_records SET record = replace(record, 'embedded', 'embeddee')")
    assert problems(capsys, folder / "out" / FILES["png"])[:2] == (1, ["ledger_damaged"])


@pytest.mark.parametrize("kind", FILES)
def test_a_moved_and_renamed_file_is_found_by_its_content(
    folder: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    moved = folder / "elsewhere" / "another name.bin"
    moved.parent.mkdir()
    (folder / "out" / FILES[kind]).rename(moved)
    assert problems(capsys, moved) == (0, [], ["not_beside"])
    status, out, _ = stillmotion(capsys, "lineage", str(moved))
    assert status == 0
    assert ("my cup.png" if kind != "mp4" else "turn.mkv") in out


def test_without_a_ledger_the_record_beside_the_file_is_enough(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(folder / "store")
    file = folder / "out" / FILES["jpeg"]
    assert problems(capsys, file) == (0, [], ["not_in_ledger"])
    assert problems(capsys, file.rename(file.with_name("x.jpg"))) == (0, [], ["not_in_ledger", "renamed"])


def test_a_stranger_is_not_known(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert problems(capsys, save_product(folder / "stranger.png"))[:2] == (1, ["no_record"])
    status, _, err = stillmotion(capsys, "lineage", str(folder / "stranger.png"))
    assert (status, "no_record" in err) == (1, True)
    status, _, err = stillmotion(capsys, "verify", str(folder / "nothing.png"))
    assert (status, "check the path" in err) == (2, True)


def test_the_tree_leads_to_the_original_bytes(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    original = hashlib.sha256((folder / "my cup.png").read_bytes()).hexdigest()
    status, out, _ = stillmotion(capsys, "lineage", str(folder / "out" / FILES["jpeg"]))
    stages = [line.split("└─ ")[1].split()[0] for line in out.splitlines() if "└─ " in line]
    assert status == 0
    assert stages == ["publish", "compose", "cutout", "intake", "asset"]
    assert f"asset my cup.png  sha256 {original}" in out
    assert "embedded-segmenter" in out
    status, out, _ = stillmotion(capsys, "lineage", str(folder / "out" / FILES["jpeg"]), "--json")
    record = json.loads(out)
    assert record["_type"] == "https://in-toto.io/Statement/v1"
    assert record["subject"] == [
        {
            "name": FILES["jpeg"],
            "digest": {"sha256": hashlib.sha256((folder / "out" / FILES["jpeg"]).read_bytes()).hexdigest()},
        }
    ]
    (only,) = record["predicate"]["buildDefinition"]["resolvedDependencies"]
    assert (only["name"], only["digest"]) == ("my cup.png", {"sha256": original})
    assert str(folder) not in out


@pytest.mark.parametrize("kind", FILES)
def test_a_file_is_made_again_from_its_record_alone(
    folder: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    record = record_path(folder / "out" / FILES[kind])
    alone = shutil.copy(record, folder / f"any{''.join(record.suffixes[-2:])}")
    expected = (folder / "out" / FILES[kind]).read_bytes()
    for path in ("out", "my cup.png", "turn.mkv", "store/tenants/default/outputs"):
        target = folder / path
        shutil.rmtree(target) if target.is_dir() else target.unlink()
    status, out, err = stillmotion(capsys, "rebuild", str(alone), "--out", "again", "--json")
    document = json.loads(out)
    assert (status, document["status"], document["environment_differs"]) == (0, "equal", []), err
    assert Path("again", FILES[kind]).read_bytes() == expected


def test_a_rebuild_says_what_is_missing_and_what_is_different_here(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from datasets.lineage import environment

    file = folder / "out" / FILES["png"]
    known = environment.version_of
    with monkeypatch.context() as patched:
        patched.setattr(environment, "version_of", lambda name: "1.0" if name == "pillow" else known(name))
        status, out, _ = stillmotion(capsys, "rebuild", str(file), "--out", "again", "--json")
    (difference,) = json.loads(out)["environment_differs"]
    assert status == 0
    assert difference.startswith("pillow was ")
    assert difference.endswith("here it is 1.0")
    shutil.rmtree(folder / "store" / "tenants" / "default" / "assets")
    status, _, err = stillmotion(capsys, "rebuild", str(file))
    assert (status, "original bytes" in err) == (1, True)


def test_what_a_recipe_names_by_its_path_is_in_the_record_by_its_content(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lut = tmp_path / "warm.cube"
    lut.write_text("LUT_3D_SIZE 2\n" + "".join(f"{r} {g} {b / 2}\n" for b in (0, 1) for g in (0, 1) for r in (0, 1)))
    recipe: list[dict[str, Any]] = [{"stage": "grade", "lut": str(lut)}, {"stage": "publish", "format": "png"}]
    (made,) = run(save_product(tmp_path / "a.png", 40, 32), recipe)
    text = record_path(made.path).read_text()
    assert str(tmp_path) not in text
    digest = hashlib.sha256(lut.read_bytes()).hexdigest()
    dependencies = json.loads(text)["predicate"]["buildDefinition"]["resolvedDependencies"]
    assert ("warm.cube", digest) in [(each["name"], each["digest"]["sha256"]) for each in dependencies]
    lut.unlink()
    status, out, _ = stillmotion(capsys, "rebuild", str(record_path(made.path)), "--json")
    assert (status, json.loads(out)["status"]) == (0, "equal")


def test_what_lies_in_a_folder_of_its_own_is_made_again_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clip = planes_clip(tmp_path / "turn.mkv", "libx264", "yuv420p")
    recipe = ({"stage": "thumbnails", "sprites_every_s": 1},)
    order = VideoOrder(clips=(str(clip),), recipe=recipe, out=str(Path("out").absolute()))
    made = [each for each in run_video(order, read_settings()).items[0].outputs if each.file.role == "sprites"]
    assert {each.path.parent.name for each in made} == {"turn-sprites"}
    for each in made:
        status, out, _ = stillmotion(capsys, "rebuild", str(record_path(each.path)), "--out", "again", "--json")
        assert (status, json.loads(out)["sha256"]) == (0, each.file.sha256)


def run(photo: Path, recipe: list[dict[str, Any]]) -> tuple[Delivered, ...]:
    order = ProductOrder(photos=(str(photo),), recipe=tuple(recipe), out=str(Path("out").absolute()))
    summary: RunSummary = run_product(order, read_settings())
    assert summary.exit_status == 0
    return summary.items[0].outputs


def test_a_second_run_changes_no_record_and_another_recipe_to_the_same_bytes_has_its_own(tmp_path: Path) -> None:
    photo = save_product(tmp_path / "a.png", 40, 32)
    (first,) = run(photo, [{"stage": "publish", "format": "png"}])
    before = record_path(first.path).read_bytes()
    run(photo, [{"stage": "publish", "format": "png"}])
    assert record_path(first.path).read_bytes() == before
    (other,) = run(photo, [{"stage": "publish", "format": "png", "quality": 50}])  # which PNG does not look at
    assert other.file.sha256 == first.file.sha256
    with open_ledger(read_settings().ledger).session("default") as session:
        assert len(session.lineage_of(first.file.sha256)) == 2


@pytest.fixture
def key(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A key as a user makes one, set for this process."""
    status, out, _ = stillmotion(capsys, "keys", "make", "--out", str(tmp_path / "keys"))
    assert (status, f"STILLMOTION_SIGNING_KEY={tmp_path / 'keys'}" in out) == (0, True)
    monkeypatch.setenv("STILLMOTION_SIGNING_KEY", str(tmp_path / "keys"))
    return tmp_path / "keys"


def test_signed_files_are_verified_rebuilt_unsigned_and_signed_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], key: Path
) -> None:
    photo = save_product(tmp_path / "a.png", 40, 32)
    recipe = [{"stage": "publish", "format": name} for name in FORMATS]
    made = run(photo, recipe)
    contents = [each.path.read_bytes() for each in made]
    for each, content in zip(made, contents, strict=True):
        assert problems(capsys, each.path) == (0, [], ["signed"])
        assert hashlib.sha256(content).hexdigest() == each.file.sha256 != each.file.unsigned_sha256
        assert len(content) == each.file.bytes
        each.path.unlink()
    again = run(photo, recipe)
    assert [each.path.read_bytes() for each in again] == contents
    (record,) = {record_path(made[0].path)}
    status, out, _ = stillmotion(capsys, "rebuild", str(record), "--json")
    document = json.loads(out)
    assert (status, document["sha256"]) == (0, made[0].file.unsigned_sha256)
    status, out, _ = stillmotion(capsys, "lineage", str(made[0].path))
    assert f"made of the unsigned file sha256 {made[0].file.unsigned_sha256}" in out


def test_a_clip_is_signed_and_its_signature_is_checked_beside_the_digest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], key: Path
) -> None:
    clip = planes_clip(tmp_path / "turn.mkv", "libx264", "yuv420p")
    order = VideoOrder(clips=(str(clip),), recipe=({"stage": "encode"},), out=str(Path("out").absolute()))
    (made,) = run_video(order, read_settings()).items[0].outputs
    assert problems(capsys, made.path) == (0, [], ["signed"])
    forge(made.path)
    shutil.rmtree(tmp_path / "store")  # whoever can forge the record and has no ledger to fear still lacks the key
    assert problems(capsys, made.path) == (1, ["signature_invalid"], ["not_in_ledger", "signed"])


def forge(file: Path) -> None:
    """Change a file and its record so that the digests fit."""
    data = bytearray(file.read_bytes())
    data[data.rindex(b"mdat") + 40] ^= 1
    file.write_bytes(data)
    digest = hashlib.sha256(data).hexdigest()
    seal_anew(record_path(file), lambda record: record["subject"][0]["digest"].update(sha256=digest))


def test_another_key_signs_anew_and_what_the_first_one_signed_still_holds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], key: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo = save_product(tmp_path / "a.png", 40, 32)
    (first,) = run(photo, [{"stage": "publish", "format": "png"}])
    kept = tmp_path / "kept.png"
    shutil.copy(first.path, kept)
    stillmotion(capsys, "keys", "make", "--out", str(tmp_path / "second"))
    monkeypatch.setenv("STILLMOTION_SIGNING_KEY", str(tmp_path / "second"))
    (second,) = run(photo, [{"stage": "publish", "format": "png"}])
    assert second.file.sha256 != first.file.sha256
    assert second.file.unsigned_sha256 == first.file.unsigned_sha256
    for path in (second.path, kept):
        assert problems(capsys, path)[:2] == (0, [])


def test_a_key_that_is_not_there_is_refused_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STILLMOTION_SIGNING_KEY", str(tmp_path / "none"))
    with pytest.raises(SettingsError, match="keys make"):
        run(save_product(tmp_path / "a.png", 40, 32), [{"stage": "publish", "format": "png"}])
    assert not any(Path("out").glob("*.png"))
