"""The Prefect UI of ``stillmotion serve`` in a real browser: a run is started from the form, its artifacts are seen."""

import os
import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Page

from tests.browsers import browser
from tests.deployments.served import Served, deployment, ended, eventually, serving
from tests.photographs import save_product

__all__ = ["browser"]  # the fixture is shared by its name

pytestmark = pytest.mark.slow

PATIENCE_MS = 120_000  # the UI is megabytes of script, from a server that does other things as well
PICTURES = "[...document.images].filter(i => i.src.startsWith('data:image/')).map(i => i.naturalWidth)"
SHOTS = os.environ.get("SHOTS")  # a folder for what the browser showed, to be looked at


def test_a_run_from_the_form_and_its_artifacts(browser: Browser, tmp_path: Path) -> None:
    photo = save_product(tmp_path / "cup.png", 320, 240)
    with serving(tmp_path / "served", "--port", "42547") as served, served.client() as client:
        page = browser.new_page(viewport={"width": 1400, "height": 1000})
        page.set_default_timeout(PATIENCE_MS)
        answers = list[str]()
        page.on("response", lambda response: answers.append(response.url))
        _log_in(page, served)
        _sees_the_deployments(page, served)
        _fills_in_the_form(page, photo, tmp_path / "out")
        run = _newest_run(client)
        assert run["parameters"]["order"]["recipe"] == "thumbnails"
        assert ended(client, run["id"])["state_type"] == "COMPLETED"
        _sees_the_artifacts(page, served, client, run["id"])
        local = (served.address, "data:", "blob:")
        assert [url for url in answers if not url.startswith(local)] == []  # the UI spoke to nobody else
        page.close()


def _log_in(page: Page, served: Served) -> None:
    page.goto(served.address)
    page.get_by_placeholder("admin:pass").fill(served.password)
    page.get_by_role("button", name="Login").click()
    page.wait_for_url("**/dashboard**")


def _sees_the_deployments(page: Page, served: Served) -> None:
    page.goto(f"{served.address}/v2/deployments")
    for name in ("product", "catalogue", "video", "upkeep"):
        page.locator("a[href*='/deployments/deployment/']", has_text=name).first.wait_for()
    _shot(page, "deployments")
    page.locator("a[href*='/deployments/deployment/']", has_text="product").first.click()


def _fills_in_the_form(page: Page, photo: Path, out: Path) -> None:
    page.get_by_role("button", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Custom run").click()
    page.get_by_text("photo.jpg", exact=True).fill(str(photo))
    page.locator("textarea", has_text="stillmotion-output").fill(str(out))
    page.locator("button", has_text="packshot").click()
    page.get_by_role("option", name="thumbnails", exact=True).click()
    text = page.inner_text("body")
    assert text.index("Paths of the photographs.") < text.index("Folder for the results")  # what matters stands first
    _shot(page, "form")
    page.get_by_role("button", name="Submit").click()
    page.get_by_text(re.compile("scheduled to start")).wait_for()


def _newest_run(client: httpx.Client) -> dict[str, Any]:
    where = deployment(client, "product/product")["id"]
    asked = {"flow_runs": {"deployment_id": {"any_": [where]}}, "sort": "START_TIME_DESC", "limit": 1}
    return dict(client.post("/flow_runs/filter", json=asked).json()[0])


def _sees_the_artifacts(page: Page, served: Served, client: httpx.Client, run: str) -> None:
    asked = {"artifacts": {"flow_run_id": {"any_": [run]}}}
    artifacts = {each["key"]: each["id"] for each in client.post("/artifacts/filter", json=asked).json()}
    assert {"before-after", "stages", "summary"} <= set(artifacts)
    page.goto(f"{served.address}/v2/artifacts/artifact/{artifacts['before-after']}")
    assert len(eventually(lambda: page.evaluate(PICTURES), timeout_s=120)) == 2
    assert min(page.evaluate(PICTURES)) > 0
    _shot(page, "pictures")
    page.goto(f"{served.address}/v2/artifacts/artifact/{artifacts['stages']}")
    page.get_by_role("cell", name="thumbnails").first.wait_for()
    _shot(page, "table")
    page.goto(f"{served.address}/v2/artifacts/artifact/{artifacts['summary']}")
    page.get_by_test_id("markdown-display").get_by_text("Cost:").wait_for()
    _shot(page, "cost")


def _shot(page: Page, name: str) -> None:
    if SHOTS is not None:
        page.screenshot(path=Path(SHOTS) / f"{name}.png", full_page=True)
