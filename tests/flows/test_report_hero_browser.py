"""The report of real runs with a paid service, in a real browser: money, stops and what waits, by day and by night."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFilter
from playwright.sync_api import Browser, Page, expect

from tests.browsers import browser
from tests.flows.commands import ROOT
from tests.flows.test_report_browser import CONTRASTS
from tests.services.paid_adapters import JSON_REPLY, LOOK_UP, facts
from tests.services.paid_process import serve_apart
from tests.services.paid_service import API_KEY, KEY_HEADER, Rules, Service
from tests.shared_data import fixture

__all__ = ["browser"]  # the fixture is shared by its name

pytestmark = pytest.mark.slow

PRICE = 39_000  # micro-USD of one picture
OPEN = "document.querySelectorAll('details').forEach((details) => { details.open = true; })"


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> "Shop":
    """Two runs: one buys the cup; the next, with money for one picture, meets it again among others."""
    folder = tmp_path_factory.mktemp("shop")
    rules = Rules(keys=True, look_up=True, price_micro_usd=PRICE)
    with serve_apart(folder / "service", rules) as service:
        shop = Shop(folder, service, rules)
        shop.run([shop.photos["cup"]])
        shop.document = shop.run(list(shop.photos.values()), "--budget", "0.039")
        shop.charges = service.totals["charges"]
    return shop


class Shop:
    """An installation of its own with photographs of every fate."""

    def __init__(self, folder: Path, service: Service, rules: Rules) -> None:
        self.folder = folder
        self.photos = _photos(folder / "shelf")
        self.document: dict[str, Any] = {}
        self.charges = 0
        form = {"path": "/v1/images", "body": "json", "key_header": KEY_HEADER, "reply": JSON_REPLY, "look_up": LOOK_UP}
        declared = {"kind": "generic_http", "credential": "paid-key", "declaration": facts(service.url, rules)}
        (folder / "service.json").write_text(json.dumps({**declared, "form": form}))
        self._command("secrets", "set", "paid-key", said=API_KEY)

    def run(self, photos: list[Path], *options: str) -> dict[str, Any]:
        out = str(self.folder / "out")
        printed = self._command("product", *map(str, photos), "--recipe", "hero", "--out", out, "--json", *options)
        document: dict[str, Any] = json.loads(printed)
        return document

    def report_again(self) -> str:
        path = self.folder / "out" / "again.html"
        self._command("report", self.document["run_id"], "--out", str(path))
        return path.read_text(encoding="utf-8")

    def _command(self, *words: str, said: str = "") -> str:
        own = {
            "PYTHONPATH": str(ROOT),
            "PREFECT_HOME": str(self.folder / "prefect"),
            "STILLMOTION_STORAGE_ROOT": str(self.folder / "store"),
            "STILLMOTION_MASTER_KEY_FILE": str(self.folder / "key"),
            "STILLMOTION_PAID_CALLS": "1",  # with one worker two items are on their way, in the order given
            "STILLMOTION_PLACE_SERVICE": str(self.folder / "service.json"),
        }
        command = [sys.executable, "-m", "deployments.cli", *words]
        done = subprocess.run(
            command, env={**os.environ, **own}, input=said, capture_output=True, text=True, check=False
        )
        assert done.returncode in (0, 3), done.stderr[-2000:]
        return done.stdout


def _photos(folder: Path) -> dict[str, Path]:
    """A cup, the same with one pixel a little different, a blurred one, and two more products."""
    folder.mkdir()
    names = {"cup": "coffee.png", "mug": "saleor_mug.png", "juice": "saleor_apple_drink.png"}
    made: dict[str, Image.Image] = {name: Image.open(fixture(f"images/{file}")) for name, file in names.items()}
    for picture in made.values():
        picture.thumbnail((420, 420))
    cup = made["cup"].convert("RGB")
    values = np.array(cup)
    values[140, 200] ^= 1
    twins = {"cup": cup, "cup-again": Image.fromarray(values), "blurred": cup.filter(ImageFilter.GaussianBlur(9))}
    made = twins | {name: made[name] for name in ("mug", "juice")}  # the money is still there when the twin comes
    for name, picture in made.items():
        picture.save(folder / f"{name}.png")
    return {name: folder / f"{name}.png" for name in made}


def opened(browser: Browser, path: Path, **context: Any) -> tuple[Page, list[str]]:
    """The page, and everything it asked for or complained about."""
    page, noted = browser.new_context(**context).new_page(), list[str]()
    page.on("request", lambda request: None if request.url.startswith("data:") else noted.append(request.url))
    page.on("console", lambda message: noted.append(message.text))
    page.on("pageerror", lambda error: noted.append(str(error)))
    page.goto(path.as_uri())
    page.evaluate(OPEN)
    page.evaluate("for (const picture of document.images) picture.loading = 'eager'")
    page.evaluate("Promise.all([...document.images].map((picture) => picture.decode()))")
    return page, noted


@pytest.fixture
def report(shop: "Shop") -> Path:
    return Path(shop.document["report"])


def test_the_items_came_to_every_end(shop: "Shop") -> None:
    ends = {
        item["item"]: (item["status"], [reason["code"] for reason in item["reasons"]])
        for item in shop.document["items"]
    }
    assert ends["cup"][0] == "delivered"
    assert ends["cup-again"] == ("stopped", ["not_bought_already"])
    assert ends["blurred"][0] == "stopped"
    assert "sharp" in ends["blurred"][1]
    assert sorted(ends[name][0] for name in ("mug", "juice")) == ["deferred", "delivered"]
    assert shop.charges == 2  # the cup in the first run, and one of the two others


def test_the_page_says_what_was_spent_and_avoided(shop: "Shop", report: Path, browser: Browser) -> None:
    page, noted = opened(browser, report)
    rows = [
        [cell.inner_text().split("\n")[0].strip() for cell in row.locator("th, td").all()]
        for row in page.locator(".books .sums tbody tr").all()
    ]
    assert rows == [
        ["Spent", "1", "0.039"],
        ["From the cache", "1", "0.039"],
        ["Duplicates", "1", "0.039"],
        ["Stopped by a guardrail", "1", "0.039"],
        ["Avoided, gross", "3", "0.117"],
        ["What the checks cost", "", "0.000"],
        ["Avoided, net", "", "0.117"],
    ]
    assert "0.039 USD" in page.locator(".purse").inner_text()  # the budget
    assert "0.000 USD" in page.locator(".purse").inner_text()  # what is left of it
    widths = page.locator(".split rect").evaluate_all(
        "(parts) => parts.map((part) => part.getBoundingClientRect().width)"
    )
    assert widths == pytest.approx([sum(widths) / 4] * 4, rel=0.01)
    assert noted == [report.as_uri()]
    page.context.close()


def test_numbers_stand_below_each_other(report: Path, browser: Browser) -> None:
    page, _ = opened(browser, report)
    for table in page.locator(".money .sums").all():
        edges = table.locator("td:last-child").evaluate_all(
            "(cells) => cells.map((cell) => { const range = document.createRange(); range.selectNodeContents(cell);"
            " return range.getBoundingClientRect().right; })"
        )
        assert max(edges) - min(edges) < 1
        figures = table.locator("td:last-child").first.evaluate("(cell) => getComputedStyle(cell).fontVariantNumeric")
        assert figures == "tabular-nums"
    page.context.close()


def test_a_stopped_item_shows_what_was_measured_and_how_to_release_it(report: Path, browser: Browser) -> None:
    page, _ = opened(browser, report, permissions=["clipboard-read", "clipboard-write"])
    item = page.locator("article", has=page.locator("h3", has_text="blurred"))
    shown = item.locator("img").evaluate_all(
        "(pictures) => pictures.map((each) => [each.alt, each.naturalWidth, each.checkVisibility()])"
    )
    assert shown == [["blurred, before", 420, True], ["blurred, checked and not published", 960, True]]
    assert "It is not sharp." in item.inner_text()
    item.locator(".do .copy").click()
    expect(page.locator("#said")).to_have_text("The command was copied.")
    assert page.evaluate("navigator.clipboard.readText()") == 'stillmotion release blurred --why "..."'
    again = page.locator("article", has=page.locator("h3", has_text="cup-again"))
    again.locator(".end a").click()
    assert page.evaluate("location.hash") == "#item-1"
    page.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 360, 1280])
def test_nothing_sticks_out_and_all_of_it_can_be_read(
    report: Path,
    browser: Browser,
    width: int,
    scheme: Any,
) -> None:
    page, noted = opened(browser, report, viewport={"width": width, "height": 900}, color_scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert [(ratio, words) for ratio, words in page.evaluate(CONTRASTS) if ratio < 4.5] == []
    assert noted == [report.as_uri()]
    page.context.close()


def test_the_same_page_can_be_written_later(shop: "Shop", report: Path) -> None:
    assert shop.report_again() == report.read_text(encoding="utf-8")
