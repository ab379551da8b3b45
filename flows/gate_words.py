"""Measures and expectations in the words of people who sell things: what was looked at, what is wrong, what was seen.

Whatever a tenant adds falls back to the measure's own description.
"""

from typing import Any, Literal

from expectations.measures import MEASURES

Form = Literal["number", "count", "px", "share", "times", "degrees", "text"]

LABELS: dict[str, tuple[str, Form]] = {
    "width": ("Width", "px"),
    "height": ("Height", "px"),
    "short_side": ("Shorter side", "px"),
    "aspect": ("Width against height", "times"),
    "megapixels": ("Million pixels", "number"),
    "sharpness": ("Sharpness", "number"),
    "luma_mean": ("Brightness, 0 to 255", "number"),
    "luma_std": ("Contrast", "number"),
    "clipped_black": ("Pure black", "share"),
    "clipped_white": ("Pure white", "share"),
    "noise": ("Noise", "number"),
    "blockiness": ("Traces of compression", "times"),
    "cast_a": ("Tint towards magenta or green", "number"),
    "cast_b": ("Tint towards yellow or blue", "number"),
    "cast": ("Colour tint", "number"),
    "background_std": ("Unevenness of the background", "number"),
    "phash": ("What it shows, as a code", "text"),
    "coverage": ("Share of the picture that is product", "share"),
    "pieces": ("Separate pieces", "count"),
    "largest_piece": ("Share of the product in one piece", "share"),
    "holes": ("Holes", "count"),
    "border_top": ("Product along the upper edge", "share"),
    "border_right": ("Product along the right edge", "share"),
    "border_bottom": ("Product along the lower edge", "share"),
    "border_left": ("Product along the left edge", "share"),
    "border": ("Product along an edge of the picture", "share"),
    "softness": ("Softness of the outline", "share"),
    "fidelity_ssim": ("Likeness of the product, up to 1", "number"),
    "fidelity_ssim_low": ("Likeness of its worst part, up to 1", "number"),
    "fidelity_delta_e": ("Change of colour", "number"),
    "fidelity_delta_e_high": ("Change of colour of its worst part", "number"),
    "fidelity_delta_c": ("Change of hue", "number"),
    "fidelity_detail": ("Fine detail against before", "times"),
    "fidelity_visible": ("Share of the product in the picture", "share"),
    "fidelity_scale": ("Size against what was asked for", "share"),
    "fidelity_shift": ("Distance from its place", "share"),
    "fidelity_rotation": ("Turned by", "degrees"),
}  # fmt: skip

FAULTS = {
    "large_enough": "It is too small.",
    "aspect": "It is too long and narrow.",
    "not_black": "It is almost black.",
    "shows_something": "It shows next to nothing.",
    "sharp": "It is not sharp.",
    "not_dark": "It is rather dark.",
    "not_blown_out": "Nearly all of it is pure white.",
    "not_crushed": "Nearly all of it is pure black.",
    "low_noise": "It is grainy.",
    "lightly_compressed": "It was compressed so much that it shows.",
    "neutral": "Its greys have a tint.",
    "object_found": "No product was found on it.",
    "not_everything": "Product and background could not be told apart.",
    "one_piece": "The product is in pieces.",
    "few_pieces": "The product is in many pieces.",
    "few_holes": "The product has many holes.",
    "not_cut_off": "The product is cut off at the edge of the picture.",
    "edge": "The outline of the product is soft.",
    "product_kept": "The product does not look as it did before.",
    "parts_kept": "A part of the product does not look as it did before.",
    "colours_kept": "The colours of the product have changed.",
    "part_colours_kept": "The colours of a part of the product have changed.",
    "hues_kept": "The product has another hue.",
    "detail_kept": "Fine detail was lost or made up.",
    "whole": "The product is not wholly in the picture.",
    "size_kept": "The product has another size than asked for.",
    "in_place": "The product is not where it should be.",
    "upright": "The product is turned.",
    "not_bought_already": "A picture that shows the same was bought already.",
}
SPOKEN = {"intake": "before any work", "spend": "before paying", "delivery": "before publishing"}
UNITS: dict[Form, str] = {"px": " px", "share": " %", "times": " ×", "degrees": "°"}
EXACT = 9  # significant digits of a double that rounding of decimals does not touch


def moment_of(gate: str) -> str:
    """When a gate looks: ``before paying``."""
    return SPOKEN.get(gate, f"at the gate {gate}")


def label(measure: str) -> str:
    """What was looked at."""
    if measure in LABELS:
        return LABELS[measure][0]
    return MEASURES[measure].meaning.rstrip(".") if measure in MEASURES else measure.replace("_", " ")


def fault(expectation: str, measure: str) -> str:
    """What is wrong where an expectation is not met."""
    return FAULTS.get(expectation, f"{label(measure)} is not as it should be.")


def shown(measure: str, value: object, digits: int = 3) -> str:
    """A value with its unit: ``64 px``, ``4.2 %``, ``2.5 ×``; a dash for none."""
    form = LABELS[measure][1] if measure in LABELS else "number"
    if value is None:
        return "–"
    if isinstance(value, str) or form == "text":
        return str(value)
    assert isinstance(value, int | float)
    number = 100 * value if form == "share" else value
    words = _rounded(number, digits)
    return f"{words}{UNITS.get(form, '')}".replace("-", "\N{MINUS SIGN}")


def observed(measure: str, value: object, bound: dict[str, Any]) -> str:
    """The value with as many digits as it takes to tell it from its bounds."""
    limits = [limit for limit in (bound.get("min"), bound.get("max")) if limit is not None and limit != value]
    for digits in range(3, EXACT):
        words = shown(measure, value, digits)
        if words not in [shown(measure, limit, digits) for limit in limits]:
            return words
    return shown(measure, value, EXACT)


def asked(measure: str, bound: dict[str, Any]) -> str:
    """What was asked for: ``at least 8``."""
    low, high = bound.get("min"), bound.get("max")
    if "one_of" in bound:
        return "one of " + ", ".join(str(each) for each in bound["one_of"])
    if low is not None and high is not None:
        return f"{shown(measure, low)} to {shown(measure, high)}"
    if low is not None:
        return f"at least {shown(measure, low)}"
    return f"at most {shown(measure, high)}" if high is not None else "a value"


def _rounded(number: float, digits: int) -> str:
    """Significant digits, all of them left of the point, thousands apart, no zeros after the last one."""
    if number and abs(number) < 10 ** (digits - 1):
        return f"{number:.{digits}g}" if abs(number) >= 1e-4 else f"{number:.1e}"
    return f"{number:,.0f}"
