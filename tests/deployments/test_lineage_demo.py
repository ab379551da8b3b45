"""``lineage``, ``verify`` and ``rebuild`` on every output of the demo, photographs and clip."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from datasets.lineage.beside import ENDING, FOLDER, record_path
from tests.deployments.test_cli import stillmotion

pytestmark = [pytest.mark.usefixtures("prefect_api"), pytest.mark.slow]


def outputs_of(document: dict[str, Any]) -> list[Path]:
    return [Path(output["path"]) for item in document["items"] for output in item["outputs"]]


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_every_output_of_the_demo_has_a_lineage_holds_and_is_made_again(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    status, out, err = stillmotion(capsys, "demo", "--out", "demo", "--json")
    assert status == 0, err
    document = json.loads(out)
    ways = [
        (digest(Path("demo/coffee.png")), outputs_of(document)),
        (digest(Path("demo/clip/coffee-camera.mp4")), outputs_of(document["clip"])),
    ]
    assert {path.suffix for _, paths in ways for path in paths} >= {".png", ".jpg", ".webp", ".mp4"}
    for original, paths in ways:
        for path in paths:
            status, out, err = stillmotion(capsys, "lineage", str(path))
            assert (status, original in out) == (0, True), err
            status, out, err = stillmotion(capsys, "verify", str(path), "--json")
            assert (status, json.loads(out)["notes"]) == (0, []), out
            status, out, err = stillmotion(capsys, "rebuild", str(record_path(path)), "--out", "again", "--json")
            assert (status, digest(Path(json.loads(out)["file"]))) == (0, digest(path)), out + err
    records = {path.name for path in Path("demo").rglob(f"{FOLDER}/*{ENDING}")}
    assert records == {f"{path.name}{ENDING}" for _, paths in ways for path in paths}
