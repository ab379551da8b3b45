"""``stillmotion secrets``: values come from standard input or a prompt and are never printed."""

import json
import os
import pty
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from datasets.errors import UsageError
from datasets.settings import read_settings
from datasets.vault import open_vault
from datasets.vault_errors import SecretMissingError
from deployments.cli.secrets import secrets
from tests.datasets.vaults import new_tenant, new_value

pytestmark = pytest.mark.usefixtures("prefect_api")
ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def tenant(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    name = new_tenant()
    monkeypatch.setenv("STILLMOTION_TENANT", name)
    monkeypatch.setenv("STILLMOTION_MASTER_KEY_FILE", str(tmp_path / "keys" / "master.key"))
    return name


def run(*arguments: str, stdin: str | bytes | None = None) -> Result:
    return CliRunner().invoke(secrets, arguments, input=stdin, standalone_mode=False)


def document(*arguments: str, stdin: str | None = None) -> Any:
    done = run(*arguments, "--json", stdin=stdin)
    assert (done.exception, done.return_value) == (None, 0)
    return json.loads(done.stdout)


def revealed(name: str, version: int | None = None) -> str:
    return open_vault(read_settings(), reader="run-7").get(name, version=version, purpose="test").reveal()


def test_set_list_rotate_retire_audit() -> None:
    first, second = new_value(), new_value()
    made = document("set", "api", "--expires", "30d", "--rotate-every", "12w", stdin=f"{first}\n")
    assert made == {"name": "api", "version": 1, "state": "current"}
    assert revealed("api") == first
    assert document("rotate", "api", "--grace", "2h", stdin=second)["version"] == 2
    assert (revealed("api"), revealed("api", 1)) == (second, first)
    listed = document("list")
    assert [(each["version"], each["state"], each["rotate_every_s"]) for each in listed["secrets"]] == [
        (2, "current", 12 * 7 * 86400),
        (1, "grace", 12 * 7 * 86400),
    ]
    assert listed["secrets"][0]["expires_at"] is None
    assert 0 <= listed["secrets"][1]["age_s"] < 600
    assert document("retire", "api", "1") == {"name": "api", "version": 1, "state": "retired"}
    assert [each["state"] for each in document("list")["secrets"]] == ["current", "retired"]
    audit = document("audit")
    assert [(row["version"], row["reader"], row["outcome"]) for row in audit] == [
        (1, "run-7", "read"),
        (2, "run-7", "read"),
        (1, "run-7", "read"),
    ]
    in_words = run("list").stdout + run("audit", "--name", "api", "--limit", "2").stdout
    assert re.search(r"api +2 +current +\d+s", in_words)
    assert in_words.count("run-7") == 2
    everything = in_words + json.dumps([listed, audit])
    assert first not in everything
    assert second not in everything


def test_what_is_due_is_said() -> None:
    run("set", "api", "--expires", "20s", stdin=new_value())
    assert document("list")["warnings"] == []  # the last fifth is 4 s
    ends = json.loads(run("list", "--json").stdout)["secrets"][0]["expires_at"]
    run("set", "soon", "--expires", "1s", "--rotate-every", "1s", stdin=new_value())
    time.sleep(1.1)
    listed = run("list")
    assert "'soon' ended at" in listed.stderr
    assert "[secret_rotation_due]" in listed.stderr
    assert re.search(r"soon +1 +expired", listed.stdout)
    assert ends.endswith("+00:00")


def test_a_value_on_the_command_line_is_refused_and_not_repeated() -> None:
    value = new_value()
    for command in ("set", "rotate"):
        refused = run(command, "api", value)
        assert isinstance(refused.exception, UsageError)
        assert value not in f"{refused.exception}{refused.output}"
    assert document("list")["secrets"] == []


@pytest.mark.parametrize(
    ("arguments", "stdin"),
    [
        (("set", "api"), ""),
        (("set", "api"), "short\n"),
        (("set", "api"), b"\xff\xfe12345678"),
        (("set", "api"), "x" * 200_000),
        (("set", "Not a name"), "long enough\n"),
        (("set", "api", "--expires", "tomorrow"), "long enough\n"),
        (("set", "api", "--expires", "2001-01-01"), "long enough\n"),
        (("set", "api", "--rotate-every", "90"), "long enough\n"),
        (("rotate", "api", "--grace", "-1h"), "long enough\n"),
    ],
)
def test_bad_usage_is_refused(arguments: tuple[str, ...], stdin: str | bytes) -> None:
    refused = run(*arguments, stdin=stdin)
    assert isinstance(refused.exception, UsageError)
    assert "long enough" not in str(refused.exception)


def test_what_is_not_there_is_said() -> None:
    assert isinstance(run("rotate", "api", stdin=new_value()).exception, SecretMissingError)
    assert isinstance(run("retire", "api", "1").exception, SecretMissingError)
    assert isinstance(run("retire", "api", "0").exception, click.UsageError)
    assert document("audit") == []


def test_a_terminal_is_asked_twice_without_echo() -> None:
    """On a real terminal: what is typed does not come back on it."""
    value = new_value()
    main, other = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "deployments.cli", "secrets", "set", "typed"],
        stdin=other, stdout=other, stderr=other, start_new_session=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    os.close(other)
    shown = b""
    for prompt in (b"value of typed:", b"Repeat"):
        while prompt not in shown:
            shown += os.read(main, 1024)
        os.write(main, f"{value}\n".encode())
    try:
        while more := os.read(main, 1024):
            shown += more
    except OSError:  # the other end is closed
        pass
    assert process.wait(60) == 0, shown
    assert b"version 1 is current" in shown
    assert value.encode() not in shown
    assert revealed("typed") == value


def test_the_command_refuses_in_a_sentence_with_a_code() -> None:
    value = new_value()
    done = subprocess.run(
        [sys.executable, "-m", "deployments.cli", "secrets", "set", "api", value, "--json"],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert json.loads(done.stdout)["reasons"][0]["code"] == "usage"
    assert value not in done.stdout + done.stderr
