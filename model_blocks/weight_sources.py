"""Where weight files come from: http(s) addresses, folders, all that fsspec opens. All can be read from the middle."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

from datasets.errors import NotFoundError, SettingsError
from datasets.known_secrets import shown_address
from datasets.object_store import S3, open_filesystem, service_errors
from datasets.redaction import redact
from model_blocks.weight_errors import WeightsUnreachableError

BLOCK_BYTES = 1 << 18
TIMEOUT = httpx.Timeout(30.0, connect=15.0)  # seconds without a byte
ABSENT = (404, 410)


@dataclass(frozen=True)
class Body:
    """What a source answered.

    Attributes:
        offset: First byte of what follows; 0 where the source cannot go on in the middle.
        total: Size of the whole file, or None where the source does not say.
        version: What tells two contents of one address apart; empty where the source says nothing.
        blocks: The bytes from ``offset`` on.
    """

    offset: int
    total: int | None
    version: str
    blocks: Iterator[bytes]


def source_urls(file_name: str, mirror: str | None, file_url: str | None) -> list[str]:
    """The mirror's address of a file, then its authors'."""
    urls = [] if not mirror else [_below(mirror, file_name)]
    return urls + ([file_url] if file_url else [])


def _below(mirror: str, file_name: str) -> str:
    if "://" not in mirror:
        return str(Path(mirror).expanduser().absolute() / file_name)
    name = quote(file_name) if mirror.startswith(("http://", "https://")) else file_name
    return f"{mirror.rstrip('/')}/{name}"


@contextmanager
def open_source(url: str, *, offset: int, version: str, options: Mapping[str, Any] | None = None) -> Iterator[Body]:
    """Open a file at ``offset``, or from its beginning if it is no longer the one of that version.

    Args:
        url: An http(s) address, a folder's path, or what fsspec opens.
        offset: First byte that is wanted.
        version: What the source called the content that the bytes before it came from.
        options: What an S3 file system needs besides the address.

    Raises:
        NotFoundError: The source is there and has no such file.
        WeightsUnreachableError: It cannot be reached or broke off.
        SettingsError: No package for such an address.
    """
    failures: tuple[type[Exception], ...] = (httpx.HTTPError, *service_errors(url))
    told = shown_address(url)
    try:
        if url.startswith(("http://", "https://")):
            with _open_http(url, offset, version) as body:
                yield body
        else:
            with _open_file(url, offset, version, options or {}) as body:
                yield body
    except FileNotFoundError as error:
        raise NotFoundError(f"{told} is not there", url=told) from error
    except failures as error:
        raise WeightsUnreachableError(
            f"{told} broke off or could not be reached ({type(error).__name__}: {redact(str(error))}); "
            "the same command goes on there",
            url=told,
        ) from error
    except (ImportError, httpx.InvalidURL, ValueError) as error:
        raise SettingsError(f"{told} cannot be opened: {redact(str(error))}", url=told) from error


@contextmanager
def _open_http(url: str, offset: int, version: str) -> Iterator[Body]:
    headers = {"Accept-Encoding": "identity"}
    if offset:
        headers["Range"] = f"bytes={offset}-"
        if version:
            headers["If-Range"] = version
    client = httpx.Client(follow_redirects=True, timeout=TIMEOUT)
    with client, client.stream("GET", url, headers=headers) as answer:
        if answer.status_code in ABSENT:
            raise FileNotFoundError(url)
        if url.startswith("https://") and answer.url.scheme != "https":
            told = shown_address(url), shown_address(str(answer.url))
            raise SettingsError(f"{told[0]} leads to {told[1]}, which anybody on the way could alter", url=told[0])
        if answer.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE and offset:
            with _open_http(url, 0, "") as body:  # the file there is no longer than what is here
                yield body
            return
        answer.raise_for_status()
        start = _start(answer, offset)
        length = answer.headers.get("content-length")
        total = start + int(length) if length else None
        yield Body(start, total, _strong_version(answer), answer.iter_raw(BLOCK_BYTES))


def _start(answer: httpx.Response, offset: int) -> int:
    if answer.status_code != httpx.codes.PARTIAL_CONTENT:
        return 0
    if not answer.headers.get("content-range", "").startswith(f"bytes {offset}-"):
        raise httpx.RemoteProtocolError("the server sent another part than it was asked for")
    return offset


def _strong_version(answer: httpx.Response) -> str:
    """Only strong entity tags may be used for ranges (RFC 9110, 13.1.5)."""
    tag = str(answer.headers.get("etag", ""))
    return "" if tag.startswith("W/") else tag


@contextmanager
def _open_file(url: str, offset: int, version: str, options: Mapping[str, Any]) -> Iterator[Body]:
    filesystem, path = open_filesystem(url, options if url.startswith(S3) else {})
    total, found = int(filesystem.size(path)), str(filesystem.ukey(path))
    start = offset if offset <= total and version in ("", found) else 0
    with filesystem.open(path, "rb") as stream:
        stream.seek(start)
        yield Body(start, total, found, iter(lambda: stream.read(BLOCK_BYTES), b""))
