"""Names made of content: digests of bytes, fingerprints of computations, keys of batches."""

import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

from datasets.errors import UsageError

DIGEST = re.compile(r"[0-9a-f]{64}")
TENANT = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
READ_BLOCK = 1 << 20  # bytes
AS_IS = frozenset({str, int, bool, type(None)})  # types whose values are canonical


def digest_bytes(data: bytes | bytearray | memoryview) -> str:
    """The sha256 of some bytes, as 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def digest_stream(stream: BinaryIO) -> str:
    """The sha256 of what is left in a stream, read in blocks."""
    state = hashlib.sha256()
    while block := stream.read(READ_BLOCK):
        state.update(block)
    return state.hexdigest()


def digest_file(path: Path) -> str:
    """The sha256 of a local file, read in blocks."""
    with path.open("rb") as stream:
        return digest_stream(stream)


def canonical_json(value: object) -> str:
    """One spelling for one value: sorted keys, no spaces, no NaN, fractions as ``n/d``.

    Raises:
        UsageError: The value holds something that has no canonical form (NaN, bytes, an object).
    """
    return json.dumps(_plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def _plain(value: object) -> object:
    if type(value) in AS_IS:  # nearly all of them: records hold thousands of values
        return value
    if isinstance(value, dict):
        return {key if type(key) is str else _plain_key(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return _plain_other(value)


def _plain_other(value: object) -> object:
    if isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return _plain_number(value)
    if isinstance(value, Fraction):
        return f"{value.numerator}/{value.denominator}"
    if isinstance(value, Mapping):
        return {_plain_key(key): _plain(item) for key, item in value.items()}
    raise UsageError(f"a fingerprint is made of plain JSON values, not of {type(value).__name__}")


def _plain_number(value: float) -> float | int:
    if not math.isfinite(value):
        raise UsageError(f"a fingerprint cannot hold {value}; give a finite number")
    return int(value) if value.is_integer() and abs(value) < 2**53 else value  # 2 and 2.0 are one parameter


def _plain_key(key: object) -> str:
    if not isinstance(key, str):
        raise UsageError(f"keys of a fingerprint are text, not {type(key).__name__}")
    return key


def fingerprint(facts: Mapping[str, object]) -> str:
    """The sha256 of the canonical JSON of everything that decides an output, and of nothing else."""
    return digest_bytes(canonical_json(facts).encode())


def batch_key(fingerprints: Iterable[str]) -> str:
    """The key of a batch: independent of the order of its items."""
    return fingerprint({"items": sorted(fingerprints)})


def check_digest(value: str) -> str:
    """The digest itself, if it is one: nothing else ever becomes part of a path."""
    if not DIGEST.fullmatch(value):
        raise UsageError(f"expected a sha256 of 64 hexadecimal digits, got {value[:80]!r}")
    return value


def check_tenant(name: str) -> str:
    """The tenant's name itself, if it is a valid one (``^[a-z0-9][a-z0-9_-]{0,62}$``)."""
    if not TENANT.fullmatch(name):
        raise UsageError(
            f"tenant {name[:80]!r} is not a valid name: use 1 to 63 lower-case letters, digits, '_' and '-', "
            "beginning with a letter or digit"
        )
    return name
