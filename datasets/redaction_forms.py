"""The forms in which a value turns up in texts, as one regular expression for all values that are known."""

import base64
import itertools
import re
import threading

SHORTEST = 8  # characters; shorter ones are found in any text by chance
SHORTEST_LINE = 16  # of a value of several lines, such as a private key: each line by itself
MASK = "[redacted]"
HTML = {"&": "amp", "<": "lt", ">": "gt", '"': "quot", "'": "apos"}
CONTROLS = {"\n": "n", "\r": "r", "\t": "t", "\b": "b", "\f": "f"}


class Known:
    """The values that this process knows. Adding is locked, looking is not."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._values: dict[str, str] = {}
        self._pattern: re.Pattern[str] | None = None

    def __bool__(self) -> bool:
        return self._pattern is not None

    def add(self, value: str) -> None:
        """Know one more."""
        parts = [line.strip() for line in value.splitlines()] if "\n" in value.strip() else []
        new = [value.strip(), *(line for line in parts if len(line) >= SHORTEST_LINE)]
        with self._lock:
            unknown = [each for each in new if len(each) >= SHORTEST and each not in self._values]
            if not unknown:
                return
            self._values |= {each: "|".join(forms(each)) for each in unknown}
            longest_first = sorted(self._values, key=len, reverse=True)
            self._pattern = re.compile("|".join(self._values[each] for each in longest_first))

    def sub(self, text: str, mask: str = MASK) -> str:
        """The text with a mask, of no backslashes, for every value."""
        return text if self._pattern is None else self._pattern.sub(mask, text)


def forms(value: str) -> list[str]:
    """Regular expressions for all forms of a value; none backtracks further than a run of backslashes."""
    data = value.encode(errors="surrogatepass")
    found = [_escaped(value), f"(?i:{data.hex()})"]
    return found + [_base64_inside(data, offset) for offset in range(3)]


def _base64_inside(data: bytes, offset: int) -> str:
    """The characters of a base64 text that the value alone decides, where it begins ``offset`` bytes after a group.

    So that ``user:password`` in a basic authorisation is found by the password.
    """
    text = base64.b64encode(b"\0" * offset + data).decode()
    decided = text[-(-8 * offset // 6) : 8 * (offset + len(data)) // 6]
    return decided.replace("+", "[+-]").replace("/", "[/_]")


def _escaped(value: str) -> str:
    """The value, each of its characters plain or in any usual escape: nobody agrees on which ones need it."""
    runs = ("".join(run) for _, run in itertools.groupby(value, key=lambda character: character == "\\"))
    return "".join(_backslashes(len(run)) if run[0] == "\\" else "".join(map(_character, run)) for run in runs)


def _backslashes(count: int) -> str:
    return rf"(?:\\{{{count},{4 * count}}}|(?:%(?:25)*5[Cc]){{{count}}})"


def _character(character: str) -> str:
    if character.isascii() and character.isalnum():
        return character
    choices = [re.escape(character), _percent(character), _unicode_escape(character), rf"&#{ord(character)};"]
    choices += [rf"&#[xX](?i:0*{ord(character):x});"]
    if character in HTML:
        choices += [f"&{HTML[character]};"]
    if character in CONTROLS:
        choices += [rf"\\{{1,4}}{CONTROLS[character]}", *([r"\s+"] if character.isspace() else [])]
    elif character in "\"'/&":
        choices += [rf"\\{{1,4}}{character}"]
    elif character == " ":
        choices += [r"\+"]
    return f"(?:{'|'.join(choices)})"


def _percent(character: str) -> str:
    data = character.encode(errors="surrogatepass")
    return "(?i:" + "".join(f"%(?:25)*{byte:02x}" for byte in data) + ")"


def _unicode_escape(character: str) -> str:
    r"""``\u00e9``, a surrogate pair, or Python's ``\xe9`` and ``\U0001f600``, behind one or several backslashes."""
    units = character.encode("utf-16-be", errors="surrogatepass")
    pairs = "".join(rf"\\{{1,4}}u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))
    as_bytes = "".join(rf"\\{{1,4}}x{byte:02x}" for byte in character.encode(errors="surrogatepass"))
    python = rf"\\{{1,4}}(?:x{ord(character):02x}|U{ord(character):08x})"
    return f"(?i:{pairs}|{as_bytes}|{python})"
