"""The measures table: one row per item, what its columns are called, and what they mean."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from expectations.hashing import perceptual_hash
from expectations.object_measures import measure_object
from expectations.sharpness import blockiness, noise, sharpness
from expectations.tones import background_std, colour_cast, exposure
from expectations.views import Pixels, Views, views_of

if TYPE_CHECKING:
    from polars import DataFrame

Value = float | int | str | None
Kind = Literal["float", "int", "str"]
REDUCED = "long side at most 1024 px, by area"


@dataclass(frozen=True)
class Measure:
    """A column of the table.

    Attributes:
        kind: ``float`` is Float64, ``int`` Int64, ``str`` String.
        unit: In which it is counted.
        meaning: One line.
        unknown: When it is null; empty if it never is.
    """

    kind: Kind
    unit: str
    meaning: str
    unknown: str = ""


NOTHING = "no pixel of the object is large enough to look at"
NO_MASK = "nothing is known of an object"
NO_RESULT = "nothing was placed, or the cutout is empty"

ITEM_MEASURES: dict[str, Measure] = {
    "item": Measure("str", "", "Name of the item."),
    "width": Measure("int", "px", "Width of the picture."),
    "height": Measure("int", "px", "Height of the picture."),
    "short_side": Measure("int", "px", "The smaller of both."),
    "aspect": Measure("float", "1", "Width divided by height."),
    "megapixels": Measure("float", "10^6 px", "Width times height."),
    "sharpness": Measure("float", "codes²", f"Variance of the Laplacian of luma; {REDUCED}.", NOTHING),
    "luma_mean": Measure("float", "codes", f"Mean luma, 0..255; {REDUCED}.", NOTHING),
    "luma_std": Measure("float", "codes", f"Contrast: standard deviation of luma; {REDUCED}.", NOTHING),
    "clipped_black": Measure("float", "share", f"Pixels with luma of at most 1; {REDUCED}.", NOTHING),
    "clipped_white": Measure("float", "share", f"Pixels with luma of at least 254; {REDUCED}.", NOTHING),
    "noise": Measure("float", "codes", "Standard deviation of noise at the picture's own scale.", "all is clipped"),
    "blockiness": Measure("float", "ratio", "Steps on 8 × 8 block edges against steps elsewhere; 1 without blocks."),
    "cast_a": Measure("float", "CIELAB", "Mean a* of near-grey pixels: magenta above 0.", "hardly any greys"),
    "cast_b": Measure("float", "CIELAB", "Mean b* of near-grey pixels: yellow above 0.", "hardly any greys"),
    "cast": Measure("float", "CIELAB", "Length of (a*, b*).", "hardly any greys"),
    "background_std": Measure("float", "codes", "Unevenness of the background; at 256 px.", "there is none"),
    "phash": Measure("str", "64 bit, hex", "Perceptual hash.", "the picture is one colour"),
    "coverage": Measure("float", "share", f"The object's share of the picture; {REDUCED}.", NO_MASK),
    "pieces": Measure("int", "", "Parts of the object above 0.1 % of the picture.", NO_MASK),
    "largest_piece": Measure("float", "share", "The largest part's share of the object.", NO_MASK),
    "holes": Measure("int", "", "Holes in the object above 0.1 % of the picture.", NO_MASK),
    "border_top": Measure("float", "share", "The object's share of the upper border.", NO_MASK),
    "border_right": Measure("float", "share", "The object's share of the right border.", NO_MASK),
    "border_bottom": Measure("float", "share", "The object's share of the lower border.", NO_MASK),
    "border_left": Measure("float", "share", "The object's share of the left border.", NO_MASK),
    "border": Measure("float", "share", "The largest of the four.", NO_MASK),
    "softness": Measure("float", "share", "Soft alpha within 8 px of the object's edge.", NO_MASK),
}
FIDELITY_MEASURES: dict[str, Measure] = {
    "fidelity_ssim": Measure("float", "-1..1", "Mean SSIM of the object before and after.", NO_RESULT),
    "fidelity_ssim_low": Measure("float", "-1..1", "Mean SSIM of the eighth of the object that is worst.", NO_RESULT),
    "fidelity_delta_e": Measure("float", "CIEDE2000", "Mean colour difference of the object.", NO_RESULT),
    "fidelity_delta_e_high": Measure("float", "CIEDE2000", "The same of the eighth that is worst.", NO_RESULT),
    "fidelity_delta_c": Measure("float", "CIEDE2000", "The same with equal lightness: colour alone.", NO_RESULT),
    "fidelity_detail": Measure("float", "ratio", "Variance of the Laplacian after against before.", NO_RESULT),
    "fidelity_visible": Measure("float", "share", "How much of the object lies in the picture.", NO_RESULT),
    "fidelity_scale": Measure("float", "ratio", "Found size against expected size.", NO_RESULT),
    "fidelity_shift": Measure("float", "share", "Way of its middle, in diagonals of the object.", NO_RESULT),
    "fidelity_rotation": Measure("float", "degrees", "How far it was turned, counter-clockwise or not.", NO_RESULT),
}
MEASURES = ITEM_MEASURES | FIDELITY_MEASURES
FRAME_MEASURES: dict[str, Measure] = {
    "frame": Measure("int", "", "Index of the frame."),
    "time_s": Measure("float", "s", "When it is shown.", "times are not known"),
    "shot": Measure("int", "", "Index of the shot."),
    "difference": Measure("float", "codes", "Mean absolute difference to the frame before.", "first of its shot"),
    "black": Measure("int", "", "1 if the frame is black, else 0."),
    "frozen_frames": Measure("int", "frames", "Length of the standstill that it is part of."),
    "flicker": Measure("float", "codes", "Mean luma away from the middle of both neighbours."),
}


def measures_row(
    item: str,
    image: Pixels,
    *,
    alpha: NDArray[Any] | None = None,
    object_found: bool | None = None,
    fidelity: Mapping[str, Value] | None = None,
) -> "DataFrame":
    """Measure one picture.

    Args:
        item: Name of the item.
        image: (H, W, 3|4), sRGB, uint8 or uint16, straight alpha last.
        alpha: (H, W), float 0..1, bool, uint8 or uint16: the object in a picture that shows its background.
        object_found: False: an object was looked for and there is none. None: nobody looked.
        fidelity: The columns that begin with ``fidelity_``, as ``Fidelity.to_row`` makes them.

    Returns:
        One row with every column of ``MEASURES``.

    Raises:
        FrameShapeError: Not such a picture, or an alpha of another size.
    """
    return measures_table([measures_of_views(item, views_of(image, alpha), object_found) | dict(fidelity or {})])


def measures_of_views(item: str, views: Views, object_found: bool | None = None) -> dict[str, Value]:
    """The values of ``ITEM_MEASURES`` by name."""
    alpha = views.alpha
    if alpha is None and object_found is False:
        alpha = np.zeros(views.rgb.shape[:2], np.float32)
    return _values(item, views) | ({} if alpha is None else asdict(measure_object(alpha)))


def measures_table(rows: Sequence[Mapping[str, Value]]) -> "DataFrame":
    """Rows as a table with every column of ``MEASURES``; what a row does not say is null."""
    import polars as pl

    types = {"float": pl.Float64, "int": pl.Int64, "str": pl.String}
    return pl.DataFrame(
        {name: [row.get(name) for row in rows] for name in MEASURES},
        schema={name: types[measure.kind] for name, measure in MEASURES.items()},
    )


def _values(item: str, views: Views) -> dict[str, Value]:
    width, height = views.width, views.height
    small, small_alpha = views.small()
    exposed, cast = exposure(views), colour_cast(small, small_alpha)
    return {
        "item": item,
        "width": width,
        "height": height,
        "short_side": min(width, height),
        "aspect": width / height,
        "megapixels": width * height / 1e6,
        "sharpness": sharpness(views),
        **(asdict(exposed) if exposed else {}),
        "noise": noise(views),
        "blockiness": blockiness(views),
        **({"cast_a": cast.a, "cast_b": cast.b, "cast": cast.strength} if cast else {}),
        "background_std": background_std(small, small_alpha) if views.background_known else None,
        "phash": perceptual_hash(small, None if views.background_known else small_alpha),
    }
