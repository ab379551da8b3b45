"""The player of a clip in a real browser: both clips together, by hand and by keyboard, from a file on disk."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser, Page

from flows.report import render_report
from flows.report_clips import ClipReport, clip_section
from tests.browsers import browser
from tests.flows.clip_samples import hostile_clip, moving_bar, sample_clip, save_clip
from tests.flows.report_samples import run_of, stages_of
from tests.flows.test_report_browser import CONTRASTS, wipe_of

__all__ = ["browser"]  # the fixture is shared by its name

pytestmark = pytest.mark.slow

STANDS = "[...document.querySelectorAll('video')].map(video => video.currentTime)"
SETTLED = "[...document.querySelectorAll('video')].every(video => video.readyState >= 2 && !video.seeking)"


class Reader:
    """Opens reports of clips, and notes what they ask for and what the browser complains about."""

    def __init__(self, browser: Browser, folder: Path) -> None:
        self.browser, self.folder = browser, folder
        self.requests: set[str] = set()
        self.complaints: list[str] = []
        self.pages: list[Page] = []

    def __call__(self, *clips: ClipReport, width: int = 1280, ready: bool = True, **context: Any) -> Page:
        sections = [clip_section(clip, number) for number, clip in enumerate(clips, start=1)]
        path = self.folder / "report.html"
        path.write_text(render_report(run_of((), stages_of("walk")), sections), encoding="utf-8")
        page = self.browser.new_context(viewport={"width": width, "height": 900}, **context).new_page()
        self.pages.append(page)
        page.on("request", lambda request: self.requests.add(request.url.partition(":")[0]))
        page.on("console", lambda message: self.complaints.append(message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.goto(path.as_uri())
        if ready:
            until(page, SETTLED)
        return page


@pytest.fixture
def read(browser: Browser, tmp_path: Path) -> Iterator[Reader]:
    save_clip(tmp_path / "in/walk.webm", moving_bar())
    save_clip(tmp_path / "out/walk.webm", 255 - moving_bar())
    reader = Reader(browser, tmp_path)
    yield reader
    for page in reader.pages:
        page.context.close()
    assert reader.complaints == []
    assert reader.requests <= {"file", "data"}


def until(page: Page, condition: str) -> None:
    """Ask again and again from outside: the browser's own waiting may need ``eval``, which its policy forbids."""
    for _ in range(200):
        if page.evaluate(condition):
            return
        page.wait_for_timeout(50)
    raise AssertionError(condition)


def stands(page: Page) -> list[float]:
    until(page, SETTLED)
    times: list[float] = page.evaluate(STANDS)
    return times


def test_one_button_plays_both_clips_to_the_end(read: Reader) -> None:
    page = read(sample_clip())
    page.locator(".play").click()
    until(page, "document.querySelector('.scrub').value > 10")
    assert page.locator(".play").get_attribute("aria-label") == "Pause"
    assert np.ptp(page.evaluate(STANDS)) < 0.2
    until(page, "document.querySelector('.play').getAttribute('aria-label') === 'Play'")
    assert page.locator(".scrub").input_value() == "39"
    page.locator(".play").click()  # and from the beginning again
    until(page, "document.querySelector('.scrub').value < 20")


def test_steps_land_in_the_middle_of_frames_of_both_clips(read: Reader) -> None:
    page = read(sample_clip())
    for _ in range(3):
        page.locator(".on").click()
    assert stands(page) == pytest.approx([0.14, 0.14], abs=0.002)
    page.locator(".back").click()
    assert stands(page) == pytest.approx([0.10, 0.10], abs=0.002)
    assert page.locator(".clock").text_content() == "0:00.08 / 0:01.60"
    page.locator(".scrub").focus()
    page.keyboard.press("End")
    assert min(stands(page)) >= 1.578  # the last frame; a browser may go on to its very end
    page.locator(".on").click()
    assert min(stands(page)) >= 1.578
    assert page.locator(".scrub").get_attribute("aria-valuetext") == "frame 40 of 40, 0:01.56"


def test_uneven_frames_are_stepped_by_their_own_times(read: Reader) -> None:
    clip = sample_clip()
    assert clip.measures is not None
    times = np.array([0.0, 0.1, 0.5, 0.6])
    rows = np.ones(4)
    page = read(
        replace(clip, measures=replace(clip.measures, times_s=times, luma=rows, sharpness=rows, difference=rows))
    )
    page.locator(".on").click()
    assert stands(page) == pytest.approx([0.3, 0.3], abs=0.002)
    page.locator(".on").click()
    assert stands(page) == pytest.approx([0.55, 0.55], abs=0.002)


def test_the_divider_obeys_mouse_and_keyboard(read: Reader) -> None:
    page = read(sample_clip())
    page.locator(".wipe").focus()
    page.keyboard.press("ArrowRight")
    assert wipe_of(page) == pytest.approx((51, 51), abs=0.2)
    edges = page.locator(".compare").bounding_box()
    assert edges is not None
    page.mouse.click(edges["x"] + edges["width"] / 4, edges["y"] + edges["height"] / 2)
    assert wipe_of(page) == pytest.approx((25, 25), abs=0.6)
    assert page.evaluate(STANDS) == [0, 0]


def test_pointing_at_a_plot_shows_values_and_a_click_goes_there(read: Reader) -> None:
    clip = sample_clip()
    page = read(clip)
    plot = page.locator(".plot svg").first
    plot.scroll_into_view_if_needed()
    edges = plot.bounding_box()
    assert edges is not None
    assert clip.measures is not None
    x, y = edges["x"] + edges["width"] * 0.7625, edges["y"] + 10  # within frame 30 of 40
    page.mouse.move(x, y)
    assert page.locator(".reading").all_text_contents() == [
        f"{values[30]:.1f}" for values in (clip.measures.luma, clip.measures.sharpness, clip.measures.difference)
    ]
    page.mouse.click(x, y)
    assert stands(page) == pytest.approx([1.22, 1.22], abs=0.002)


def test_what_cannot_be_played_is_a_link(read: Reader) -> None:
    (read.folder / "in/walk.webm").write_bytes(b"no clip at all")
    page = read(sample_clip(), ready=False)
    until(page, "document.querySelectorAll('.cannot:not([hidden])').length === 1")
    until(page, "document.querySelectorAll('video')[1].readyState >= 2")
    page.locator(".on").click()
    until(page, "document.querySelectorAll('video')[1].currentTime > 0.05")


@pytest.mark.parametrize("width", [320, 390, 768, 1280])
def test_nothing_sticks_out_sideways(read: Reader, width: int) -> None:
    page = read(sample_clip(), hostile_clip(), width=width, ready=False)
    assert page.evaluate("[document.documentElement.scrollWidth, window.stolen]") == [width, None]
    until(page, "document.querySelectorAll('.cannot:not([hidden])').length === 2")
    assert all("ERR_FILE_NOT_FOUND" in complaint for complaint in read.complaints)  # the hostile paths are nowhere
    read.complaints.clear()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_background(read: Reader, scheme: str) -> None:
    page = read(sample_clip(), color_scheme=scheme)
    contrasts = page.evaluate(CONTRASTS)
    assert len(contrasts) > 40
    assert [(ratio, words) for ratio, words in contrasts if ratio < 4.5] == []


def test_without_script_both_clips_are_shown(read: Reader) -> None:
    page = read(sample_clip(), java_script_enabled=False, ready=False)
    before, after = (page.locator(f".{name}").first.bounding_box() for name in ("before", "after"))
    assert before is not None
    assert after is not None
    assert before["x"] + before["width"] <= after["x"]
    assert not page.locator(".controls").is_visible()
