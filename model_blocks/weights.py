"""Weights from their authors' files: the bytes that are hashed are the bytes that are loaded, and nothing in them runs.

Safetensors are read first; everything else goes through PyTorch's ``weights_only`` reader, which makes tensors and
plain containers and refuses any other object. TorchScript archives are programs and are refused.
"""

import hashlib
import io
import json
import pickle
import pickletools
import struct
import warnings
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model_blocks.weight_errors import (
    WeightsDamagedError,
    WeightsDigestError,
    WeightsKeysError,
    WeightsMissingError,
    WeightsUnsafeError,
)

if TYPE_CHECKING:
    from torch import Tensor

ZIP_MAGIC = b"PK\x03\x04"
HEADER_LIMIT = 100_000_000  # bytes; the safetensors format allows no longer header
NAMED = 10  # keys that a message lists
TENSOR_MODULES = ("torch", "torch._utils", "torch._tensor", "torch.storage", "torch.nn.parameter", "collections")
INFLATION_LIMIT = 2  # unpacked over packed size; PyTorch stores without compression, so honest files have 1
BROKEN = (  # what PyTorch's readers raise on damaged files, found by flipping and cutting bytes
    RuntimeError,
    ValueError,
    LookupError,
    EOFError,
    TypeError,
    AttributeError,
    AssertionError,
    ArithmeticError,
    MemoryError,
    OSError,
    struct.error,
    zipfile.BadZipFile,
)


def load_state_dict(path: Path, *, sha256: str | None, container_key: str | None) -> "dict[str, Tensor]":
    """The tensors of a weight file, on the CPU, in the dtype they are stored in.

    Args:
        path: A safetensors file or what ``torch.save`` wrote, told apart by content.
        sha256: What the file's bytes must hash to; None takes any.
        container_key: Where the state dict lies in a PyTorch file; None: the file is one. Safetensors have no such
            level.

    Raises:
        WeightsMissingError: There is no such file.
        WeightsDigestError: The bytes hash to something else.
        WeightsDamagedError: The file is cut off, altered, or no weight file at all.
        WeightsUnsafeError: It is a program, or names objects other than tensors and plain containers.
        WeightsKeysError: It does not hold a state dict where it should.
    """
    data = checked_bytes(path, sha256)
    if _is_safetensors(data):
        return _load_safetensors(data, path.name)
    return _state_dict(_load_pytorch(data, path.name), container_key, path.name)


def checked_bytes(path: Path, sha256: str | None) -> bytes:
    """The bytes of a weight file of any format.

    Raises:
        WeightsMissingError: There is no such file.
        WeightsDamagedError: It cannot be read.
        WeightsDigestError: The bytes hash to something else.
    """
    data = _read(path)
    digest = hashlib.sha256(data).hexdigest()
    if sha256 not in (None, digest):
        raise WeightsDigestError(
            f"{path.name} has the digest {digest}, expected {sha256}; it is damaged or another file, fetch it again",
            path=str(path),
            expected=sha256,
            found=digest,
        )
    return data


def check_keys(found: Iterable[str], expected: Iterable[str], ignored_patterns: Iterable[str] = ()) -> None:
    """Compare the keys of a file with those of a network, strictly.

    Args:
        found: Keys in the file.
        expected: Keys of the network; every one of them must be in the file.
        ignored_patterns: Patterns (``*``, ``?``) of keys in the file that the network does without.

    Raises:
        WeightsKeysError: Keys are missing or unknown; up to ten of each are named.
    """
    patterns, there, wanted = tuple(ignored_patterns), set(found), set(expected)
    missing = sorted(wanted - there)
    unknown = sorted(key for key in there - wanted if not any(fnmatchcase(key, pattern) for pattern in patterns))
    if not missing and not unknown:
        return
    parts = [
        f"{len(keys)} {kind}: {_some(keys)}" for kind, keys in (("missing", missing), ("unknown", unknown)) if keys
    ]
    raise WeightsKeysError(
        f"the weights do not fit the network, keys {'; '.join(parts)}; they belong to another model or version",
        missing=missing[:NAMED],
        unknown=unknown[:NAMED],
        missing_count=len(missing),
        unknown_count=len(unknown),
    )


def check_shapes(found: "Mapping[str, Tensor]", expected: "Mapping[str, Tensor]") -> None:
    """Compare the shapes of tensors whose keys are known to agree.

    Raises:
        WeightsKeysError: Some differ; up to ten are named.
    """
    other = sorted(key for key in expected if found[key].shape != expected[key].shape)
    if other:
        raise WeightsKeysError(
            f"the weights do not fit the network, {len(other)} of another shape: {_some(other)}; "
            "they belong to another model or version",
            other_shape=other[:NAMED],
        )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise WeightsMissingError(f"there are no weights at {path}", path=str(path)) from error
    except OSError as error:
        raise WeightsDamagedError(f"{path} cannot be read: {error}", path=str(path)) from error


def _some(keys: Iterable[str]) -> str:
    listed = list(keys)
    return ", ".join(listed[:NAMED]) + (", ..." if len(listed) > NAMED else "")


def _is_safetensors(data: bytes) -> bool:
    """Source: the safetensors format, a 64-bit little-endian header length and a JSON object."""
    return data[8:9] == b"{" and 2 <= int.from_bytes(data[:8], "little") <= HEADER_LIMIT


def _load_safetensors(data: bytes, name: str) -> "dict[str, Tensor]":
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        return load(data)
    except (SafetensorError, json.JSONDecodeError, *BROKEN) as error:
        raise _damaged(name, error) from error


def _load_pytorch(data: bytes, name: str) -> Any:
    if data.startswith(ZIP_MAGIC):
        _check_archive(data, name)
    import torch

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on old formats; what matters is raised
            return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise _refused(data, name) or _damaged(name, error) from error
    except BROKEN as error:
        raise _damaged(name, error) from error


def _check_archive(data: bytes, name: str) -> None:
    """Refuse programs and archives that unpack to much more than they are, before PyTorch sees them."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
    except BROKEN as error:
        raise _damaged(name, error) from error
    parts = [entry.filename.split("/") for entry in entries]
    if any(
        "code" in path[1:-1] or path[-1] == "constants.pkl" for path in parts
    ):  # the first folder is the file's name
        raise WeightsUnsafeError(
            f"{name} is a TorchScript archive, a program and not only weights; use the authors' state dict", name=name
        )
    unpacked = sum(entry.file_size for entry in entries)
    if unpacked > INFLATION_LIMIT * len(data):
        raise WeightsUnsafeError(
            f"{name} unpacks from {len(data)} to {unpacked} bytes; weights are stored without compression", name=name
        )


def _refused(data: bytes, name: str) -> WeightsUnsafeError | None:
    """The refusal of a file that names foreign objects, or None where it names none and must be broken."""
    named: set[str] = set()
    with suppress(*BROKEN):  # what came before a break still tells
        named.update(_globals(_pickled(data)))
    foreign = sorted(entry for entry in named if entry.split(" ")[0] not in TENSOR_MODULES)
    if not foreign:
        return None
    return WeightsUnsafeError(
        f"{name} holds more than tensors and was not loaded: it names {_some(foreign)}; "
        "take the authors' file of plain weights",
        name=name,
        objects=foreign[:NAMED],
    )


def _pickled(data: bytes) -> bytes:
    if not data.startswith(ZIP_MAGIC):
        return data
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        inner = [entry for entry in archive.namelist() if entry.endswith("data.pkl")]
        return archive.read(inner[0]) if inner else b""


def _globals(pickled: bytes) -> Iterator[str]:
    """The names that pickles, one after another, would import, as ``module name``; read without running them."""
    stream = io.BytesIO(pickled)
    while stream.tell() < len(pickled):
        texts: list[str] = []
        for opcode, argument, _ in pickletools.genops(stream):
            if opcode.name in ("GLOBAL", "INST"):
                yield str(argument)
            elif opcode.name == "STACK_GLOBAL":
                yield " ".join(texts[-2:])
            elif isinstance(argument, str):
                texts.append(argument)


def _state_dict(loaded: Any, container_key: str | None, name: str) -> "dict[str, Tensor]":
    if not isinstance(loaded, Mapping):
        raise WeightsKeysError(f"{name} holds a {type(loaded).__name__}, expected named tensors", name=name)
    if container_key is not None:
        if container_key not in loaded:
            there = sorted(str(key) for key in loaded)
            raise WeightsKeysError(
                f"{name} has no {container_key!r}; the keys there are: {_some(there) or 'none'}",
                name=name,
                container_key=container_key,
                found=there[:NAMED],
            )
        return _state_dict(loaded[container_key], None, f"{container_key!r} in {name}")
    return _only_tensors(loaded, name)


def _only_tensors(loaded: Mapping[Any, Any], name: str) -> "dict[str, Tensor]":
    from torch import Tensor

    others = sorted(
        str(key) for key, value in loaded.items() if not (isinstance(key, str) and isinstance(value, Tensor))
    )
    if others:
        raise WeightsKeysError(
            f"{name} is no state dict: not tensors under {_some(others)}; a container key may be missing",
            name=name,
            found=others[:NAMED],
        )
    return dict(loaded)


def _damaged(name: str, error: BaseException) -> WeightsDamagedError:
    words = (str(error).strip() or type(error).__name__).splitlines()[0].split(". ")[0][:160]
    return WeightsDamagedError(
        f"{name} is damaged, cut off, or no weight file ({words}); fetch it again", name=name, reason=words
    )
