"""The report in a real browser: quiet, steerable by hand and by keyboard, legible by day and by night."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from flows.report import ReportData, ReportItem, render_report
from tests.browsers import browser
from tests.flows.report_samples import (
    HOSTILE,
    delivered,
    encoded,
    failed,
    hostile_paid_run,
    hostile_run,
    paid_run,
    run_of,
    sample_run,
    stages_of,
)

__all__ = ["browser"]  # the fixture is shared by its name

pytestmark = pytest.mark.slow

# Relative luminance and contrast ratio: W3C, WCAG 2.2. Every visible text node is held against the first opaque
# background behind it; text over a picture has its own background.
CONTRASTS = """() => {
  const parse = (colour) => {
    const [red, green, blue, alpha = 1] = colour.match(/[\\d.]+/g).map(Number);
    return { rgb: [red, green, blue], alpha };
  };
  const luminance = ({ rgb }) => {
    const [r, g, b] = rgb.map((value) => {
      const part = value / 255;
      return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const found = parse(getComputedStyle(at).backgroundColor);
      if (found.alpha === 1) return found;
      if (found.alpha > 0) throw new Error("half transparent background");
    }
    throw new Error("no background");
  };
  const results = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    const words = walker.currentNode.data.trim();
    if (!words || !element.checkVisibility() || element.closest("svg")) continue;
    const pair = [luminance(parse(getComputedStyle(element).color)), luminance(ground(element))].sort((a, b) => b - a);
    results.push([(pair[0] + 0.05) / (pair[1] + 0.05), words]);
  }
  return results.sort((a, b) => a[0] - b[0]);
}"""


@pytest.fixture
def visit(browser: Browser, tmp_path: Path) -> Iterator["Visit"]:
    visit = Visit(browser, tmp_path / "report.html")
    yield visit
    for page in visit.pages:
        page.context.close()
    assert visit.complaints == []
    assert set(visit.requests) <= {(tmp_path / "report.html").as_uri()}


class Visit:
    """Opens reports, and notes what they ask for and what the browser complains about."""

    def __init__(self, browser: Browser, path: Path) -> None:
        self.browser, self.path = browser, path
        self.pages: list[Page] = []
        self.requests: list[str] = []
        self.complaints: list[str] = []

    def __call__(self, data: ReportData, *, width: int = 1280, fragment: str = "", **context: Any) -> Page:
        self.path.write_text(render_report(data), encoding="utf-8")
        page = self.browser.new_context(viewport={"width": width, "height": 900}, **context).new_page()
        self.pages.append(page)
        page.on("request", lambda request: self._note(request.url))
        page.on("console", lambda message: self.complaints.append(message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.goto(self.path.as_uri() + fragment)
        return page

    def _note(self, url: str) -> None:
        if not url.startswith("data:"):
            self.requests.append(url.partition("#")[0])


def long_names() -> ReportData:
    """Names without a place to break, one failed item, every kind of mark."""
    name = "A_very_long_file_name_" * 6
    return run_of((delivered(name), failed(name + "2")), (*stages_of(name, cached=True), *stages_of(name + "2")))


def wipe_of(page: Page, number: int = 0) -> tuple[float, float]:
    """The slider's value and where its divider stands, in percent of the picture's width."""
    value, stands = page.evaluate(
        """(number) => {
          const box = document.querySelectorAll(".compare")[number];
          const edges = box.getBoundingClientRect();
          const divider = box.querySelector(".divider").getBoundingClientRect();
          return [+box.querySelector(".wipe").value, (100 * (divider.left - edges.left)) / edges.width];
        }""",
        number,
    )
    return value, stands


def test_the_file_is_all_it_asks_for(visit: Visit) -> None:
    page = visit(sample_run(14))
    page.wait_for_load_state("networkidle")
    assert visit.requests == [visit.path.as_uri()]
    assert (
        page.evaluate("performance.getEntriesByType('resource').filter(e => !e.name.startsWith('data:')).length") == 0
    )


def test_the_policy_stops_what_would_ask_for_more(visit: Visit) -> None:
    page = visit(sample_run(1))
    stopped = page.evaluate("""() => new Promise((done) => {
      document.addEventListener("securitypolicyviolation", (event) => done(event.effectiveDirective));
      setTimeout(() => done("nothing"), 5000);
      const picture = new Image();
      picture.src = "http://127.0.0.1:9/x.png";
      document.body.append(picture);
    })""")
    assert stopped == "img-src"
    visit.complaints.clear()  # the browser says on its console what it stopped
    visit.requests.clear()  # and counts what it never sent


def test_the_slider_follows_the_mouse(visit: Visit) -> None:
    page = visit(sample_run(2))
    assert wipe_of(page) == pytest.approx((50, 50), abs=0.2)
    edges = page.locator(".compare").first.bounding_box()
    assert edges is not None
    middle = edges["y"] + edges["height"] / 2
    page.mouse.move(edges["x"] + edges["width"] / 2, middle)
    page.mouse.down()
    page.mouse.move(edges["x"] + edges["width"] * 0.8, middle, steps=5)
    assert wipe_of(page) == pytest.approx((80, 80), abs=0.6)
    page.mouse.move(edges["x"] - 50, middle)  # past the edge: captured, and held at the end
    assert wipe_of(page) == pytest.approx((0, 0), abs=0.2)
    page.mouse.up()
    page.mouse.move(edges["x"] + edges["width"] * 0.5, middle)
    assert wipe_of(page) == pytest.approx((0, 0), abs=0.2)
    assert wipe_of(page, 1) == pytest.approx((50, 50), abs=0.2)


def test_the_slider_follows_a_finger(visit: Visit) -> None:
    page = visit(sample_run(1), width=390, has_touch=True, is_mobile=True)
    page.locator(".compare").first.scroll_into_view_if_needed()
    edges = page.locator(".compare").first.bounding_box()
    assert edges is not None
    page.touchscreen.tap(edges["x"] + edges["width"] * 0.25, edges["y"] + edges["height"] / 2)
    assert wipe_of(page) == pytest.approx((25, 25), abs=1)


def test_a_finger_that_scrolls_the_page_leaves_the_slider_alone(visit: Visit) -> None:
    page = visit(sample_run(3), width=390, has_touch=True, is_mobile=True, reduced_motion="reduce")
    compare = page.locator(".compare").first
    compare.evaluate("box => box.scrollIntoView({block: 'center', behavior: 'instant'})")
    edges, scrolled = compare.bounding_box(), page.evaluate("scrollY")
    assert edges is not None
    x, y = edges["x"] + edges["width"] * 0.25, edges["y"] + edges["height"] / 2
    finger = page.context.new_cdp_session(page)
    finger.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [{"x": x, "y": y}]})
    for step in range(1, 16):
        finger.send("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": [{"x": x, "y": y - 10 * step}]})
        page.wait_for_timeout(16)  # a frame
    finger.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    page.wait_for_function("before => scrollY > before + 50", arg=scrolled)
    assert wipe_of(page) == (50, 50)


def test_the_slider_obeys_the_keyboard_and_says_where_it_is(visit: Visit) -> None:
    page = visit(sample_run(1))
    wipe = page.locator(".wipe").first
    wipe.focus()
    for key, value in (("ArrowRight", 51), ("ArrowLeft", 50), ("End", 100), ("Home", 0), ("ArrowUp", 1)):
        page.keyboard.press(key)
        assert wipe_of(page) == pytest.approx((value, value), abs=0.2)
    assert wipe.get_attribute("aria-valuetext") == "1 % before, 99 % after"
    assert page.locator(".compare").first.evaluate("box => getComputedStyle(box).outlineStyle") == "solid"


def test_what_the_slider_uncovers(visit: Visit) -> None:
    """Left of the divider lies the picture before, right of it the picture after, in the same box."""
    item = delivered("one")
    page = visit(run_of((item,)))
    page.wait_for_function("[...document.images].every((picture) => picture.complete)")
    clips = page.evaluate("""() => [...document.querySelectorAll(".compare .side")].map((side) => {
      const edges = side.getBoundingClientRect();
      return [getComputedStyle(side).clipPath, edges.x, edges.y, edges.width, edges.height];
    })""")
    assert clips[0][1:] == clips[1][1:]
    assert [clip[0] for clip in clips] == ["inset(0px 50% 0px 0px)", "inset(0px 0px 0px 50%)"]


@pytest.mark.parametrize("width", [320, 360, 390, 768, 1280])
@pytest.mark.parametrize(
    "data",
    [sample_run(14), long_names(), hostile_run(), paid_run(), hostile_paid_run()],
    ids=["sample", "long", "hostile", "paid", "hostile-paid"],
)
def test_nothing_sticks_out_sideways(visit: Visit, width: int, data: ReportData) -> None:
    page = visit(data, width=width)
    page.evaluate("document.querySelectorAll('details').forEach((details) => { details.open = true; })")
    page.evaluate("scrollTo(9999, 0)")
    assert page.evaluate("[document.documentElement.scrollWidth, scrollX]") == [width, 0]


def test_pictures_keep_their_shape_and_stay_in_the_box(visit: Visit) -> None:
    shapes = [(120, 40), (40, 120), (90, 90), (96, 54)]
    items = [
        ReportItem(str(shape), "s", "delivered", [], encoded(*shape), encoded(80, 60), "packshot", [])
        for shape in shapes
    ]
    page = visit(run_of(tuple(items)), width=1000)
    fits = page.evaluate("""() => [...document.images].map((picture) => {
      const own = picture.getBoundingClientRect(), box = picture.parentElement.getBoundingClientRect();
      const inside = own.left >= box.left - 1 && own.right <= box.right + 1
        && own.top >= box.top - 1 && own.bottom <= box.bottom + 1;
      const touches = Math.abs(own.width - box.width) < 1 || Math.abs(own.height - box.height) < 1;
      return [inside, touches, own.width / own.height];
    })""")
    assert all(inside and touches for inside, touches, _ in fits)
    assert [ratio for _, _, ratio in fits][::2] == pytest.approx([w / h for w, h in shapes], rel=0.02)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_text_stands_out_from_its_background(visit: Visit, scheme: str, width: int) -> None:
    page = visit(sample_run(14), width=width, color_scheme=scheme)
    page.evaluate("document.querySelectorAll('details').forEach((details) => { details.open = true; })")
    contrasts = page.evaluate(CONTRASTS)
    assert len(contrasts) > 200
    assert [(ratio, words) for ratio, words in contrasts if ratio < 4.5] == []


def test_dark_mode_is_dark(visit: Visit) -> None:
    colours = [
        visit(sample_run(1), color_scheme=scheme).evaluate(
            "[getComputedStyle(document.documentElement).backgroundColor, getComputedStyle(document.body).color]"
        )
        for scheme in ("light", "dark")
    ]
    assert colours == [["rgb(246, 245, 242)", "rgb(29, 31, 30)"], ["rgb(19, 21, 20)", "rgb(236, 238, 236)"]]


def test_hostile_words_do_nothing(visit: Visit) -> None:
    page = visit(hostile_run())
    page.wait_for_timeout(200)
    assert page.evaluate("window.stolen") is None
    assert page.locator("h3").first.text_content() == HOSTILE
    assert page.locator("script").count() == 1
    page.locator("a", has_text="packshot").first.evaluate("link => link.protocol === 'file:' || link.remove()")
    assert page.locator("a", has_text="packshot").count() == 1


def test_without_script_both_pictures_are_shown(visit: Visit) -> None:
    page = visit(sample_run(2), java_script_enabled=False)
    before, after = (page.locator(f".{name}").first.bounding_box() for name in ("before", "after"))
    assert before is not None
    assert after is not None
    assert before["x"] + before["width"] <= after["x"]
    assert page.locator("figcaption").all_text_contents()[:2] == ["Before", "After"]
    assert not page.locator(".copy").first.is_visible()
    assert not page.locator(".wipe").first.is_visible()


def test_a_link_from_the_index_opens_a_collapsed_item(visit: Visit) -> None:
    page = visit(sample_run(20))
    assert page.locator("#item-18 details").get_attribute("open") is None
    page.locator(".index a", has_text="item-018").click()
    page.wait_for_function("document.querySelector('#item-18 details').open")
    page = visit(sample_run(20), fragment="#item-15")
    page.wait_for_function("document.querySelector('#item-15 details').open")


def test_the_filter_narrows_index_and_pictures(visit: Visit) -> None:
    page = visit(sample_run(20))
    page.locator("#find").fill("ITEM-01")
    assert page.locator(".index li:visible").count() == 10
    assert page.locator("article:visible").count() == 10
    assert page.locator("#said").text_content() == "10 of 20 pictures shown"
    page.locator("#find").fill("")
    page.locator("#troubled").check()
    assert page.locator("article:visible h3").all_text_contents() == ["item-002", "item-020"]


def test_copy_copies_the_whole_digest(visit: Visit) -> None:
    page = visit(sample_run(1), permissions=["clipboard-read", "clipboard-write"])
    page.locator(".copy").first.click()
    page.wait_for_function("document.querySelector('.copy').textContent === 'Copied'")
    assert page.evaluate("navigator.clipboard.readText()") == "0123456789abcdef" * 4


def test_motion_is_left_out_where_it_is_not_wanted(visit: Visit) -> None:
    page = visit(sample_run(1), reduced_motion="reduce")
    assert page.evaluate("getComputedStyle(document.documentElement).scrollBehavior") == "auto"
    assert page.locator(".grip").first.evaluate("grip => getComputedStyle(grip).transitionProperty") == "none"


def test_paper_shows_every_picture_side_by_side(visit: Visit) -> None:
    page = visit(sample_run(14))
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("details:not([open])").count() == 0
    before, after = (page.locator(f".compare .{name}").first.bounding_box() for name in ("before", "after"))
    assert before is not None
    assert after is not None
    assert before["x"] + before["width"] <= after["x"]
