"""``check``, ``quarantine`` and ``release`` as their users meet them."""

import getpass
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageFilter

from datasets.ledger import open_ledger
from datasets.settings import read_settings
from expectations.suites import INTAKE, SUITES
from tests.deployments.test_cli import stillmotion
from tests.flows.gated_runs import guarded_recipe, produce
from tests.photographs import save_product
from tests.shared_data import fixture

ROOT = Path(__file__).parents[2]


@pytest.fixture
def pictures(tmp_path: Path) -> dict[str, Path]:
    """A good photograph, and what can be wrong with it."""
    photo = Image.open(fixture("images/coffee.png")).convert("RGB")
    made = {
        "good": photo,
        "blurred": photo.filter(ImageFilter.GaussianBlur(12)),
        "dark": photo.point(lambda value: value * 0.01),
        "tiny": photo.resize((48, 32)),
    }
    for name, picture in made.items():
        picture.save(tmp_path / f"{name}.png")
    (tmp_path / "page.jpg").write_text("<!doctype html><title>log in</title>")
    return {name: tmp_path / f"{name}.png" for name in made} | {"page": tmp_path / "page.jpg"}


def asked(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, dict[str, Any]]:
    status, out, err = stillmotion(capsys, "check", *map(str, arguments), "--json")
    assert "Traceback" not in err
    return status, json.loads(out)


@pytest.mark.usefixtures("prefect_api")
def test_a_gate_says_of_each_photograph_what_it_makes_of_it(
    capsys: pytest.CaptureFixture[str], pictures: dict[str, Path]
) -> None:
    status, document = asked(capsys, *(pictures[name] for name in ("good", "blurred", "dark", "tiny")))
    assert (status, document["status"], document["gate"]) == (3, "partial", "intake")
    found = {item["item"]: item for item in document["items"]}
    assert {name: item["decision"] for name, item in found.items()} == {
        "good": "pass",
        "blurred": "warn",
        "dark": "stop",
        "tiny": "stop",
    }
    for item in found.values():
        assert set(item) == {"item", "decision", "measures", "expectations"}
        assert [each["expectation"] for each in item["expectations"]] == list(INTAKE.thresholds)
        for each in item["expectations"]:
            assert set(each) == {"expectation", "measure", "observed", "bound", "level", "success"}
            assert each["observed"] == item["measures"].get(each["measure"])
    failed = {
        name: {each["expectation"] for each in item["expectations"] if not each["success"]}
        for name, item in found.items()
    }
    assert failed["good"] == set()
    assert "sharp" in failed["blurred"]
    assert {"not_black", "not_dark"} <= failed["dark"]
    assert "large_enough" in failed["tiny"]
    assert (found["tiny"]["measures"]["short_side"], found["good"]["measures"]["width"]) == (32, 600)

    settings = read_settings()
    with open_ledger(settings.ledger).session(settings.tenant) as session:
        rows = session.gate_records(document["run_id"])
        assert {row.item: row.decision for row in rows} == {name: item["decision"] for name, item in found.items()}
        assert session.held() == []  # it was only asked

    status, out, _ = stillmotion(capsys, "check", *(str(pictures[name]) for name in ("good", "tiny", "page")))
    assert status == 1
    assert [line.split() for line in out.splitlines()[:3]] == [
        ["item", "decision", "not", "met", "observed", "expected"],
        ["good", "pass"],
        ["tiny", "stop", "large_enough", "32", "at", "least", "64.0"],
    ]
    assert "page: not an image (HTML)" in out


@pytest.mark.usefixtures("prefect_api")
def test_thresholds_from_a_file_and_data_docs_on_request(
    capsys: pytest.CaptureFixture[str], pictures: dict[str, Path], tmp_path: Path
) -> None:
    wanted, docs = tmp_path / "wanted.json", tmp_path / "docs"
    wanted.write_text(json.dumps({"intake": {"large_enough": {"min": 401}, "sharp": None}, "spend": {"edge": None}}))
    before = {path for path in tmp_path.iterdir() if path.name not in ("store", "stillmotion-output")}
    status, document = asked(capsys, pictures["good"], "--thresholds", wanted, "--docs", docs)
    (item,) = document["items"]
    assert (status, item["decision"], document["data_docs"]) == (3, "stop", str(docs / "index.html"))
    assert [each["expectation"] for each in item["expectations"] if not each["success"]] == ["large_enough"]
    assert "sharp" not in {each["expectation"] for each in item["expectations"]}
    after = {path for path in tmp_path.iterdir() if path.name not in ("store", "stillmotion-output")}
    assert after - before == {docs}
    assert "large_enough: stops the item" in (docs / "expectations" / "intake.html").read_text()
    (page,) = (docs / "validations").rglob("*.html")
    assert "Failed" in page.read_text()

    full = tmp_path / "mine"
    full.mkdir()
    (full / "index.html").write_text("my own page")
    status, document = asked(capsys, pictures["good"], "--docs", full)
    assert (status, document["reasons"][0]["code"]) == (2, "usage")
    assert (full / "index.html").read_text() == "my own page"


@pytest.mark.usefixtures("prefect_api")
def test_the_spend_gate_sees_the_cutout(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    plain = save_product(tmp_path / "plain.png", 300, 240)
    cut = Image.open(plain).convert("RGBA")
    cut.putalpha(Image.new("L", cut.size, 0))
    cut.save(tmp_path / "empty.png")
    status, document = asked(capsys, plain, tmp_path / "empty.png", "--gate", "spend", "--models", "embedded")
    plain_item, empty = document["items"]
    assert (status, plain_item["decision"]) == (3, "pass")
    assert plain_item["measures"]["coverage"] == pytest.approx(3.14159 * 72**2 / (300 * 240), rel=0.05)
    assert [each["expectation"] for each in plain_item["expectations"]] == list(SUITES["spend"].thresholds)
    assert empty["decision"] == "stop"
    assert empty["measures"]["coverage"] == 0
    assert {each["expectation"] for each in empty["expectations"] if each["success"] is False} >= {"object_found"}


@pytest.mark.usefixtures("prefect_api")
def test_what_cannot_be_checked_says_why(
    capsys: pytest.CaptureFixture[str], pictures: dict[str, Path], tmp_path: Path
) -> None:
    status, document = asked(capsys, pictures["page"])
    (item,) = document["items"]
    assert (status, document["status"], item["decision"]) == (2, "unreadable", "error")
    assert (item["measures"], item["reasons"][0]["code"]) == ({}, "not_an_image")

    wanted = tmp_path / "wanted.json"
    wanted.write_text(json.dumps({"intake": {"cut_out": {"measure": "coverage", "min": 0.1}}}))
    status, document = asked(capsys, pictures["good"], "--thresholds", wanted)
    (item,) = document["items"]
    assert (status, item["decision"], item["reasons"][0]["code"]) == (1, "error", "gate_not_evaluated")
    assert item["measures"]["width"] == 600  # what is known helps to see why

    for broken, words in (
        ('{"intake": {"sharp": {"min": "much"}}}', "sharp"),
        ('{"outtake": {}}', "outtake"),
        ('{"intake": 3}', "by gate and expectation"),
        ("[1", "JSON"),
    ):
        wanted.write_text(broken)
        status, _, err = stillmotion(capsys, "check", str(pictures["good"]), "--thresholds", str(wanted))
        assert (status, words in err, "Traceback" in err) == (2, True, False)


@pytest.mark.usefixtures("prefect_api")
def test_a_release_is_found_recorded_and_said_once(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    photo, other = save_product(tmp_path / "cup.png", 60, 50), save_product(tmp_path / "b" / "cup.png", 60, 50, hue=1)
    assert stillmotion(capsys, "quarantine")[:2] == (0, "nothing is held\n")
    first = produce(photo, recipe=guarded_recipe(), command="stillmotion product cup.png --recipe mine.json")
    (entry,) = json.loads(stillmotion(capsys, "quarantine", "--json")[1])
    assert (entry["item"], entry["gate"], entry["run_id"]) == ("cup", "intake", first.run_id)
    assert entry["reasons"][0]["facts"]["observed"] == 50
    assert entry["hold_key"][:12] in stillmotion(capsys, "quarantine")[1]

    produce(other, recipe=guarded_recipe())
    status, out, _ = stillmotion(capsys, "release", "cup", "--why", "it is small", "--json")
    refused = json.loads(out)["reasons"][0]
    assert (status, refused["code"]) == (2, "usage")
    assert {each["source"] for each in refused["facts"]["candidates"]} == {str(photo), str(other)}
    status, out, _ = stillmotion(capsys, "release", entry["hold_key"][:12], "--why", "it is small", "--json")
    document = json.loads(out)
    assert (status, document["status"], document["source"]) == (0, "released", str(photo))
    assert (document["released_by"], document["why"]) == (getpass.getuser(), "it is small")
    assert document["command"] == "stillmotion product cup.png --recipe mine.json"
    assert produce(photo, recipe=guarded_recipe()).items[0].status == "delivered"
    assert produce(other, recipe=guarded_recipe()).items[0].status == "stopped"

    status, out, _ = stillmotion(capsys, "release", entry["hold_key"][:12], "--why", "again")
    assert (status, "was released at the intake gate before" in out, "it is small" in out) == (0, True, True)
    assert len(json.loads(stillmotion(capsys, "quarantine", "--json")[1])) == 1
    assert len(json.loads(stillmotion(capsys, "quarantine", "--all", "--json")[1])) == 2
    status, out, _ = stillmotion(capsys, "release", "cup", "--gate", "intake", "--why", "this one, too")
    assert (status, "now run again" in out) == (0, True)  # only one of the name waits
    for wrong in (("saucer",), ("cup", "--gate", "spend"), ("abcdef",)):
        status, _, err = stillmotion(capsys, "release", *wrong, "--why", "x")
        assert (status, "[not_found]" in err, wrong[0] in err) == (1, True, True)
    assert stillmotion(capsys, "release", "cup", "--why", " ")[0] == 2


@pytest.mark.usefixtures("prefect_api")
def test_the_same_picture_stopped_under_two_names_is_released_by_either(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    one, two = save_product(tmp_path / "one.png", 60, 50), save_product(tmp_path / "two.png", 60, 50)
    stopped = produce(one, two, recipe=guarded_recipe())
    assert [item.status for item in stopped.items] == ["stopped", "stopped"]
    held = json.loads(stillmotion(capsys, "quarantine", "--json")[1])
    (forgotten,) = {"one", "two"} - {entry["item"] for entry in held}  # one picture is one entry
    assert stillmotion(capsys, "release", forgotten, "--run", stopped.run_id[:8], "--why", "fine")[0] == 0
    assert [item.status for item in produce(one, two, recipe=guarded_recipe()).items] == ["delivered", "delivered"]


def test_listing_and_releasing_import_neither_prefect_nor_what_gates_need(tmp_path: Path) -> None:
    code = """
import sys
from deployments.cli.main import entry
try:
    entry()
finally:
    print(*sys.modules, file=sys.stderr)
"""
    own = {**os.environ, "PYTHONPATH": str(ROOT)}
    for arguments in (("quarantine",), ("release", "cup", "--why", "x")):
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments], capture_output=True, text=True, env=own, check=False
        )
        loaded = set(done.stderr.splitlines()[-1].split())
        assert "datasets.ledger" in loaded
        assert not {"prefect", "great_expectations", "polars", "pandas", "torch"} & loaded
