"""Storage: whole files or nothing, tenants apart, the same behaviour on disk and in memory."""

import errno
import os
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from datasets.assets import asset_path, get_asset, has_asset, put_asset
from datasets.errors import NotFoundError, OutputDamagedError, SettingsError, StorageUnavailableError, UsageError
from datasets.storage import PART, Storage, _host_tag, open_storage


class StorageContract:
    """What every storage does. Bytes are checked without the method under test."""

    storage: Storage

    def raw(self, relative: str) -> bytes:
        with self.storage.filesystem.open(self.storage.path(relative), "rb") as stream:
            return bytes(stream.read())

    def test_written_bytes_are_there(self) -> None:
        self.storage.write_bytes("a/b/c.bin", b"abc")
        assert self.raw("a/b/c.bin") == b"abc"

    def test_a_file_is_replaced_whole(self) -> None:
        self.storage.write_bytes("a.bin", b"a long first version")
        self.storage.write_bytes("a.bin", b"short")
        assert self.raw("a.bin") == b"short"

    def test_a_missing_file_is_not_found(self) -> None:
        with pytest.raises(NotFoundError):
            self.storage.read_bytes("nowhere")
        assert self.storage.size("nowhere") is None
        assert not self.storage.exists("nowhere")

    def test_names_are_listed_in_order(self) -> None:
        for name in ("b", "a", "c/d"):
            self.storage.write_bytes(f"folder/{name}", b"x")
        assert self.storage.list_names("folder") == ["a", "b", "c"]
        assert self.storage.list_names("nowhere") == []

    def test_only_the_first_creates(self) -> None:
        assert self.storage.create_bytes("folder/a", b"first")
        assert not self.storage.create_bytes("folder/a", b"second")
        assert self.raw("folder/a") == b"first"

    def test_a_tree_is_listed_with_sizes(self) -> None:
        for name in ("a", "b/c", "b/d/e"):
            self.storage.write_bytes(f"folder/{name}", name.encode())
        assert self.storage.list_tree("folder") == {"a": 1, "b/c": 3, "b/d/e": 5}
        assert self.storage.list_tree("nowhere") == {}

    def test_a_tree_is_removed_and_removing_nothing_is_no_error(self) -> None:
        self.storage.write_bytes("folder/a", b"x")
        self.storage.remove_tree("folder")
        self.storage.remove_tree("folder")
        assert not self.storage.exists("folder/a")

    def test_it_travels_to_a_worker(self) -> None:
        self.storage.write_bytes("a", b"x")
        assert pickle.loads(pickle.dumps(self.storage)).read_bytes("a") == b"x"

    def test_tenants_do_not_see_each_other(self) -> None:
        self.storage.write_bytes("a", b"x")
        assert not Storage(self.storage.root, "other", self.storage.options).exists("a")

    def test_assets_are_named_by_content(self) -> None:
        digest = put_asset(self.storage, b"abc")
        assert digest == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2, appendix B.1
        assert put_asset(self.storage, b"abc") == digest
        assert has_asset(self.storage, digest)
        assert get_asset(self.storage, digest) == b"abc"

    def test_a_changed_asset_is_noticed(self) -> None:
        digest = put_asset(self.storage, b"abc")
        self.storage.write_bytes(asset_path(digest), b"abd")
        with pytest.raises(OutputDamagedError):
            get_asset(self.storage, digest)


class TestOnDisk(StorageContract):
    @pytest.fixture(autouse=True)
    def _storage(self, tmp_path: Path) -> None:
        self.storage = open_storage(str(tmp_path / "a root with spaces"), "default")

    def test_no_part_of_a_write_is_left(self, tmp_path: Path) -> None:
        self.storage.write_bytes("a/b", b"x")
        assert [path.name for path in tmp_path.rglob("*") if PART in path.name] == []

    def test_a_write_that_cannot_be_done_says_so_and_leaves_the_old_file(self, tmp_path: Path) -> None:
        self.storage.write_bytes("a", b"old")
        blocker = Path(self.storage.path("folder"))
        blocker.write_bytes(b"a file where a folder should be")
        with pytest.raises(StorageUnavailableError):
            self.storage.write_bytes("folder/b", b"x")
        assert self.raw("a") == b"old"

    def test_what_a_killed_writer_left_is_swept_and_what_a_living_one_writes_is_not(self, tmp_path: Path) -> None:
        self.storage.write_bytes("a", b"x")
        parts = Path(self.storage.path("parts"))
        child = subprocess.Popen([sys.executable, "-c", "pass"])
        child.wait()
        tag = _host_tag()
        (parts / f"{PART}{tag}-{child.pid}-00").write_bytes(b"half")
        (parts / f"{PART}{tag}-{os.getpid()}-00").write_bytes(b"under way")
        (parts / f"{PART}0123abcd-{child.pid}-00").write_bytes(b"of another host")
        self.storage.sweep()
        left = sorted(path.read_bytes() for path in parts.iterdir())
        assert left == [b"of another host", b"under way"]

    def test_of_many_writers_at_once_one_creates(self) -> None:
        with ThreadPoolExecutor(16) as threads:
            told = list(threads.map(lambda n: self.storage.create_bytes("a", f"{n}".encode()), range(64)))
        assert told.count(True) == 1
        assert self.raw("a") == str(told.index(True)).encode()

    def test_a_disk_without_hard_links_creates_as_well(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(*_: object) -> None:
            raise PermissionError(errno.EPERM, "this file system knows no hard links")

        monkeypatch.setattr(os, "link", refuse)
        self.test_only_the_first_creates()


class TestInMemory(StorageContract):
    @pytest.fixture(autouse=True)
    def _storage(self, tmp_path: Path) -> None:
        self.storage = open_storage(f"memory://{tmp_path.name}", "default")

    def test_other_processes_do_not_share_it(self) -> None:
        assert not self.storage.is_shared


def test_an_unknown_protocol_is_refused_with_the_remedy() -> None:
    with pytest.raises(SettingsError, match="memory://"):
        open_storage("nonsense://x", "default")


def test_a_tenant_never_becomes_a_path() -> None:
    with pytest.raises(UsageError):
        Storage("memory://x", "../other")
