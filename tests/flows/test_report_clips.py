"""A clip's part of the report as text: what it shows, what it escapes, where it leads."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest

from flows.report import render_report
from flows.report_clips import ClipMeasures, ClipReport, clip_section
from flows.reporting import SHOWN_FIRST, _rank
from tests.flows.clip_samples import hostile_clip, sample_clip
from tests.flows.report_samples import HOSTILE, run_of, sample_run
from tests.flows.test_report import Page


def steady(values: list[float], times: list[float] | None = None) -> ClipMeasures:
    rows = np.array(values)
    return ClipMeasures(np.array(times) if times else np.arange(len(rows)) / 25, rows, rows, rows)


@pytest.mark.parametrize("clip", [sample_clip(), hostile_clip()], ids=["sample", "hostile"])
def test_every_element_is_closed_and_nothing_leads_out(clip: ClipReport) -> None:
    page = Page(render_report(sample_run(2), [clip_section(clip, 1), clip_section(clip, 2)]))
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert page.open == []
    assert len(ids) == len(set(ids))
    assert {attributes.get("aria-labelledby") for _, attributes in page.elements} - {None} <= set(ids)
    assert not any(name == "style" or name.startswith("on") for _, attributes in page.elements for name in attributes)
    assert len(page.all("script")) == 1
    for _, attributes in page.elements:
        for name in ("src", "href", "poster"):
            assert (attributes.get(name) or "#").startswith(("data:image/", "#", "./"))


def test_hostile_words_stay_words() -> None:
    html = clip_section(replace(hostile_clip(), source="a\u202eb\x00"))
    assert HOSTILE not in html
    assert "a\ufffdb\ufffd" in html
    page = Page(html)
    assert f"{HOSTILE}" in page.text
    assert [video["src"] for video in page.all("video")][1] == ".///outside.example/x.webm"


def test_only_a_page_with_clips_may_play_videos() -> None:
    def policy(html: str) -> str:
        return next(str(meta["content"]) for meta in Page(html).all("meta") if "http-equiv" in meta)

    assert "media-src" not in policy(render_report(sample_run(1)))
    assert "media-src 'self' file: data:;" in policy(render_report(sample_run(1), [clip_section(sample_clip())]))


def test_both_clips_have_one_set_of_named_controls() -> None:
    page = Page(clip_section(sample_clip()))
    assert [video["src"] for video in page.all("video")] == ["./in/walk.webm", "./out/walk.webm"]
    assert [button["aria-label"] for button in page.all("button")][:3] == ["Play", "One frame back", "One frame on"]
    assert [control.get("aria-label") for control in page.all("input")] == [
        "Before and after of walk: how much of the clip before is shown",
        "Frame of walk",
    ]


@pytest.mark.parametrize(("missing", "left"), [("before", "./out/walk.webm"), ("after", "./in/walk.webm")])
def test_one_clip_has_no_divider(missing: str, left: str) -> None:
    page = Page(clip_section(replace(sample_clip(), **{missing: None})))  # type: ignore[arg-type]
    assert [video["src"] for video in page.all("video")] == [left]
    assert not page.of_class("wipe")


def test_a_clip_that_failed_shows_its_reason_alone() -> None:
    reason: dict[str, object] = {"code": "truncated", "message": "It ends too early.", "level": "error"}
    page = Page(clip_section(ClipReport("broken", "broken.mp4", "failed", [reason])))
    assert "Error: It ends too early." in page.text
    assert "No clip to show" in page.text
    assert not page.all("video") + page.all("path") + page.all("table")


def test_plots_mark_cuts_and_carry_their_values() -> None:
    page = Page(clip_section(replace(sample_clip(), measures=steady([0, 10, 20, 10]), shots=[(0, 1), (1, 4)])))
    plots = [svg for svg in page.all("svg") if "data-values" in svg]
    assert len(plots) == 3
    assert json.loads(str(plots[0]["data-values"])) == [[0.0, 0.0], [0.25, 10.0], [0.5, 20.0], [0.75, 10.0]]
    assert plots[0]["aria-label"] == "Luma: 0.0 to 20.0, mean 10.0; 1 cut"
    assert [line["x1"] for line in page.of_class("cut")] == ["150.0"] * 3
    drawn = next(str(path["d"]) for path in page.all("path") if str(path["d"]).startswith("M0.0 54.0"))
    assert drawn == "M0.0 54.0L150.0 28.0L300.0 2.0L450.0 28.0H600"
    assert "2 shots" in page.text


def test_a_flash_in_a_long_clip_is_still_drawn() -> None:
    values = [10.0] * 5000
    values[1234] = 250
    page = Page(clip_section(replace(sample_clip(), measures=steady(values), shots=[])))
    shown = json.loads(next(str(svg["data-values"]) for svg in page.all("svg") if "data-values" in svg))
    assert len(shown) == 600
    assert max(value for _, value in shown) == 250


@pytest.mark.parametrize("values", [[5.0], [0.0, 0.0], [float("nan"), 1.0], [float("inf"), 1.0]])
def test_odd_measures_are_drawn(values: list[float]) -> None:
    html = clip_section(replace(sample_clip(), measures=steady(values)))
    assert not re.search(r"\b(nan|inf|NaN|Infinity)\b", html)


def test_even_frames_are_counted_and_uneven_ones_listed() -> None:
    def steps(times: list[float]) -> object:
        clip = replace(sample_clip(), measures=steady([1.0] * len(times), times))
        return json.loads(str(Page(clip_section(clip)).of_class("player")[0]["data-steps"]))

    assert steps([3.0, 3.04, 3.08]) == {"count": 3, "step": 0.04}
    assert steps([0.0, 0.04, 0.5]) == {"times": [0.0, 0.04, 0.5], "end": 0.96}


def test_a_run_of_clips_alone_has_no_section_of_pictures() -> None:
    page = Page(render_report(run_of(()), [clip_section(sample_clip())]))
    assert "This run has no pictures." not in page.text
    assert page.text.startswith("1 clip –")
    targets = {str(link["href"])[1:] for link in page.all("a") if str(link["href"]).startswith("#")}
    assert targets == {"clips"}
    assert "clips" in [section.get("id") for section in page.all("section")]


def test_roles_that_are_not_ranked_come_last() -> None:
    assert min(["sprites", "clip", "thumbnail"], key=_rank) == "thumbnail"
    assert [_rank(role) for role in SHOWN_FIRST] == list(range(len(SHOWN_FIRST)))
