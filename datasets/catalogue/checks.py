"""A raw row judged: what it is called, which picture it names, and every reason against it."""

import math
import unicodedata
from collections.abc import Callable, Mapping

from datasets.catalogue.mapping import ColumnMapping
from datasets.catalogue.records import Record
from datasets.catalogue.rows import BadRow, CatalogueRow, RowReason

LONGEST_SKU = 200  # characters
UNSEEN = ("Cc", "Cf", "Cs", "Zl", "Zp")  # control and formatting characters, lone surrogates, line separators
PictureReason = Callable[[str], RowReason | None]


def judged(record: Record, mapping: ColumnMapping, picture_reason: PictureReason) -> CatalogueRow | BadRow:
    """A row that can be used, or one that cannot and every reason why.

    Args:
        record: The raw row.
        mapping: What stands for no value.
        picture_reason: Says why a picture is refused.
    """
    values = {role: cleaned(value, mapping.null_values) for role, value in record.values.items()}
    sku, image = _text(values.get("sku")), values.get("image")
    if record.reasons:
        return BadRow(record.line, _shown(sku), record.reasons)
    reasons = [*_sku_reasons(values.get("sku")), *_image_reasons(image, picture_reason)]
    parameters, odd = _parameters(values, mapping)
    recipe = values.get("recipe")
    if recipe is not None and not isinstance(recipe, str):
        odd.append(_not_text("recipe", recipe))
    reasons += odd
    if reasons or sku is None:
        return BadRow(record.line, _shown(sku), tuple(reasons))
    return CatalogueRow(record.line, sku, str(image), None if recipe is None else str(recipe), parameters)


def cleaned(value: object, nulls: tuple[str, ...]) -> object:
    """A value without outer space, in normal form C; None where a text stands for none."""
    if not isinstance(value, str):
        return None if isinstance(value, float) and math.isnan(value) else value
    text = value.strip()
    if not text.isascii():
        text = unicodedata.normalize("NFC", text)
    return None if text in nulls else text


def _text(sku: object) -> str | None:
    """A SKU as text; whole numbers are, since JSON and Parquet write them without leading zeros anyway."""
    if isinstance(sku, int) and not isinstance(sku, bool):
        return str(sku)
    return sku if isinstance(sku, str) else None


def _sku_reasons(value: object) -> list[RowReason]:
    if value is None:
        return [RowReason("sku_missing", "the SKU is missing; every product needs one")]
    sku = _text(value)
    if sku is None:
        return [_not_text("sku", value)]
    if len(sku) > LONGEST_SKU:
        return [
            RowReason(
                "sku_too_long",
                f"the SKU has {len(sku)} characters, at most {LONGEST_SKU} are read",
                {"length": len(sku), "limit": LONGEST_SKU},
            )
        ]
    return _unseen("sku", sku)


def _image_reasons(image: object, picture_reason: PictureReason) -> list[RowReason]:
    if image is None:
        return [RowReason("image_missing", "the picture is missing; give its URL or path")]
    if not isinstance(image, str):
        return [_not_text("image", image)]
    if odd := _unseen("image", image):
        return odd
    reason = picture_reason(image)
    return [reason] if reason else []


def _parameters(values: Mapping[str, object], mapping: ColumnMapping) -> tuple[dict[str, object], list[RowReason]]:
    found = {name: values[name] for name in mapping.parameters if values.get(name) is not None}
    odd = [name for name, value in found.items() if not _is_scalar(value)]
    return found, [
        RowReason(
            "parameter_not_scalar",
            f"the parameter {name} is no text, number or truth value; give one of these",
            {"parameter": name},
        )
        for name in odd
    ]


def _is_scalar(value: object) -> bool:
    return isinstance(value, (str, int)) or (isinstance(value, float) and math.isfinite(value))


def _unseen(role: str, text: str) -> list[RowReason]:
    if text.isascii() and text.isprintable():
        return []
    for place, character in enumerate(text, 1):
        if unicodedata.category(character) in UNSEEN:
            return [
                RowReason(
                    "control_characters",
                    f"the {role} holds the character U+{ord(character):04X} at place {place}, which nobody sees; "
                    "remove it",
                    {"column": role, "character": f"U+{ord(character):04X}", "place": place},
                )
            ]
    return []


def _not_text(role: str, value: object) -> RowReason:
    code = f"{role}_not_text"
    return RowReason(code, f"the {role} is a {type(value).__name__}; write it as text", {"type": type(value).__name__})


def _shown(sku: str | None) -> str | None:
    """A SKU as it can be stored and shown, whatever it holds."""
    if sku is None:
        return None
    return sku[:LONGEST_SKU].encode("utf-8", "replace").decode().replace("\x00", "�")
