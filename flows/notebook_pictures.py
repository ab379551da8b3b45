"""The small pictures of an item: its source, and what was made of it."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import polars as pl
from markupsafe import Markup

from datasets.facts import Facts
from datasets.outputs import OutputPlace
from flows.report import in_words, picture
from flows.reporting import SHOWN_FIRST, stored_preview
from tasks.ops.small_copy import small_copy

SOURCES = ("intake", "decode")
SHOWN = 6  # pictures side by side; more would be too small to compare


@dataclass(frozen=True)
class Shown:
    """A picture as a page shows it.

    Attributes:
        caption: What it is: ``source``, or the role of a delivered file, with its size in pixels.
        uri: The picture itself, as a data URI.
        width, height: Of the picture that is shown, px.
        clear: Whether one can see through it.
    """

    caption: str
    uri: Markup
    width: int
    height: int
    clear: bool


def pictures_of(
    facts: Facts, stages: pl.DataFrame, outputs: pl.DataFrame, *, side: int, most: int = SHOWN
) -> list[Shown]:
    """The source and then what was made, the most finished first; thumbnails where nothing larger was made.

    Args:
        facts: Whose store.
        stages: Stages of one item, in the order of time; columns as of ``Facts.stages``.
        outputs: Its delivered files; columns as of ``Facts.outputs``.
        side: Longer side of each picture, in px.
        most: How many pictures.
    """
    return [shown for _, shown in zip(range(most), _found(facts, stages, outputs, side), strict=False)]


def _found(facts: Facts, stages: pl.DataFrame, outputs: pl.DataFrame, side: int) -> Iterator[Shown]:
    sources = stages.filter(pl.col("stage").is_in(SOURCES), pl.col("error_code").is_null())
    for fingerprint in sources["fingerprint"].head(1):
        yield from _shown("source", stored_preview(OutputPlace(facts.storage, fingerprint)), side)
    large = outputs.filter(pl.col("role") != "thumbnail")
    for output in sorted((large if large.height else outputs).iter_rows(named=True), key=_place):
        stored = str(json.loads(output["extra"]).get("stored", ""))
        caption = f"{in_words(output['role'])}, {output['width']} × {output['height']}"
        yield from _shown(caption, stored_preview(OutputPlace(facts.storage, output["fingerprint"]), stored), side)


def _place(output: dict[str, Any]) -> tuple[int, int, str]:
    role = output["role"]
    rank = SHOWN_FIRST.index(role) if role in SHOWN_FIRST else len(SHOWN_FIRST)
    return rank, -output["width"], output["path"]


def _shown(caption: str, data: bytes | None, side: int) -> Iterator[Shown]:
    small = small_copy(data, side=side) if data else None
    found = picture(small)
    if found is not None:
        yield Shown(caption, found.uri, found.width, found.height, found.clear)
