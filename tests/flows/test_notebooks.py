"""The notebooks: stripped, self-contained, and executed from the first cell to the last."""

import json
import os
import re
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest

from datasets.facts import Facts
from datasets.ledger import open_ledger
from datasets.storage import open_storage
from tests.flows.house import KEPT, ROOT
from tests.run_notebook import cells_of

NOTEBOOKS = ROOT / "notebooks"
NAMES = ("first_steps", "catalogue_quality_and_cost")
C = pl.col


def test_there_are_no_others() -> None:
    assert {path.stem for path in NOTEBOOKS.glob("*.ipynb")} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_is_kept_without_outputs_and_says_nothing_of_a_machine(name: str) -> None:
    path = NOTEBOOKS / f"{name}.ipynb"
    document = json.loads(path.read_text(encoding="utf-8"))
    assert (document["nbformat"], document["nbformat_minor"]) == (4, 5)
    cells = cells_of(path)
    assert len({cell["id"] for cell in cells}) == len(cells)
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)
    text = "".join(line for cell in cells for line in cell["source"])
    assert not re.search(r"/(home|tmp|work|root|Users)/|https?://(?!127\.0\.0\.1)", text)


@pytest.fixture
def house(tmp_path: Path) -> dict[str, str]:
    """The environment of a fresh machine: nothing is there, and nothing of this one is known."""
    kept = {name: value for name, value in os.environ.items() if name in KEPT}
    return kept | {
        "HOME": str(tmp_path / "home"), "PYTHONPATH": str(ROOT), "PREFECT_HOME": str(tmp_path / "prefect"),
        "STILLMOTION_STORAGE_ROOT": str(tmp_path / "store"), "DO_NOT_TRACK": "1",
    }  # fmt: skip


def executed(name: str, folder: Path, environment: dict[str, str]) -> tuple[list[str], str]:
    """The texts of all results of a notebook's cells, and the page with its tables and pictures."""
    work, page = folder / "work", folder / f"{name}.html"
    work.mkdir()
    command = [sys.executable, "-m", "tests.run_notebook", str(NOTEBOOKS / f"{name}.ipynb"), str(page)]
    done = subprocess.run(command, cwd=work, env=environment, capture_output=True, text=True, timeout=1200, check=False)
    assert done.returncode == 0, done.stderr
    shown: list[str] = json.loads(done.stdout.splitlines()[-1])
    return shown, page.read_text(encoding="utf-8")


def facts_of(environment: dict[str, str], tenant: str) -> Facts:
    root = environment["STILLMOTION_STORAGE_ROOT"]
    return Facts(open_ledger(f"sqlite:///{root}/ledger.db"), open_storage(root, tenant))


@pytest.mark.slow
def test_first_steps(house: dict[str, str], tmp_path: Path) -> None:
    shown, page = executed("first_steps", tmp_path, house)
    assert shown[1] == "coffee: source, packshot, 2000 × 2000"
    share = next(int(found[1]) for each in shown if (found := re.match(r"'(\d+)% of the photograph", each)))
    assert 25 < share < 50  # counted by eye: the cup and its saucer take about a third
    assert page.count("data:image/webp") == 1 + 2  # the run's row, source and packshot
    facts = facts_of(house, "default")
    first, again = facts.runs().sort("started_at").select("run_id").collect()["run_id"]
    per_run = facts.stages().group_by("run_id").agg(C("cached").sum(), pl.len()).collect()
    counts = {row[0]: row[1:] for row in per_run.rows()}
    assert counts[first] == (0, 6)  # intake, cutout, upscale, compose, publish, thumbnails
    assert counts[again] == (6, 6)
    assert (tmp_path / "work/first-steps/coffee-packshot.jpg").is_file()


@pytest.mark.slow
def test_quality_and_cost_of_a_catalogue(house: dict[str, str], tmp_path: Path) -> None:
    shown, page = executed("catalogue_quality_and_cost", tmp_path, house)
    # Eight photographs: five are bought for 0.039 each, the blurred and the dark one are stopped, one cannot be read.
    assert "'5 pictures for 0.195000 US dollars: 0.0390 each'" in shown
    assert "cup-280: source, placed, 384 × 384" in shown
    assert "not an image" in page
    facts = facts_of(house, "notebook-example")
    first, second = facts.runs().sort("started_at").select("run_id").collect()["run_id"]
    money = facts.spend().group_by("run_id").agg(C("charged_usd", "avoided_usd").sum()).collect()
    sums = {row[0]: row[1:] for row in money.rows()}
    assert sums[first] == (Decimal("0.195"), Decimal("0.078"))  # two stopped
    assert sums[second] == (Decimal("0.000"), Decimal("0.273"))  # all seven that can be read
    statuses = facts.items().filter(C("run_id") == first).sort("item").select("item", "status").collect()
    assert [name for name, status in statuses.rows() if status == "stopped"] == ["cup-blurred", "cup-dark"]
    assert facts_of(house, "default").runs().collect().is_empty()
