"""The report as text: what it says, what it escapes, what it never asks for."""

import base64
import hashlib
import re
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from html.parser import HTMLParser
from itertools import pairwise

import pytest

from flows.report import (
    RUN_WORDS,
    ReportItem,
    ReportStage,
    box_for,
    clock,
    day,
    duration,
    headline,
    human_size,
    model_words,
    relative_link,
    render_report,
    stage_totals,
)
from tests.flows.report_samples import (
    HOSTILE,
    delivered,
    encoded,
    failed,
    hostile_run,
    output,
    run_of,
    sample_run,
    stages_of,
)

VOID = {"meta", "link", "img", "input", "br", "hr"}


class Page(HTMLParser):
    """The elements of a page in order, its text, and whether every element was closed."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in {"style", "script"}:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    def of_class(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for _, attributes in self.elements if name in (attributes.get("class") or "").split()]


@pytest.fixture(scope="module")
def page() -> Page:
    return Page(render_report(sample_run(3)))


@pytest.mark.parametrize("count", [0, 1, 2, 3, 30])
def test_every_element_is_closed_and_every_id_is_there_once(count: int) -> None:
    page = Page(render_report(sample_run(count)))
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert page.open == []
    assert len(ids) == len(set(ids))
    named = {attributes.get("aria-labelledby") for _, attributes in page.elements} - {None}
    assert named <= set(ids)


@pytest.mark.parametrize("data", [sample_run(14), hostile_run()], ids=["sample", "hostile"])
def test_nothing_leads_out_of_the_file_but_relative_links(data: object) -> None:
    page = Page(render_report(data))  # type: ignore[arg-type]
    for tag, attributes in page.elements:
        for name in ("src", "href", "srcset", "action", "poster", "background", "data"):
            value = attributes.get(name)
            if value is None:
                continue
            assert "http://" not in value
            assert "https://" not in value
            assert value.startswith(("data:image/", "#", "./")), (tag, name, value)
    assert not page.all("iframe") + page.all("object") + page.all("form") + page.all("base")


def test_the_policy_names_the_only_style_and_script_by_digest() -> None:
    html = render_report(sample_run(2))
    policy = next(a["content"] for a in Page(html).all("meta") if a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert "unsafe" not in policy
    for tag in ("style", "script"):
        (inside,) = re.findall(rf"<{tag}>(.*?)</{tag}>", html, flags=re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert not [attributes for _, attributes in Page(html).elements if "style" in attributes]


def test_hostile_words_stay_words() -> None:
    page = Page(render_report(hostile_run()))
    assert len(page.all("script")) == 1
    assert all((image.get("src") or "").startswith("data:image/png;base64,") for image in page.all("img"))
    assert not [attributes for _, attributes in page.elements if any(name.startswith("on") for name in attributes)]
    assert HOSTILE in page.text
    links = [link["href"] for link in page.all("a") if (link["href"] or "").startswith("./")]
    assert links[1:] == ["./javascript%3Awindow.stolen%3D1", ".///outside.example/x.mp4"]


def test_characters_that_cannot_be_shown_are_replaced() -> None:
    item = replace(delivered("plain"), item="a\udcffb\x00c\u202egpj.exe", source="\x1b[31m")
    html = render_report(run_of((item,)))
    html.encode("utf-8")
    assert "a\ufffdb\ufffdc\ufffdgpj.exe" in html
    assert "\ufffd[31m" in html


def test_header_says_what_became_of_the_run() -> None:
    items = tuple(delivered(f"item-{number}") for number in range(12))
    page = Page(render_report(run_of((*items, failed("thirteenth")))))
    assert "13 pictures, 12 delivered, 1 failed" in page.text
    assert "Recipe packshot" in page.text
    assert "4 March 2026 05:06 UTC" in page.text
    assert "Took 1 min 23 s" in page.text
    assert "embedded-segmenter + embedded-matter (built in, needs no weights)" in page.text
    assert "USD" not in page.text  # nothing in it had to do with money


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        ([], "No pictures"),
        (["delivered"], "1 picture, 1 delivered"),
        (["failed", "stopped", "delivered", "delivered"], "4 pictures, 2 delivered, 1 stopped, 1 failed"),
        (["running", "held"], "2 pictures, 1 held, 1 running"),
    ],
)
def test_headline(statuses: list[str], expected: str) -> None:
    items = [replace(delivered("any"), status=status) for status in statuses]
    assert headline(items) == expected


@pytest.mark.parametrize("status", [*RUN_WORDS, "unheard_of"])
def test_every_status_renders(status: str) -> None:
    assert RUN_WORDS.get(status, "unheard_of") in Page(render_report(run_of((delivered("one"),), status=status))).text


def test_every_run_status_has_its_words() -> None:
    assert set(RUN_WORDS) == {
        "delivered", "failed", "partial", "unreadable", "running", "paused", "crashed", "cancelled",
        "interrupted",
    }  # fmt: skip


def test_an_empty_run_says_so() -> None:
    page = Page(render_report(run_of(())))
    assert "No pictures" in page.text
    assert "This run has no pictures." in page.text
    assert not page.all("article")
    assert not page.all("table")


def test_a_failed_item_shows_its_error_and_no_comparison() -> None:
    page = Page(render_report(run_of((failed("broken"),))))
    assert "Error: The file ends before the picture does; send it again." in page.text
    assert "truncated" in page.text
    assert "No picture to show" in page.text
    assert not page.all("img")


def test_one_item_needs_no_index_and_is_open() -> None:
    page = Page(render_report(sample_run(1)))
    assert len(page.all("article")) == 1
    assert not page.all("nav")
    assert "open" in page.all("details")[0]


def test_from_the_thirteenth_on_items_are_collapsed_and_pictures_wait() -> None:
    page = Page(render_report(sample_run(30)))
    assert ["open" in details for details in page.all("details")] == [True] * 12 + [False] * 18
    targets = [link["href"] for link in page.all("a") if (link["href"] or "").startswith("#item-")]
    assert targets == [f"#item-{number}" for number in range(1, 31)]
    assert all(image["loading"] == "lazy" and image["decoding"] == "async" for image in page.all("img"))


def test_comparison_is_a_named_range_between_two_described_pictures(page: Page) -> None:
    wipes = page.of_class("wipe")
    assert len(wipes) == 2
    assert wipes[0]["type"] == "range"
    assert "item-001" in (wipes[0]["aria-label"] or "")
    assert [image["alt"] for image in page.all("img")][:2] == ["item-001, before", "item-001, after: packshot"]
    assert [(image["width"], image["height"]) for image in page.all("img")][:2] == [("120", "80"), ("90", "90")]


def test_only_pictures_with_transparency_get_a_checkerboard(page: Page) -> None:
    assert ["clear" in (image["class"] or "") for image in page.all("img")] == [False, True] * 2


@pytest.mark.parametrize(("form", "mime"), [("PNG", "image/png"), ("JPEG", "image/jpeg"), ("WEBP", "image/webp")])
def test_pictures_are_inside_the_file(form: str, mime: str) -> None:
    data = encoded(30, 20, form=form)
    (image,) = Page(render_report(run_of((replace(delivered("one"), before=data, after=None),)))).all("img")
    assert image["src"] == f"data:{mime};base64,{base64.b64encode(data).decode()}"


@pytest.mark.parametrize("data", [b"", b"<svg onload=alert(1)>", encoded(9, 9)[:20], b"GIF89a" + bytes(40)])
def test_bytes_that_are_no_preview_are_left_out(data: bytes) -> None:
    page = Page(render_report(run_of((replace(delivered("one"), before=data, after=data),))))
    assert "No picture to show" in page.text


def test_files_are_listed_with_size_digest_and_link() -> None:
    files = [output("contact_sheet", "très bon/50%#?.webp", sha256="ab" * 32, width=1320, height=990, bytes=1500)]
    page = Page(render_report(run_of((replace(delivered("one"), outputs=files),))))
    assert "contact sheet" in page.text
    assert "1320 × 990" in page.text
    assert "1.5 kB" in page.text
    assert "abababababab…" in page.text
    assert "./tr%C3%A8s%20bon/50%25%23%3F.webp" in [link["href"] for link in page.all("a")]
    assert [button["data-copy"] for button in page.of_class("copy")] == ["ab" * 32]
    assert "ab" * 32 in [code.get("title") for code in page.all("code")]


def test_stages_show_cache_marks_and_reasons_to_skip() -> None:
    text = Page(render_report(run_of((delivered("one"),), stages_of("one", cached=True)))).text
    assert text.count("from the cache") == 3  # two stages and the header's count
    assert "2 from the cache" in text
    assert "the picture is large enough" in text
    assert "310.0 MB" in text


def test_totals_are_summed_by_stage() -> None:
    stages = (
        ReportStage("a", "cutout", None, 2.0, False, 1, None, 100, "cpu"),
        ReportStage("b", "cutout", None, 1.0, True, 1, None, 300, "cuda:0"),
        ReportStage("c", "cutout", None, 0.0, False, 0, "no object", None, "cpu"),
        ReportStage("a", "publish", None, 6.0, False, 1, None, None, "cpu"),
    )
    cutout, publish = stage_totals(stages)
    assert (cutout.stage, cutout.runs, cutout.cached, cutout.skipped) == ("cutout", 2, 1, 1)
    assert (cutout.seconds, cutout.longest, cutout.percent) == (3.0, 2.0, 50.0)
    assert (cutout.peak_memory_bytes, cutout.devices) == (300, "cpu, cuda:0")
    assert (publish.percent, publish.peak_memory_bytes) == (100.0, None)


def test_headings_step_down_one_level_at_a_time(page: Page) -> None:
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert page.all("html")[0]["lang"] == "en"


def test_reasons_without_a_level_count_as_warnings() -> None:
    item = ReportItem("one", "one.jpg", "delivered", [{"code": "c", "message": "Soft."}], None, None, None, [])
    assert "Warning: Soft." in Page(render_report(run_of((item,)))).text


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0, "0 ms"), (0.2404, "240 ms"), (0.9999, "1.0 s"), (4.24, "4.2 s"), (59.94, "59.9 s"), (59.96, "1 min 00 s"),
     (125, "2 min 05 s"), (3599.6, "1 h 00 min"), (3725, "1 h 02 min")],
)  # fmt: skip
def test_duration(seconds: float, expected: str) -> None:
    assert duration(seconds) == expected


@pytest.mark.parametrize(
    ("number", "expected"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (1500, "1.5 kB"), (999_949, "999.9 kB"), (999_960, "1.0 MB"),
     (12_345_678, "12.3 MB"), (5e9, "5.0 GB"), (2e12, "2.0 TB")],
)  # fmt: skip
def test_human_size(number: float, expected: str) -> None:
    assert human_size(number) == expected


@pytest.mark.parametrize(
    ("names", "weightless"),
    [("embedded", True), ("embedded-a + embedded-b", True), ("embedded-a + matte-base", False), ("matte-base", False)],
)
def test_only_embedded_models_need_no_weights(names: str, weightless: bool) -> None:
    assert ("needs no weights" in model_words(names)) is weightless


def test_moment_keeps_its_time_zone() -> None:
    when = datetime(2026, 11, 1, 3, 4, tzinfo=timezone(timedelta(hours=2), "CEST"))
    assert (day(when), clock(when)) == ("1 November 2026", "03:04 CEST")


@pytest.mark.parametrize(
    ("path", "expected"),
    [("a b.png", "./a%20b.png"), ("../up/x.png", "../up/x.png"), ("/root.png", ".//root.png"),
     ("mailto:x", "./mailto%3Ax"), ("caf\udce9.png", "./caf%E9.png"), ("..hidden", "./..hidden")],
)  # fmt: skip
def test_relative_link(path: str, expected: str) -> None:
    assert relative_link(path) == expected


@pytest.mark.parametrize(
    ("ratios", "box"), [([], "4-3"), ([1.0], "1-1"), ([0.5], "1-1"), ([1.5, 1.5], "3-2"), ([16.0, 4.0], "16-9"),
                        ([2.0, 0.5], "1-1")],
)  # fmt: skip
def test_box_for(ratios: list[float], box: str) -> None:
    assert box_for(ratios) == box


def test_three_hundred_items_render_in_reasonable_size() -> None:
    html = render_report(sample_run(300))
    assert html.count("<article") == 300
    assert len(html) < 4_000_000  # small previews; what is left is the page's own weight, below 14 kB an item
