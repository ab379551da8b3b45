"""Hostile files in one batch with good photographs: each is explained, the good ones are delivered."""

import tarfile
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from flows.order import ProductOrder
from flows.product import product
from flows.summary import ItemResult, RunSummary
from tasks.prefect_stage import value_of
from tests.photographs import save_product
from tests.shared_data import fixture

RECIPE: list[dict[str, Any]] = [{"stage": "cutout"}, {"stage": "publish", "format": "png"}]

REFUSED: dict[str, str] = {  # what SOURCES.tsv asks to reject, and the code it gets here
    "audio_only.mp4": "unsupported_format",
    "bitrot_mdat.mp4": "unsupported_format",
    "bomb_50000x50000_1bit.png": "too_many_pixels",
    "catalogue_bad.csv": "not_an_image",
    "catalogue_latin1.csv": "not_an_image",
    "cut_middle_moov_end.mp4": "unsupported_format",
    "cut_middle_moov_front.mp4": "unsupported_format",
    "header_lies_50000.png": "too_many_pixels",
    "login_page.jpg": "not_an_image",
    "moov_missing.mp4": "unsupported_format",
    "names.tar": "not_an_image",
    "playlist.m3u8": "unsupported_format",
    "real_corrupted.mp4": "unsupported_format",
    "real_truncated.jpg": "truncated",
    "script.svg": "unsupported_format",
    "text_named.mp4": "not_an_image",
    "truncated_half.jpg": "truncated",
    "zero.jpg": "empty_file",
    "zero_frames.mp4": "unsupported_format",
    "zip_slip.zip": "not_an_image",
}
DELIVERED = {  # accepted: displayed width and height
    "animated.gif": (200, 150),
    "animated.webp": (200, 150),
    "cmyk.jpg": (600, 400),
    "exif_orient6.jpg": (640, 480),  # coded 480 × 640, turned upright
    "gray.png": (600, 400),
    "gray16.png": (600, 400),
    "icc_display_p3.jpg": (600, 400),
    "jpeg_named.png": (480, 640),
    "one_pixel.png": (1, 1),
    "palette_trns.png": (600, 400),
    "png_named.jpg": (600, 400),
    "polyglot_zip.jpg": (480, 640),
    "wide_4000x1.png": (4000, 1),
}
NOTICED = {"animated.gif": "animation_first_frame", "animated.webp": "animation_first_frame"}


def run(photos: list[Path], out: Path) -> RunSummary:
    order = ProductOrder(photos=tuple(map(str, photos)), recipe=tuple(RECIPE), out=str(out))
    summary = value_of(product(order, return_state=True))
    assert isinstance(summary, RunSummary)
    return summary


@pytest.mark.usefixtures("prefect_api")
def test_every_hostile_file_meets_its_behaviour_and_the_good_ones_are_delivered(tmp_path: Path) -> None:
    folder = fixture("hostile")
    good = [save_product(tmp_path / "good" / f"{hue}.png", hue=hue) for hue in range(2)]
    paths = sorted(folder.iterdir())
    assert {path.name for path in paths} == REFUSED.keys() | DELIVERED.keys()
    summary = run([good[0], *paths, good[1]], tmp_path / "out")
    items = {Path(item.source).name: item for item in summary.items}
    assert summary.exit_status == 1
    assert {items[path.name].status for path in good} == {"delivered"}
    for name, code in REFUSED.items():
        check_refused(items[name], code)
    for name, size in DELIVERED.items():
        check_delivered(items[name], size, NOTICED.get(name))
    folders = {path.parent for path in (tmp_path / "out").rglob("*")}
    assert folders == {tmp_path / "out", tmp_path / "out" / "provenance"}


def check_refused(item: ItemResult, code: str) -> None:
    assert (item.status, item.outputs) == ("failed", ())
    (reason,) = item.reasons
    assert reason.code == code, (item.item, reason)
    assert reason.level == "error"
    assert "Traceback" not in reason.message
    assert "\n" not in reason.message
    assert reason.code != "unexpected"


def check_delivered(item: ItemResult, size: tuple[int, int], notice: str | None) -> None:
    assert item.status == "delivered", (item.item, item.reasons)
    with Image.open(item.outputs[0].path) as picture:
        assert picture.size == size
        assert picture.format == "PNG"
    assert sum(stage.seconds for stage in item.stages[:1]) < 5
    if notice:
        assert notice in [reason.code for reason in item.reasons]


@pytest.mark.usefixtures("prefect_api")
def test_hostile_names_stay_names(tmp_path: Path) -> None:
    archive = fixture("hostile/names.tar")
    with tarfile.open(archive) as names:
        names.extractall(tmp_path / "names", filter="data")
    paths = sorted((tmp_path / "names").rglob("*.jpg"))
    assert len(paths) == 3
    summary = run(paths, tmp_path / "out")
    made = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert summary.exit_status == 0
    assert len(made) == 5  # three pictures, the report, the folder of records
    assert not any(part in name for name in made for part in ("/", "$", ";", "%", "#", " "))
    assert not any(name.startswith(("-", ".")) for name in made)
    assert not list(tmp_path.rglob("pwned*"))
    assert not list(tmp_path.parent.glob("escape*"))
    assert any("产品" in name for name in made)
