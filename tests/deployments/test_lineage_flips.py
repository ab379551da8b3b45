"""One flipped bit anywhere in a published file, signed or not, or in its record, is found."""

import hashlib
import json
import random
import shutil
from pathlib import Path

import pytest

from datasets.lineage.beside import record_path
from datasets.lineage.keys import make_keys
from datasets.settings import read_settings
from flows.order import ProductOrder
from flows.product import run_product
from flows.video import run_video
from flows.video_order import VideoOrder
from tests.deployments.test_cli import stillmotion
from tests.deployments.test_lineage_cli import seal_anew
from tests.flows.made_clips import planes_clip
from tests.photographs import save_product

pytestmark = pytest.mark.usefixtures("prefect_api")

FILES = {"png": "cup-packshot.png", "jpeg": "cup-packshot-2.jpg", "webp": "cup-packshot-3.webp", "mp4": "turn-clip.mp4"}
FLIPS = 8  # bits that are tried in each file
PNG_PART, JPEG_PART, WEBP_PART, MP4_PART = b"caBX", b"\xff\xeb", b"C2PA", b"\xd8\xfe\xc3\xd6\x1b\x0e\x48\x3c"
PARTS = {"png": PNG_PART, "jpeg": JPEG_PART, "webp": WEBP_PART, "mp4": MP4_PART}  # what content credentials begin with
CREDENTIALS = 3_500  # bytes from there on that are theirs at least


@pytest.fixture(scope="module", params=["plain", "signed"])
def folder(request: pytest.FixtureRequest, prefect_api: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with published files of every format, as they are or signed."""
    folder = tmp_path_factory.mktemp(request.param)
    key = str(make_keys(folder / "keys", "Cup Shop").folder) if request.param == "signed" else None
    settings = read_settings(storage_root=str(folder / "store"), signing_key=key)
    pictures = [{"stage": "publish", "format": name, "role": "packshot"} for name in list(FILES)[:3]]
    photo = save_product(folder / "cup.png", 64, 48)
    order = ProductOrder(photos=(str(photo),), recipe=tuple(pictures), out=str(folder / "out"))
    assert run_product(order, settings).exit_status == 0
    clip = planes_clip(folder / "turn.mkv", "libx264", "yuv420p")
    film = VideoOrder(clips=(str(clip),), recipe=({"stage": "encode"},), out=str(folder / "out"))
    assert run_video(film, settings).exit_status == 0
    return folder


@pytest.fixture(autouse=True)
def _settings(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STILLMOTION_STORAGE_ROOT", str(folder / "store"))
    if (folder / "keys").is_dir():
        monkeypatch.setenv("STILLMOTION_SIGNING_KEY", str(folder / "keys"))


def problems(capsys: pytest.CaptureFixture[str], file: Path) -> list[str]:
    status, out, err = stillmotion(capsys, "verify", str(file), "--json")
    codes = [str(each["code"]) for each in json.loads(out)["problems"]]
    assert status == (1 if codes else 0), err
    return codes


def found_with(capsys: pytest.CaptureFixture[str], file: Path, changed: Path, offset: int, bit: int) -> list[str]:
    """What is found in a file while one bit of it, or of its record, is turned over."""
    data = changed.read_bytes()
    spoilt = bytearray(data)
    spoilt[offset] ^= 1 << bit
    changed.write_bytes(spoilt)
    try:
        return problems(capsys, file)
    finally:
        changed.write_bytes(data)


@pytest.mark.parametrize("kind", FILES)
def test_a_bit_anywhere_in_a_file_or_its_record(folder: Path, capsys: pytest.CaptureFixture[str], kind: str) -> None:
    file = folder / "out" / FILES[kind]
    chance = random.Random(f"{folder.name[:5]} {kind}")
    assert problems(capsys, file) == []
    for changed, code in ((file, "file_changed"), (record_path(file), "record_damaged")):
        for _ in range(FLIPS):
            offset, bit = chance.randrange(changed.stat().st_size), chance.randrange(8)
            assert found_with(capsys, file, changed, offset, bit) == [code], (changed.name, offset, bit)
    assert problems(capsys, file) == []


@pytest.mark.parametrize("kind", FILES)
def test_a_bit_in_the_content_credentials(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    """By the digest; and by the signature itself, where somebody made record and ledger fit the changed file."""
    file = folder / "out" / FILES[kind]
    begin = file.read_bytes().find(PARTS[kind])
    if not (folder / "keys").is_dir():
        assert begin == -1
        return
    chance = random.Random(kind)
    for _ in range(FLIPS):
        offset, bit = begin + chance.randrange(CREDENTIALS), chance.randrange(8)
        assert found_with(capsys, file, file, offset, bit) == ["file_changed"], offset
    assert problems(capsys, forged(file, tmp_path)) == ["signature_invalid"]


def forged(file: Path, folder: Path) -> Path:
    """A copy whose credentials say something else, with a record that speaks of it; no ledger knows either."""
    data = bytearray(file.read_bytes())
    data[data.index(b"original_sha256") + 24] ^= 1
    copy = folder / file.name
    copy.write_bytes(data)
    record_path(copy).parent.mkdir()
    shutil.copy(record_path(file), record_path(copy))
    digest = hashlib.sha256(data).hexdigest()
    seal_anew(record_path(copy), lambda record: record["subject"][0]["digest"].update(sha256=digest))
    return copy
