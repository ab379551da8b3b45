"""A batch of 40 photographs, 15 of them bad in known ways: what should become of each is known by construction."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from tests.photographs import product_pixels
from tests.product_photographs import (
    Photo,
    blurred,
    cut_off,
    dark,
    printed,
    product_photo,
    recoloured,
    tiny,
    two_of,
)
from tests.shared_data import fixture

SIDE = 320  # px; small, to be quick
HUES = (0, 60, 120, 180, 240, 300)  # degrees
TEXTS = {"mug": ("LEFT", "RIGHT", "TEA", "COFFEE", "350 ml"), "drink": ("500 ml", "750 ml", "NEW", "MINT")}


@dataclass(frozen=True)
class Bad:
    """Attributes:
    code: Why it is stopped; empty: it is delivered from the first purchase.
    gate: Which gate stops it.
    like: The good one that shows the same.
    """

    code: str
    gate: str = "spend"
    like: str = ""


BAD = {
    "blurred-mug": Bad("sharp"),
    "blurred-drink": Bad("sharp"),
    "blurred-coffee": Bad("sharp"),
    "dark-mug": Bad("not_black", "intake"),
    "dark-again": Bad("not_black", "intake"),
    "tiny-mug": Bad("large_enough", "intake"),
    "tiny-drink": Bad("large_enough", "intake"),
    "cut-mug": Bad("not_cut_off"),
    "cut-blue": Bad("not_cut_off"),
    "two-mugs": Bad("one_piece"),
    "two-drinks": Bad("one_piece"),
    "same-mug": Bad("", like="mug-60"),
    "same-drink": Bad("", like="drink-120"),
    "other-jpeg": Bad("not_bought_already", like="mug-120"),
    "other-size": Bad("not_bought_already", like="drink-240"),
}
CHANGED: dict[str, tuple[Callable[[Photo], Photo], str]] = {
    "blurred-mug": (blurred, "mug-0"),
    "blurred-drink": (blurred, "drink-0"),
    "blurred-coffee": (blurred, "coffee"),
    "dark-mug": (dark, "mug-0"),
    "dark-again": (dark, "mug-0"),  # the same bytes as the one before: both are bad
    "tiny-mug": (tiny, "mug-180"),
    "tiny-drink": (tiny, "drink-180"),
    "cut-mug": (cut_off, "mug-0"),
    "cut-blue": (cut_off, "mug-240"),
    "two-mugs": (two_of, "mug-300"),
    "two-drinks": (two_of, "drink-300"),
}


def good_photos() -> dict[str, Photo]:
    """25 different products; colours and texts apart, many of them are the same."""
    made = {f"{name}-{hue}": recoloured(product_photo(name, SIDE), hue) for name in TEXTS for hue in HUES}
    made |= {
        f"{name}-{text.replace(' ', '')}": printed(product_photo(name, SIDE), text)
        for name, texts in TEXTS.items()
        for text in texts
    }
    with Image.open(fixture("images/coffee.png")) as image:
        image.thumbnail((SIDE, SIDE), Image.Resampling.BOX)
        made["coffee"] = np.asarray(image.convert("RGB"))
    return made | {f"disc-{hue}": product_pixels(SIDE, SIDE - 40, hue) for hue in (0, 1, 2)}


def write_batch(folder: Path) -> list[Path]:
    """All 40 as files, the good ones first."""
    folder.mkdir(parents=True, exist_ok=True)
    good = good_photos()
    paths = {name: _saved(folder / f"{name}.png", photo) for name, photo in good.items()}
    paths |= {name: _saved(folder / f"{name}.png", change(good[of])) for name, (change, of) in CHANGED.items()}
    for name, path in _twins(folder, paths):
        paths[name] = path
    assert len(good) == 25
    assert set(paths) == {*good, *BAD}
    return list(paths.values())


def _twins(folder: Path, paths: dict[str, Path]) -> Iterator[tuple[str, Path]]:
    for name in ("same-mug", "same-drink"):
        path = folder / f"{name}.png"
        path.write_bytes(paths[BAD[name].like].read_bytes())
        yield name, path
    with Image.open(paths[BAD["other-jpeg"].like]) as image:
        stream = BytesIO()
        image.save(stream, "JPEG", quality=70)
    (folder / "other-jpeg.jpg").write_bytes(stream.getvalue())
    yield "other-jpeg", folder / "other-jpeg.jpg"
    with Image.open(paths[BAD["other-size"].like]) as image:
        pixels = np.asarray(image)
    size = round(pixels.shape[1] * 1.02), round(pixels.shape[0] * 1.02)
    yield "other-size", _saved(folder / "other-size.png", np.asarray(cv2.resize(pixels, size), np.uint8))


def _saved(path: Path, photo: Photo) -> Path:
    Image.fromarray(photo).save(path)
    return path
