"""Whether what a row names as its picture is a URL or path that may be looked at at all. Nothing is fetched here."""

from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from datasets.catalogue.local_images import SCHEME, ImagePathError, is_local_path, local_image
from datasets.catalogue.rows import RowReason

LONGEST = 2048  # characters of a URL or path
SCHEMES = ("https", "http")  # http only where STILLMOTION_FETCH_ALLOW names the server, which the fetch sees to


def picture_reason(table_source: str, image: str, roots: Sequence[Path]) -> RowReason | None:
    """Why a picture is refused, or None.

    Args:
        table_source: Where the table lies.
        image: Without outer space and control characters.
        roots: Folders that paths may lead into.
    """
    if len(image) > LONGEST:
        return _malformed(image, f"it has {len(image)} characters, at most {LONGEST} are read")
    if is_local_path(image):
        try:
            local_image(table_source, image, roots=roots)
        except ImagePathError as error:
            return RowReason(error.code, error.message, error.facts)
        return None
    scheme = SCHEME.match(image)
    if scheme and scheme[0][:-1].lower() not in SCHEMES:
        name = scheme[0][:-1].lower()
        return RowReason(
            "image_scheme_refused",
            f"{_shown(image)!r}: pictures are fetched by https, not by {name}; give an https:// URL or a path",
            {"scheme": name, "image": _shown(image)},
        )
    return _url_reason(image)


def _url_reason(url: str) -> RowReason | None:
    if any(character.isspace() or character in '\\<>"{}|^`' for character in url):
        return _malformed(url, "a space, backslash, quote or bracket stands in it; write it as %20, %5C and so on")
    try:
        parts = urlsplit(url)
        host, _port = parts.hostname, parts.port
    except ValueError as error:
        return _malformed(url, str(error))
    if not parts.scheme or not host:
        return _malformed(url, "it names no server; give https://server/path")
    if "@" in parts.netloc:
        return RowReason("image_url_malformed", "the URL holds a login; leave it out", {"host": host})
    return None


def _malformed(image: str, why: str) -> RowReason:
    return RowReason("image_url_malformed", f"{_shown(image)!r} is no URL: {why}", {"image": _shown(image)})


def _shown(image: str) -> str:
    """As much of it as a message needs, and no login that it may hold."""
    head, mark, rest = image.partition("//")
    server = rest.split("/", 1)[0]
    if "@" in server:
        rest = "***@" + server.rsplit("@", 1)[1] + rest[len(server) :]
    return (head + mark + rest)[:120]
