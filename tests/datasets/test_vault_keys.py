"""Where the master key comes from: the environment, or a file that nobody else may read."""

import base64
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from datasets.vault_errors import MasterKeyError
from datasets.vault_keys import MasterKey, read_master_key

RAW = bytes(range(32))
TEXT = base64.b64encode(RAW).decode()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    return tmp_path


def test_the_environment_comes_first(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    monkeypatch.setenv("STILLMOTION_MASTER_KEY", f" {TEXT}\n")
    assert read_master_key(create=True).id == MasterKey(RAW).id
    assert list(home.iterdir()) == []


def test_a_key_file_is_made_on_first_use_and_kept(home: Path) -> None:
    with pytest.raises(MasterKeyError, match="no master key"):
        read_master_key()
    made = read_master_key(create=True)
    assert read_master_key().id == read_master_key(create=True).id == made.id
    (path,) = (home / "data").rglob("*key*")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(base64.b64decode(path.read_text())) == 32


def test_of_several_that_make_it_at_once_all_have_the_same(home: Path) -> None:
    with ThreadPoolExecutor(8) as threads:
        assert len({key.id for key in threads.map(lambda _: read_master_key(create=True), range(16))}) == 1
    assert len(list((home / "data" / "stillmotion").iterdir())) == 1


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_a_file_that_others_may_read_is_refused(mode: int, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = home / "key"
    path.write_text(TEXT)
    path.chmod(mode)
    monkeypatch.setenv("STILLMOTION_MASTER_KEY_FILE", str(path))
    with pytest.raises(MasterKeyError, match=f"chmod 600 {path}") as refused:
        read_master_key()
    assert TEXT not in str(refused.value)
    path.chmod(0o600)
    assert read_master_key().id == MasterKey(RAW).id


@pytest.mark.parametrize("text", ["not base64 at all!", TEXT[:-4], base64.b64encode(RAW + b"x").decode(), "é" * 44])
def test_what_is_no_key_is_refused_and_not_repeated(text: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STILLMOTION_MASTER_KEY", text)
    with pytest.raises(MasterKeyError) as refused:
        read_master_key()
    assert (refused.value.code, text in str(refused.value)) == ("master_key", False)
    monkeypatch.delenv("STILLMOTION_MASTER_KEY")
    path = home / "key"
    path.touch(0o600)
    path.write_text(text)
    monkeypatch.setenv("STILLMOTION_MASTER_KEY_FILE", str(path))
    with pytest.raises(MasterKeyError) as refused:
        read_master_key()
    assert text not in str(refused.value)


@pytest.mark.skipif(os.getuid() == 0, reason="root may write anywhere")
def test_a_folder_that_takes_no_file_is_said(home: Path) -> None:
    (home / "data").mkdir(mode=0o500)
    with pytest.raises(MasterKeyError, match="cannot be read or made"):
        read_master_key(create=True)
