"""File names from strangers to names that are safe on every file system, in a web page and on a command line."""

import re
import unicodedata
from collections.abc import Sequence

MAX_BYTES = 100  # of UTF-8; leaves room for a role, a digest and an ending below the usual limit of 255
FALLBACK = "photo"

# Endings of files that are given as items; any other dot belongs to the name, as in "lamp-2.5"
_ENDINGS = (
    r"\.(?:jpe?g|jpe|jfif|png|apng|webp|gif|avif|tiff?|bmp|heic|heif|jxl|svg|pdf|psd|dng|html?|txt|csv|json|zip"
    r"|mp4|m4v|mov|mkv|webm|avi|flv|mpe?g|m2?ts|m3u8)$"
)
_ENDING = re.compile(_ENDINGS, re.IGNORECASE)
_CATEGORIES = {"Lu", "Ll", "Lt", "Lm", "Lo", "Nd", "Mn", "Mc"}  # letters and digits; marks belong to their letters
# Letters and marks that nobody can see. Source: Unicode, Default_Ignorable_Code_Point
_INVISIBLE = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]")
_RESERVED = {"con", "prn", "aux", "nul", *(f"{port}{digit}" for port in ("com", "lpt") for digit in range(10))}
_LEADING = ".- "
_TRAILING = "._- "


def safe_item_names(paths: Sequence[str]) -> list[str]:
    """A name for each path, in order.

    A name is the file's own without folder and known ending: NFC, letters and digits of every script, ``._-`` inside,
    anything else as one ``-``; at most ``MAX_BYTES`` bytes; none that Windows reserves. Equal names, letter case aside,
    get ``-2``, ``-3`` and so on in order. Nothing is decoded: ``%2f`` is text. Names made here are their own names.
    """
    taken: set[str] = set()
    counts: dict[str, int] = {}
    return [_unique(safe_stem(path), taken, counts) for path in paths]


def safe_stem(path: str) -> str:
    """The safe name of one path, repeated until it stands: a shortened name may end in what looks like an ending."""
    name = path.replace("\x00", "").rstrip("/").rpartition("/")[2]
    while (cleaned := _cleaned(name)) != name:
        name = cleaned
    return name


def _cleaned(name: str) -> str:
    name = _INVISIBLE.sub("", unicodedata.normalize("NFC", name).strip())
    name = _trimmed(_ENDING.sub("", _replaced(name))) or FALLBACK
    if name.partition(".")[0].casefold() in _RESERVED:
        name = f"{FALLBACK}-{name}"
    return _shortened(name, MAX_BYTES)


def _replaced(name: str) -> str:
    """Everything but letters, digits and ``._-`` as one hyphen; a mark without its letter is nothing."""
    kept = "".join(character if _is_safe(character) else "\x00" for character in name)
    kept = re.sub(r"-?\x00[\x00-]*", "-", kept)
    return _without_lone_marks(re.sub(r"\.{2,}", ".", kept))


def _is_safe(character: str) -> bool:
    return character in "._-" or unicodedata.category(character) in _CATEGORIES


def _without_lone_marks(name: str) -> str:
    kept: list[str] = []
    for character in name:
        is_mark = unicodedata.category(character).startswith("M")
        if not (is_mark and (not kept or kept[-1] in "._-")):
            kept.append(character)
    return "".join(kept)


def _trimmed(name: str) -> str:
    return name.lstrip(_LEADING).rstrip(_TRAILING)


def _shortened(name: str, limit: int) -> str:
    return _trimmed(name.encode()[:limit].decode(errors="ignore"))


def _unique(name: str, taken: set[str], counts: dict[str, int]) -> str:
    start, candidate = _folded(name), name
    while _folded(candidate) in taken:
        counts[start] = counts.get(start, 1) + 1
        suffix = f"-{counts[start]}"
        candidate = _shortened(name, MAX_BYTES - len(suffix)) + suffix
    taken.add(_folded(candidate))
    return candidate


def _folded(name: str) -> str:
    """Equal for names that some file system takes for the same."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFKC", name).casefold())
