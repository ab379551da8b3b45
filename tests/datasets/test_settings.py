"""Settings: from the environment and .env, refused by name when they do not hold."""

from pathlib import Path

import pytest

from datasets.errors import SettingsError
from datasets.settings import read_settings


def test_the_environment_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STILLMOTION_WORKERS", "3")
    assert read_settings().workers == 3


def test_a_file_beside_the_run_is_read_and_the_environment_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".env").write_text("STILLMOTION_TENANT=shop\nSTILLMOTION_WORKERS=2\nOTHER=1\n")
    monkeypatch.setenv("STILLMOTION_WORKERS", "4")
    settings = read_settings()
    assert (settings.tenant, settings.workers) == ("shop", 4)


def test_a_given_value_wins_over_both(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STILLMOTION_TENANT", "shop")
    assert read_settings(tenant="own").tenant == "own"
    assert read_settings(tenant=None).tenant == "shop"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TENANT", "../x"),
        ("WORKERS", "0"),
        ("WORKERS", "many"),
        ("DEVICE", "tpu"),
        ("MEMORY_LIMIT_MB", "1"),
        ("LEASE_S", "0"),
    ],
)
def test_a_value_out_of_bounds_is_refused_by_its_variable(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(f"STILLMOTION_{name}", value)
    with pytest.raises(SettingsError, match=f"STILLMOTION_{name}"):
        read_settings()


def test_an_empty_variable_is_no_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STILLMOTION_WORKERS", "")
    assert read_settings().workers == 1


@pytest.mark.parametrize(
    ("root", "local"),
    [("/a/b", Path("/a/b")), ("file:///a/b", Path("/a/b")), ("memory://x", None), ("s3://bucket/x", None)],
)
def test_the_ledger_lies_beside_a_local_root(root: str, local: Path | None) -> None:
    settings = read_settings(storage_root=root)
    assert settings.local_root == local
    expected = f"sqlite:///{local}/ledger.db" if local else "sqlite:///"
    assert settings.ledger.startswith(expected)


def test_an_own_ledger_is_taken() -> None:
    assert read_settings(ledger_url="sqlite:////x.db").ledger == "sqlite:////x.db"


def test_every_variable_stands_in_the_readme() -> None:
    from datasets.settings import Settings

    readme = (Path(__file__).parents[2] / "README.md").read_text()
    missing = [name for name in Settings.model_fields if f"_{name.upper()}" not in readme]
    assert missing == []
