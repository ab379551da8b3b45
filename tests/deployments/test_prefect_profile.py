"""An own Prefect server, wherever it is named, keeps the embedded one from being started."""

from pathlib import Path

import pytest

from deployments.prefect_profile import names_a_server

PROFILES = """
active = "own"
[profiles.ephemeral]
PREFECT_SERVER_ALLOW_EPHEMERAL_MODE = "true"
[profiles.own]
PREFECT_API_URL = "http://127.0.0.1:4200/api"
"""


@pytest.fixture(autouse=True)
def _no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    monkeypatch.delenv("PREFECT_PROFILE", raising=False)


def test_nothing_is_named_on_a_fresh_machine(tmp_path: Path) -> None:
    assert not names_a_server(tmp_path)


def test_the_environment_names_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:4200/api")
    assert names_a_server(tmp_path)


def test_the_active_profile_names_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "profiles.toml").write_text(PROFILES)
    assert names_a_server(tmp_path)
    monkeypatch.setenv("PREFECT_PROFILE", "ephemeral")
    assert not names_a_server(tmp_path)


def test_a_settings_file_in_the_folder_names_one(tmp_path: Path) -> None:
    Path("prefect.toml").write_text('[api]\nurl = "http://127.0.0.1:4200/api"\n')
    assert names_a_server(tmp_path)


@pytest.mark.parametrize("content", ["not toml [", 'active = "x"', "profiles = 3", '[profiles]\nx = "y"'])
def test_a_damaged_file_says_nothing(tmp_path: Path, content: str) -> None:
    (tmp_path / "profiles.toml").write_text(content)
    assert not names_a_server(tmp_path)
