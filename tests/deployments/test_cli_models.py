"""``stillmotion models`` and ``--weights`` on a registry with a model that takes weights."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from datasets.errors import ModelUnknownError, UsageError
from deployments.cli.models import models
from deployments.cli.options import _weights
from deployments.cli.pulling import Lines
from model_blocks import registry
from tests.model_blocks.test_weight_containers import zipped
from tests.model_blocks.test_weights import Payload, torch_bytes

DATA = b"weights" * 1000
FACTS = replace(
    registry.MODELS[-1],
    name="net",
    embedded=False,
    file_url="http://127.0.0.1:9/net.pth",
    file_name="net.pth",
    container_key=None,
    archive_member=None,
    inert_classes=(),
    sha256=hashlib.sha256(DATA).hexdigest(),
    bytes=7000,
    licence="S-Lab-1.0",
    purposes=("research",),
)


@pytest.fixture(autouse=True)
def _registry(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(registry, "MODELS", (*registry.MODELS[:1], FACTS))
    monkeypatch.setenv("STILLMOTION_WEIGHTS_DIR", str(tmp_path / "weights"))
    monkeypatch.setenv("STILLMOTION_WEIGHTS_MIRROR", str(tmp_path / "mirror"))
    monkeypatch.setattr("model_blocks.download.PAUSE_S", 0.0)
    (tmp_path / "mirror").mkdir()
    (tmp_path / "mirror" / "net.pth").write_bytes(DATA)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(models, arguments, standalone_mode=False)


def test_pull_then_check_then_list(tmp_path: Path) -> None:
    assert run("check").return_value == 0  # missing and not asked for
    assert run("check", "net").return_value == 1
    first = run("pull", "net")
    assert (first.return_value, "verified" in first.stdout) == (0, True)
    assert "100 %" in first.stderr
    again = json.loads(run("pull", "--all", "--json").stdout)
    assert [(entry["name"], entry["status"]) for entry in again] == [("net", "present")]
    assert run("check", "net").return_value == 0
    (tmp_path / "weights" / "net.pth").write_bytes(b"x" * 7000)
    checked = run("check", "--json")
    assert checked.return_value == 1
    assert json.loads(checked.stdout)[0]["presence"] == "damaged"


def test_the_list_tells_size_purpose_digest_and_presence() -> None:
    lines = run("list").stdout.splitlines()
    for word in ("missing", "7.0 KB", str(FACTS.sha256)[:12], "research"):
        assert word in lines[2]
    assert "needs none" in lines[1]
    assert [entry["present"] for entry in json.loads(run("list", "--json").stdout)] == [True, False]


def test_a_failed_pull_is_exit_status_1_with_its_code(tmp_path: Path) -> None:
    (tmp_path / "mirror" / "net.pth").write_bytes(DATA[::-1])
    failed = run("pull", "net", "--json")
    assert failed.return_value == 1
    assert json.loads(failed.stdout)[0]["reason"]["code"] == "weights_digest"


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (DATA, "weights_damaged"),
        (torch_bytes({"a": Payload(Path("canary").absolute())}), "weights_unsafe"),
        (zipped(("a/net.ckpt", DATA), ("b/net.ckpt", DATA)), "weights_keys"),
        (zipped(("net.ckpt", bytes(9_000_000))), "weights_unsafe"),
    ],
    ids=["no weights", "code", "two files", "unpacks to much more"],
)
def test_a_file_that_holds_no_weights_is_refused_by_its_code(
    data: bytes, code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unknown = replace(FACTS, sha256=None, bytes=None, archive_member="net.ckpt")
    monkeypatch.setattr(registry, "MODELS", (*registry.MODELS[:1], unknown))
    (tmp_path / "mirror" / "net.pth").write_bytes(data)
    failed = run("pull", "net", "--json")
    assert failed.return_value == 1
    assert json.loads(failed.stdout)[0]["reason"]["code"] == code
    assert not (tmp_path / "weights" / "net.pth").exists()
    assert run("check", "net").return_value == 1  # missing
    (tmp_path / "weights" / "net.pth").write_bytes(data)  # put there by hand
    assert json.loads(run("check", "net", "--json").stdout)[0]["presence"] == "damaged"


def test_bad_usage_is_refused() -> None:
    assert isinstance(run("pull").exception, UsageError)
    assert isinstance(run("pull", "net", "--all").exception, UsageError)
    assert isinstance(run("pull", "embedded-segmenter").exception, UsageError)
    assert isinstance(run("pull", "nonsense").exception, ModelUnknownError)
    assert isinstance(run("pull", "--nonsense").exception, click.UsageError)


def test_given_weights_become_absolute_paths(tmp_path: Path) -> None:
    (tmp_path / "mine.pth").write_bytes(b"x")
    assert _weights(("net=mine.pth",)) == {"net": str(tmp_path / "mine.pth")}
    with pytest.raises(UsageError, match="not there"):
        _weights(("net=other.pth",))
    with pytest.raises(UsageError, match="two files"):
        _weights(("net=mine.pth", "net=mirror/net.pth"))


def test_plain_progress_says_what_is_left(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 0.0, 10.0])
    monkeypatch.setattr("deployments.cli.pulling.time.monotonic", lambda: next(clock))
    lines = Lines("net")
    lines(1_000_000, 4_000_000)
    lines(2_000_000, 4_000_000)
    assert capsys.readouterr().err == "net: 2.0 MB of 4.0 MB, 50 %, about 20 s left\n"
