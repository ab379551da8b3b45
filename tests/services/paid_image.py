"""What the charging service makes: the picture it was sent, placed on a gradient. The same bytes for the same input.

Honest ways to answer: ``honest``, ``relit`` (a soft shadow, a little more light), ``jpeg``, ``smaller`` (three
quarters of the size), ``with_alpha``, ``wide`` (more scene at both sides), ``huge_picture``. Dishonest ones: ``hue``,
``scale``, ``blur``, ``replace``, ``crop``, ``move``, ``mirror``, ``repaint``, ``grey``, ``wide_hue``, ``wide_crop``,
``wide_replace``.
"""

from collections.abc import Callable
from hashlib import sha256
from io import BytesIO

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

Picture = Image.Image
Change = Callable[[Picture], Picture]
QUALITY = 88  # of an answer in JPEG


def make_image(prompt: str, sent: bytes | None, paint: str = "honest") -> bytes:
    """A PNG as large as the picture that was sent, or 64 × 48; the prompt decides the gradient's colours.

    Args:
        paint: How the product is treated; see above.
    """
    picture: Picture | None = Image.open(BytesIO(sent)).convert("RGBA") if sent else None
    width, height = picture.size if picture else (64, 48)
    canvas = _gradient(prompt, width, height)
    if picture:
        treat = PRODUCTS.get(paint.removeprefix("wide_"))
        changed = treat(picture) if treat else picture
        canvas = _with_shadow(canvas, changed) if paint == "relit" else canvas
        canvas.paste(changed, (0, 0), changed)
    stream = BytesIO()
    shape = _widened if paint.startswith("wide") else ANSWERS.get(paint)
    answer = shape(canvas) if shape else canvas
    answer.save(stream, "JPEG" if paint == "jpeg" else "PNG", quality=QUALITY)
    return stream.getvalue()


def _gradient(prompt: str, width: int, height: int) -> Picture:
    ends = np.frombuffer(sha256(prompt.encode()).digest()[:6], np.uint8).reshape(2, 1, 3).astype(np.float64)
    share = np.linspace(0.0, 1.0, height)[:, None, None]
    rows = np.round(ends[0] * (1 - share) + ends[1] * share).astype(np.uint8)
    return Image.fromarray(np.repeat(rows, width, axis=1), "RGB")


def _with_shadow(canvas: Picture, product: Picture) -> Picture:
    shadow = product.getchannel("A").filter(ImageFilter.GaussianBlur(canvas.width / 40)).point(lambda v: v * 0.5)
    below = Image.new("L", canvas.size)
    below.paste(shadow, (0, canvas.height // 40))
    dark = canvas.copy()
    dark.paste((0, 0, 0), (0, 0), below)
    return dark


def _box(product: Picture) -> tuple[int, int, int, int]:
    found = product.getchannel("A").point(lambda v: 255 * (v > 127)).getbbox()
    assert found is not None
    return found


def _colours(product: Picture, change: Callable[[NDArray[np.uint8]], NDArray[np.uint8]]) -> Picture:
    """The product with other colours and the same outline."""
    pixels = np.asarray(product)
    made = Image.fromarray(np.ascontiguousarray(change(np.ascontiguousarray(pixels[..., :3]))), "RGB")
    made.putalpha(product.getchannel("A"))
    return made


def _hue(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Turned by 30 degrees."""
    hsv = cv2.cvtColor(rgb, cv2.COLOR_RGB2HSV)
    hsv[..., 0] = (hsv[..., 0].astype(int) + 15) % 180
    return np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB), np.uint8)


def _moved(product: Picture, matrix: tuple[float, ...]) -> Picture:
    """Where a pixel of the result comes from, as Pillow wants it."""
    return product.transform(product.size, Image.Transform.AFFINE, matrix, Image.Resampling.BICUBIC)


def _scaled(product: Picture) -> Picture:
    """An eighth larger, about its own middle."""
    left, top, right, bottom = _box(product)
    keep = 1 - 1 / 1.125
    return _moved(product, (1 / 1.125, 0, keep * (left + right) / 2, 0, 1 / 1.125, keep * (top + bottom) / 2))


def _cropped(product: Picture) -> Picture:
    """Without its lower fifth."""
    _, top, _, bottom = _box(product)
    made = product.copy()
    made.paste((0, 0, 0, 0), (0, bottom - (bottom - top) // 5, product.width, product.height))
    return made


def _replaced(product: Picture) -> Picture:
    """Another product of the same box and mean colour."""
    left, top, right, bottom = _box(product)
    pixels = np.asarray(product, np.float32)
    colour = (pixels[..., :3] * pixels[..., 3:]).sum(axis=(0, 1)) / pixels[..., 3].sum()
    y, x = np.mgrid[0 : bottom - top, 0 : right - left].astype(np.float32)
    stripes = np.where((x // max(4, (right - left) // 9)) % 2, 1.25, 0.75)[..., None]
    round_ = ((x / (right - left) - 0.5) ** 2 + (y / (bottom - top) - 0.5) ** 2 < 0.25)[..., None]
    other = np.dstack([np.clip(colour * stripes, 0, 255), 255 * round_]).astype(np.uint8)
    made = Image.new("RGBA", product.size)
    made.paste(Image.fromarray(other, "RGBA"), (left, top))
    return made


def _repainted(product: Picture) -> Picture:
    """A label in the middle, a quarter of its long side wide, that was not there."""
    left, top, right, bottom = _box(product)
    half = max(right - left, bottom - top) // 8
    label = Image.effect_noise((2 * half, 2 * half), 80).convert("RGB")
    made = product.copy()
    made.paste(label, ((left + right) // 2 - half, (top + bottom) // 2 - half))
    return made


def _blurred(product: Picture) -> Picture:
    left, top, right, bottom = _box(product)
    return product.filter(ImageFilter.GaussianBlur(max(right - left, bottom - top) / 120))


def _mirrored(product: Picture) -> Picture:
    left, _, right, _ = _box(product)
    return _moved(product, (-1, 0, left + right, 0, 1, 0))


def _lighter(product: Picture) -> Picture:
    return _colours(product, lambda rgb: np.clip(rgb.astype(np.float32) * 1.04, 0, 255).astype(np.uint8))


def _black_and_white(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.asarray(cv2.cvtColor(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB), np.uint8)


def _grey(product: Picture) -> Picture:
    return _colours(product, _black_and_white)


def _away(product: Picture) -> Picture:
    """A sixth of the canvas to the right."""
    return _moved(product, (1, 0, -product.width / 6, 0, 1, 0))


def _resized(share: float) -> Change:
    return lambda canvas: canvas.resize((round(canvas.width * share), round(canvas.height * share)))


def _widened(canvas: Picture) -> Picture:
    """A third more scene, at both sides."""
    wide = canvas.resize((canvas.width * 4 // 3, canvas.height), Image.Resampling.BOX, (0, 0, 1, canvas.height))
    wide.paste(canvas, ((wide.width - canvas.width) // 2, 0))
    return wide


PRODUCTS: dict[str, Change] = {
    "hue": lambda product: _colours(product, _hue),
    "scale": _scaled,
    "blur": _blurred,
    "replace": _replaced,
    "crop": _cropped,
    "move": _away,
    "mirror": _mirrored,
    "repaint": _repainted,
    "relit": _lighter,
    "grey": _grey,
}
ANSWERS: dict[str, Change] = {
    "smaller": _resized(0.75),
    "huge_picture": _resized(8),
    "grey": lambda canvas: canvas.convert("L"),
    "with_alpha": lambda canvas: canvas.convert("RGBA"),
}
PAINTS = ("honest", "jpeg", "wide", "wide_hue", "wide_crop", "wide_replace", *PRODUCTS, *ANSWERS)
