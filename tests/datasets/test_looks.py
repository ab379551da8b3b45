"""Which photographs show the same: real ones encoded again do, products that only look alike do not; one is bought."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from threading import Barrier

import cv2
import numpy as np
import pytest
from PIL import Image

from datasets.errors import UsageError
from datasets.ledger import Look, Twin, Yours, open_ledger
from datasets.ledger.looks import SIDE
from tasks.ops.look import small_copy
from tests.datasets.ledger_rows import new_ledger, new_ledger_url
from tests.datasets.spend_facts import ANSWER, PRICE, wish, yours
from tests.product_photographs import Photo, printed, product_photo, recoloured
from tests.shared_data import fixture

WISH, OTHER_WISH = "ab" * 32, "cd" * 32
PHOTOS = ("drink", "mug", "images/coffee.png", "images/teapot.jpg", "images/flower.webp", "images/tshirt_man_03.jpg")


@lru_cache
def photo(name: str, side: int) -> Photo:
    if "/" not in name:
        return product_photo(name, side)
    with Image.open(fixture(name)) as image:
        made = image.convert("RGB")
    made.thumbnail((side, side), Image.Resampling.BOX)
    return np.asarray(made)


def encoded(image: Photo, form: str, quality: int) -> Photo:
    stream = BytesIO()
    Image.fromarray(image).save(stream, form, quality=quality)
    return np.asarray(Image.open(stream).convert("RGB"))


def resized(image: Photo, across: float, down: float | None = None) -> Photo:
    size = round(image.shape[1] * across), round(image.shape[0] * (down or across))
    return np.asarray(
        cv2.resize(image, size, interpolation=cv2.INTER_AREA if across < 1 else cv2.INTER_CUBIC), np.uint8
    )


def as_jpeg(quality: int) -> Callable[[Photo], np.ndarray]:
    return lambda image: encoded(image, "JPEG", quality)


def of_size(share: float) -> Callable[[Photo], np.ndarray]:
    return lambda image: resized(image, share)


def look(image: np.ndarray, wanted: str = WISH) -> Look:
    made = small_copy(image)
    assert made.phash is not None
    return Look(wanted, made.phash, made.pixels, made.aspect)


AGAIN: dict[str, Callable[[Photo], np.ndarray]] = {
    **{f"JPEG {quality}": as_jpeg(quality) for quality in (50, 70, 85, 95)},
    "WebP 90": lambda p: encoded(p, "WEBP", 90),
    **{f"{share} of the size": of_size(share) for share in (0.95, 0.98, 1.02, 1.05)},
    "JPEG 70 of 1.02 of the size": lambda p: encoded(resized(p, 1.02), "JPEG", 70),
    "16 bit": lambda p: p.astype(np.uint16) * 257,
    "opaque alpha": lambda p: np.dstack([p, np.full(p.shape[:2], 255, np.uint8)]),
}
OTHER: dict[str, Callable[[Photo], Photo]] = {
    "a hue turned by 10 degrees": lambda p: recoloured(p, 10),
    "another colour": lambda p: recoloured(p, 120),
    "a text": lambda p: printed(p, "NEW", height=0.02),
    "a text, encoded again": lambda p: encoded(printed(p, "NEW", height=0.02), "JPEG", 70),
    "mirrored": lambda p: p[:, ::-1],
    "a twentieth taller": lambda p: resized(p, 1, 1.05),
    "darker by a tenth": lambda p: (p * 0.9).astype(np.uint8),
    "nearer by a twentieth": lambda p: resized(p, 1.05)[: p.shape[0], : p.shape[1]],
}


@pytest.mark.parametrize("side", [400, 900])
@pytest.mark.parametrize("change", AGAIN)
@pytest.mark.parametrize("name", PHOTOS)
def test_a_photograph_in_other_bytes_is_the_same(name: str, change: str, side: int) -> None:
    first, second = photo(name, side), AGAIN[change](photo(name, side))
    assert look(first).is_like(look(second))
    assert set(look(first).bands.items()) & set(look(second).bands.items())  # so that it is found


@pytest.mark.parametrize("side", [400, 900])
@pytest.mark.parametrize("change", OTHER)
@pytest.mark.parametrize("name", PHOTOS[:-1])  # a white shirt has no hue
def test_a_product_that_looks_alike_is_another(name: str, change: str, side: int) -> None:
    assert not look(photo(name, side)).is_like(look(OTHER[change](photo(name, side))))


@pytest.mark.parametrize("name", ["drink", "mug"])
def test_another_digit_is_another_product(name: str) -> None:
    first, second = (printed(photo(name, 900), text) for text in ("350 ml", "450 ml"))
    assert not look(first).is_like(look(second))
    assert not look(first).is_like(look(encoded(second, "JPEG", 70)))


def test_the_same_for_another_wish_is_no_duplicate() -> None:
    assert not look(photo("mug", 400)).is_like(look(photo("mug", 400), OTHER_WISH))


def test_a_picture_of_one_colour_has_no_hash() -> None:
    assert small_copy(np.full((90, 120, 3), 77, np.uint8)).phash is None


def test_what_is_transparent_lies_on_middle_grey() -> None:
    image = np.zeros((128, 192, 4), np.uint16)
    image[:64, :, :3], image[:64, :, 3] = 65535, 65535
    made = small_copy(image)
    pixels = np.frombuffer(made.pixels, np.uint8).reshape(SIDE, SIDE, 3)
    assert (set(pixels[:32].ravel().tolist()), set(pixels[32:].ravel().tolist()), made.aspect) == ({255}, {128}, 1.5)


@pytest.mark.parametrize(
    "wrong", [{"phash": "abc"}, {"signature": b"short"}, {"aspect": 0.0}], ids=["hash", "copy", "aspect"]
)
def test_a_look_that_is_none_is_refused(wrong: dict[str, object]) -> None:
    facts: dict[str, object] = {"wish": WISH, "phash": "0" * 16, "signature": bytes(SIDE * SIDE * 3)}
    with pytest.raises(UsageError):
        Look(**(facts | wrong))  # type: ignore[arg-type]


def test_a_twin_is_told_by_what_was_bought_and_free_again_if_nothing_was(tmp_path: Path) -> None:
    ledger = new_ledger(tmp_path / "ledger.db")
    first, second = look(photo("mug", 400)), look(AGAIN["JPEG 70"](photo("mug", 400)))
    with ledger.spending("anna") as session:
        begun = yours(session.claim(wish("one"), look=first))
        assert session.claim(wish("two"), look=second) == Twin(begun)
        assert isinstance(session.claim(wish("three"), look=look(OTHER["a text"](photo("mug", 400)))), Yours)
        assert isinstance(session.claim(wish("four"), look=look(photo("mug", 400), OTHER_WISH)), Yours)
        session.failed_free(begun, "refused", {"proof": "told so"})
        taken = yours(session.claim(wish("two"), look=second))
    with ledger.spending("berta") as session:
        assert isinstance(session.claim(wish("five"), look=first), Yours)
    with ledger.spending("anna") as session:
        session.settle(session.sent(taken), charged_micro_usd=PRICE, reference="r", response=ANSWER)
        found = session.claim(wish("six"), look=first)
    assert isinstance(found, Twin)
    assert found.purchase.item == "two"


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_of_twins_that_come_at_once_one_is_bought(
    request: pytest.FixtureRequest, tmp_path: Path, database: str
) -> None:
    url = new_ledger_url(request, database, tmp_path)
    seen = [look(AGAIN[f"JPEG {quality}"](photo("mug", 400))) for quality in (50, 70, 85, 95)]
    together = Barrier(len(seen))

    def claim(number: int) -> object:
        ledger = open_ledger(url)
        together.wait(30)
        with ledger.spending("anna") as session:
            return session.claim(wish(f"twin-{number}", run_id=f"run-{number}"), look=seen[number])

    with ThreadPoolExecutor(len(seen)) as threads:
        claims = list(threads.map(claim, range(len(seen))))
    (bought,) = [found for found in claims if isinstance(found, Yours)]
    assert [found for found in claims if found is not bought] == [Twin(bought.purchase)] * (len(seen) - 1)
