"""What the command opens and whom it calls, seen by an audit hook in its process."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.photographs import save_product
from tests.shared_data import fixture

ROOT = Path(__file__).parents[2]
HOOK = """
import json, os, sys
_log = os.open(os.environ["AUDIT_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
def _hook(event, arguments):
    if event == "open" and isinstance(arguments[0], (str, bytes)):
        os.write(_log, (json.dumps(["open", os.fsdecode(arguments[0])]) + "\\n").encode())
    elif event == "socket.connect":
        os.write(_log, (json.dumps(["connect", repr(arguments[1])]) + "\\n").encode())
    elif event in ("subprocess.Popen", "os.system"):
        os.write(_log, (json.dumps([event, repr(arguments[0])]) + "\\n").encode())
sys.addaudithook(_hook)
"""


@pytest.mark.usefixtures("prefect_api")
def test_only_the_given_paths_are_opened_and_only_loopback_is_called(tmp_path: Path) -> None:
    folder = tmp_path / "given"
    shutil.copytree(fixture("hostile"), folder)
    neighbour = save_product(folder / "neighbour.png")  # lies beside them and was not given
    given = [
        folder / name for name in ("playlist.m3u8", "script.svg", "polyglot_zip.jpg", "zip_slip.zip", "gray16.png")
    ]
    (tmp_path / "hook").mkdir()
    (tmp_path / "hook" / "sitecustomize.py").write_text(HOOK)
    (tmp_path / "recipe.json").write_text(json.dumps([{"stage": "publish", "format": "png"}]))
    log = tmp_path / "audit.log"
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "deployments.cli",
            "product",
            *map(str, given),
            "--recipe",
            str(tmp_path / "recipe.json"),
        ],
        env={**os.environ, "PYTHONPATH": f"{tmp_path / 'hook'}:{ROOT}", "AUDIT_LOG": str(log)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr  # some are refused
    events = [json.loads(line) for line in log.read_text().splitlines()]
    opened = {path for event, path in events if event == "open" and Path(path).is_relative_to(folder)}
    assert opened == {str(path) for path in given}
    assert str(neighbour) not in opened
    outside = [
        where for event, where in events if event == "connect" and "127.0.0.1" not in where and "::1" not in where
    ]
    assert outside == []
    assert [event for event, _ in events if event in ("subprocess.Popen", "os.system")] == []
    assert [path for event, path in events if event == "open" and path in ("/etc/passwd", "/etc/hostname")] == []
