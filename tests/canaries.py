"""Canaries: secrets that can be told from everything else, and the search for them in every byte of a folder."""

import base64
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path

ODD = "/+\"\\&<=%'"  # what JSON, HTML and URLs write in another way, and a header takes


class Flock:
    """Canaries of one test. All begin with the same mark, so that one search finds a piece of any of them."""

    def __init__(self) -> None:
        self.mark = f"c{uuid.uuid4().hex[:11]}"
        self.names: list[str] = []

    def new(self, name: str, *, odd: str = ODD) -> str:
        """Another one. ``odd``: signs that stand in its middle."""
        self.names.append(name)
        return f"{self.mark}{len(self.names):02d}{odd}{uuid.uuid4().hex[:12]}"

    def new_master_key(self) -> str:
        """One that is the base64 of 32 bytes."""
        self.names.append("master key")
        return f"{self.mark}{uuid.uuid4().hex[: 42 - len(self.mark)]}A="

    @property
    def needles(self) -> dict[str, bytes]:
        """What any of them has in it, however it is written."""
        data = self.mark.encode()
        return {
            "plain": data,  # no sign of it is ever escaped, so this is also URL, JSON and HTML
            "hexadecimal": data.hex().encode(),
            **{f"base64 at {offset}": _base64_inside(data, offset) for offset in range(3)},
        }


def _base64_inside(data: bytes, offset: int) -> bytes:
    """The signs of a base64 text that these bytes alone decide, ``offset`` bytes after a group of three."""
    lead, rest = base64.b64encode(b"\0" * offset + data), (offset + len(data)) % 3
    return lead[4 if offset else 0 : -4 if rest else None]


def files_of(folders: Iterable[Path]) -> list[Path]:
    return [path for folder in folders for path in sorted(folder.rglob("*")) if path.is_file()]


def found_in(folders: Iterable[Path], needles: Mapping[str, bytes]) -> list[str]:
    """Every file that holds one of the needles in its bytes or its name, with what stands around the first."""
    found = []
    for path in files_of(folders):
        data = path.read_bytes()
        for form, needle in needles.items():
            at = data.find(needle)
            if at >= 0:
                found.append(f"{path}: {form}: {data[max(0, at - 120) : at + 60]!r}")
            elif needle.decode() in path.name:
                found.append(f"{path}: {form} in its name")
    return found
