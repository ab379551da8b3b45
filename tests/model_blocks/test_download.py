"""Fetching weights over loopback: resumed, verified before it is shown, refused when it is another file."""

import hashlib
import io
import random
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
import torch

from datasets.errors import PermanentError, SettingsError, StorageUnavailableError
from datasets.object_store import object_store_options
from datasets.settings import read_settings
from datasets.storage import open_storage
from model_blocks import download
from model_blocks.download import pull
from model_blocks.registry import ModelFacts
from model_blocks.weight_errors import (
    WeightsDamagedError,
    WeightsDigestError,
    WeightsKeysError,
    WeightsMissingError,
    WeightsUnreachableError,
    WeightsUnsafeError,
)
from model_blocks.weight_files import check
from tests.model_blocks.test_weight_containers import zipped
from tests.model_blocks.test_weights import Payload, torch_bytes
from tests.s3_server import S3Server

DATA = random.Random(3).randbytes(900_000)
DIGEST = hashlib.sha256(DATA).hexdigest()
LOADABLE = [torch_bytes({"weight": torch.rand(225_000, generator=torch.Generator().manual_seed(n))}) for n in (1, 2)]


@dataclass
class Site:
    """A small server: files by path, and how many bytes each of the next answers gives before it breaks off."""

    files: dict[str, bytes] = field(default_factory=dict)
    breaks: list[int] = field(default_factory=list)
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    etag: str = '"one"'
    url: str = ""


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setattr(download, "PAUSE_S", 0.0)
    state = Site({"/net.pth": DATA})

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers.get("Range")
            state.asked.append((self.path, wanted))
            if self.path not in state.files:
                self.send_error(404)
                return
            data = state.files[self.path]
            current = self.headers.get("If-Range", state.etag) == state.etag
            start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and current else 0
            if start >= len(data):
                self.send_error(416)
                return
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
            self.send_header("ETag", state.etag)
            self.send_header("Content-Length", str(len(data) - start))
            self.end_headers()
            upto = start + state.breaks.pop(0) if state.breaks else len(data)
            self.wfile.write(data[start:upto])

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{server.server_port}"
    Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield state
    server.shutdown()
    server.server_close()


def facts(site: Site, **changes: object) -> ModelFacts:
    known = ModelFacts(
        name="net",
        capability="upscale",
        architecture="for tests",
        factory="nowhere:nothing",
        version=1,
        embedded=False,
        licence="MIT",
        conventions="",
        memory_factor=1.0,
        file_url=f"{site.url}/net.pth",
        sha256=DIGEST,
        bytes=len(DATA),
    )
    return replace(known, **changes)  # type: ignore[arg-type]


def quiet(done: int, total: int | None) -> None: ...


def visible(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def test_a_file_is_fetched_once_with_progress(site: Site, tmp_path: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    done = pull(facts(site), weights_dir=tmp_path, mirror=None, progress=lambda *step: seen.append(step))
    assert done.path.read_bytes() == DATA
    assert (done.sha256, done.published, done.source) == (DIGEST, True, f"{site.url}/net.pth")
    assert seen[-1] == (900_000, 900_000)
    assert visible(tmp_path) == ["net.pth"]
    assert pull(facts(site), weights_dir=tmp_path, mirror=None, progress=quiet).source == ""
    assert len(site.asked) == 1


def test_a_broken_download_goes_on_where_it_stopped(site: Site, tmp_path: Path) -> None:
    site.breaks = [450_000]
    assert pull(facts(site), weights_dir=tmp_path, mirror=None, progress=quiet).path.read_bytes() == DATA
    begun = site.asked[1][1]
    assert begun is not None
    assert 0 < int(begun.removeprefix("bytes=").rstrip("-")) <= 450_000


def test_a_later_command_goes_on_with_what_came_so_far(site: Site, tmp_path: Path) -> None:
    site.breaks = [450_000, 0, 0, 0, 0]
    with pytest.raises(WeightsUnreachableError, match="goes on"):
        pull(facts(site), weights_dir=tmp_path, mirror=None, progress=quiet)
    assert visible(tmp_path) == []
    site.breaks = []
    before = len(site.asked)
    assert pull(facts(site), weights_dir=tmp_path, mirror=None, progress=quiet).path.read_bytes() == DATA
    assert [wanted is not None for _, wanted in site.asked[before:]] == [True]


def test_without_a_published_digest_another_version_is_not_continued(site: Site, tmp_path: Path) -> None:
    unknown = facts(site, sha256=None, bytes=None)
    site.files["/net.pth"], site.breaks = LOADABLE[0], [450_000, 0, 0, 0, 0]
    with pytest.raises(WeightsUnreachableError):
        pull(unknown, weights_dir=tmp_path, mirror=None, progress=quiet)
    site.files["/net.pth"], site.etag, site.breaks = LOADABLE[1], '"two"', []
    assert pull(unknown, weights_dir=tmp_path, mirror=None, progress=quiet).path.read_bytes() == LOADABLE[1]


def test_another_file_is_refused_and_removed(site: Site, tmp_path: Path) -> None:
    site.files["/net.pth"] = DATA[:-1] + b"x"
    with pytest.raises(WeightsDigestError, match="removed"):
        pull(facts(site), weights_dir=tmp_path, mirror=None, progress=quiet)
    assert [path.name for path in tmp_path.iterdir()] == [".part-net.pth.lock"]


def test_another_size_is_refused_before_it_is_fetched(site: Site, tmp_path: Path) -> None:
    site.files["/net.pth"] = b"<!doctype html>"
    with pytest.raises(WeightsDigestError, match="offers 15 bytes"):
        pull(facts(site), weights_dir=tmp_path, mirror=None, progress=quiet)


def test_an_unknown_digest_is_recorded_with_what_it_is_worth(site: Site, tmp_path: Path) -> None:
    site.files["/net.pth"] = LOADABLE[0]
    done = pull(facts(site, sha256=None, bytes=None), weights_dir=tmp_path, mirror=None, progress=quiet)
    note = (tmp_path / "net.pth.sha256").read_text()
    assert note.startswith(f"{hashlib.sha256(LOADABLE[0]).hexdigest()}  net.pth\n")
    assert "not verified against a published one" in note
    assert not done.published


def test_a_damaged_file_is_replaced(site: Site, tmp_path: Path) -> None:
    (tmp_path / "net.pth").write_bytes(b"x" * len(DATA))
    assert pull(facts(site), weights_dir=tmp_path, mirror=None, progress=quiet).path.read_bytes() == DATA


@pytest.mark.parametrize("form", ["{0}", "file://{0}"])
def test_the_mirror_is_asked_first(site: Site, tmp_path: Path, form: str) -> None:
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    (mirror / "net.pth").write_bytes(DATA)
    done = pull(facts(site), weights_dir=tmp_path / "w", mirror=form.format(mirror), progress=quiet)
    assert (done.path.read_bytes() == DATA, site.asked) == (True, [])


def test_what_the_mirror_lacks_comes_from_the_authors(site: Site, tmp_path: Path) -> None:
    pull(facts(site), weights_dir=tmp_path, mirror=f"{site.url}/mirror", progress=quiet)
    assert [path for path, _ in site.asked] == ["/mirror/net.pth", "/net.pth"]


def test_what_nobody_has_is_missing(site: Site, tmp_path: Path) -> None:
    site.files = {}
    with pytest.raises(WeightsMissingError, match="not there"):
        pull(facts(site), weights_dir=tmp_path, mirror=str(tmp_path / "nowhere"), progress=quiet)


def test_a_mirror_of_an_unknown_kind_is_a_setting_that_does_not_hold(site: Site, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="nonsense"):
        pull(facts(site), weights_dir=tmp_path, mirror="nonsense://x", progress=quiet)


def test_a_part_longer_than_the_file_is_begun_anew(site: Site, tmp_path: Path) -> None:
    (tmp_path / ".part-net.pth").write_bytes(b"x" * (len(DATA) + 5))
    (tmp_path / ".part-net.pth.json").write_text('{"url": "", "version": ""}')
    assert pull(facts(site), weights_dir=tmp_path, mirror=None, progress=quiet).path.read_bytes() == DATA
    assert [wanted for _, wanted in site.asked] == [f"bytes={len(DATA) + 5}-", None]


def test_a_full_disk_is_no_fault_of_the_source(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".part-net.pth").symlink_to("/dev/full")
    monkeypatch.setattr(download, "_go_to", lambda *_: None)  # a device cannot be cut
    with pytest.raises(StorageUnavailableError, match="No space left"):
        pull(facts(site), weights_dir=tmp_path, mirror=None, progress=quiet)


def test_a_mirror_on_s3_is_read_through_its_faults(site: Site, s3: S3Server, tmp_path: Path) -> None:
    options = object_store_options(read_settings())
    mirror = open_storage(s3.url, "weights", options)
    mirror.filesystem.pipe_file(f"{s3.url}/mirror/net.pth", DATA)
    s3.rate = 0.2
    done = pull(facts(site), weights_dir=tmp_path, mirror=f"{s3.url}/mirror", progress=quiet, options=options)
    assert (done.sha256, done.source) == (DIGEST, f"{s3.url}/mirror/net.pth")
    assert done.path.read_bytes() == DATA
    assert site.asked == []


def test_an_s3_mirror_without_the_file_leads_to_the_authors(site: Site, s3: S3Server, tmp_path: Path) -> None:
    options = object_store_options(read_settings())
    done = pull(facts(site), weights_dir=tmp_path, mirror=s3.url, progress=quiet, options=options)
    assert done.source == f"{site.url}/net.pth"


def program() -> bytes:
    stream = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the format is old, and the point of the test
        torch.jit.save(torch.jit.script(torch.nn.Linear(3, 2)), stream)
    return stream.getvalue()


MEMBER = "models/best.ckpt"
CANARY = Path("canary")  # in the test's own folder, which is the working one
BAD: dict[str, tuple[type[PermanentError], Callable[[], bytes]]] = {
    "cut off": (WeightsDamagedError, lambda: LOADABLE[0][:-1000]),
    "a page to log in": (WeightsDamagedError, lambda: b"<!doctype html><title>log in</title>"),
    "names code": (WeightsUnsafeError, lambda: torch_bytes({"weight": Payload(CANARY.absolute())})),
    "a program": (WeightsUnsafeError, program),
    "unpacks to much more": (WeightsUnsafeError, lambda: zipped((MEMBER, b"\0" * 5_000_000))),
    "without the file": (WeightsKeysError, lambda: zipped(("readme.txt", b"nothing"))),
    "with two": (WeightsKeysError, lambda: zipped((f"a/{MEMBER}", LOADABLE[0]), (f"b/{MEMBER}", LOADABLE[1]))),
    "no tensors": (WeightsKeysError, lambda: torch_bytes({"epoch": 3})),
}


@pytest.mark.parametrize("way", ["authors", "http mirror", "folder", "s3"])
@pytest.mark.parametrize("kind", BAD)
def test_a_bad_file_without_a_published_digest_is_not_kept(
    kind: str, way: str, site: Site, s3: S3Server, tmp_path: Path
) -> None:
    error, data = BAD[kind]
    unknown = facts(site, sha256=None, bytes=None, archive_member=MEMBER, file_name="net.pth")
    mirror, options = _served(way, data(), site, s3, tmp_path)
    with pytest.raises(error):
        pull(unknown, weights_dir=tmp_path / "weights", mirror=mirror, progress=quiet, options=options)
    assert [path.name for path in (tmp_path / "weights").iterdir()] == [".part-net.pth.lock"]
    assert not CANARY.exists()
    mirror, options = _served(way, LOADABLE[0], site, s3, tmp_path)
    done = pull(unknown, weights_dir=tmp_path / "weights", mirror=mirror, progress=quiet, options=options)
    assert done.path.read_bytes() == LOADABLE[0]


def _served(way: str, data: bytes, site: Site, s3: S3Server, folder: Path) -> tuple[str | None, dict[str, object]]:
    """A file at the authors' address or on a mirror: the mirror, and what it needs."""
    site.files = {"/net.pth": data} if way == "authors" else {"/mirror/net.pth": data} if way == "http mirror" else {}
    if way == "folder":
        (folder / "mirror").mkdir(exist_ok=True)
        (folder / "mirror" / "net.pth").write_bytes(data)
        return str(folder / "mirror"), {}
    if way == "s3":
        options = object_store_options(read_settings())
        open_storage(s3.url, "weights", options).filesystem.pipe_file(f"{s3.url}/mirror/net.pth", data)
        return f"{s3.url}/mirror", options
    return (f"{site.url}/mirror" if way == "http mirror" else None), {}


def test_an_archive_is_kept_as_it_came(site: Site, tmp_path: Path) -> None:
    """Its digest is that of the whole, and so it is found again."""
    site.files["/net.pth"] = zipped((f"big/{MEMBER}", LOADABLE[0]), ("big/config.yaml", b"kind: made"))
    unknown = facts(site, sha256=None, bytes=None, archive_member=MEMBER)
    done = pull(unknown, weights_dir=tmp_path, mirror=None, progress=quiet)
    assert done.sha256 == hashlib.sha256(site.files["/net.pth"]).hexdigest()
    assert check(unknown, weights_dir=tmp_path).presence == "present"
    assert pull(unknown, weights_dir=tmp_path, mirror=None, progress=quiet).source == ""


def test_a_known_program_is_kept(site: Site, tmp_path: Path) -> None:
    site.files["/net.pth"] = program()
    known = hashlib.sha256(site.files["/net.pth"]).hexdigest()
    unknown = facts(site, sha256=None, bytes=None, torchscript_sha256=(known,))
    assert pull(unknown, weights_dir=tmp_path, mirror=None, progress=quiet).sha256 == known


def test_a_file_whose_address_nobody_knows_is_told_so(site: Site, tmp_path: Path) -> None:
    homeless = facts(site, file_url=None, file_name="net.pth")
    with pytest.raises(WeightsMissingError, match=r"no address of net\.pth is known; name a mirror"):
        pull(homeless, weights_dir=tmp_path, mirror=None, progress=quiet)
    site.files["/mirror/net.pth"] = DATA
    done = pull(homeless, weights_dir=tmp_path, mirror=f"{site.url}/mirror", progress=quiet)
    assert done.source == f"{site.url}/mirror/net.pth"
