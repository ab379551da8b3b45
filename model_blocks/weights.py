"""Weights from their authors' files: the bytes that are hashed are the bytes that are loaded, and nothing in them runs.

Safetensors are read first; everything else goes through PyTorch's ``weights_only`` reader, which makes tensors and
plain containers and refuses any other object; classes that a model's facts name get stand-ins without code. TorchScript
archives are programs and are refused, except those whose digest is on a model's list, and demanded by the caller.
"""

import hashlib
import io
import json
import pickle
import pickletools
import warnings
import zipfile
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model_blocks.inert import let_through
from model_blocks.weight_archives import BROKEN, ZIP_MAGIC, damaged, is_program, unpacked
from model_blocks.weight_errors import (
    WeightsDamagedError,
    WeightsDigestError,
    WeightsKeysError,
    WeightsMissingError,
    WeightsUnsafeError,
)

if TYPE_CHECKING:
    from torch import Tensor

HEADER_LIMIT = 100_000_000  # bytes; the safetensors format allows no longer header
NAMED = 10  # keys that a message lists
TENSOR_MODULES = ("torch", "torch._utils", "torch._tensor", "torch.storage", "torch.nn.parameter", "collections")


def load_state_dict(
    path: Path,
    *,
    sha256: str | None,
    container_key: str | None,
    archive_member: str | None = None,
    inert_classes: tuple[str, ...] = (),
    torchscript_sha256: tuple[str, ...] = (),
) -> "dict[str, Tensor]":
    """The tensors of a weight file, on the CPU, in the dtype they are stored in.

    Args:
        path: A safetensors file or what ``torch.save`` wrote, told apart by content.
        sha256: What the file's bytes must hash to; None takes any.
        container_key: Where the state dict lies in a PyTorch file; None: the file is one. Safetensors have no such
            level, and programs none either.
        archive_member: The end of the path of the weights where the file is an archive; the digest is the archive's.
        inert_classes: Classes, ``module.name``, that the file may name; stand-ins without code take their place.
        torchscript_sha256: Digests of programs whose tensors may be taken; only if ``sha256`` demands the same.

    Raises:
        WeightsMissingError: There is no such file.
        WeightsDigestError: The bytes hash to something else.
        WeightsDamagedError: The file is cut off, altered, or no weight file at all.
        WeightsUnsafeError: It is a program, or names objects other than tensors and plain containers.
        WeightsKeysError: It does not hold a state dict where it should.
    """
    data, name = unpacked(checked_bytes(path, sha256), archive_member, path.name)
    if _is_safetensors(data):
        return _load_safetensors(data, name)
    if data.startswith(ZIP_MAGIC) and is_program(data, name):
        return _load_program(data, name, known=sha256 in torchscript_sha256)
    return _state_dict(_load_pytorch(data, name, inert_classes), container_key, name)


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
        raise damaged(name, error) from error


def _load_pytorch(data: bytes, name: str, inert_classes: tuple[str, ...]) -> Any:
    import torch

    try:
        with warnings.catch_warnings(), let_through(inert_classes):
            warnings.simplefilter("ignore")  # on old formats; what matters is raised
            return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise _refused(data, name, inert_classes) or damaged(name, error) from error
    except BROKEN as error:
        raise damaged(name, error) from error


def _load_program(data: bytes, name: str, *, known: bool) -> "dict[str, Tensor]":
    """The tensors of a program that is known to the last byte; it is not called."""
    if not known:
        raise WeightsUnsafeError(
            f"{name} is a TorchScript archive, a program and not only weights; use the authors' state dict", name=name
        )
    import torch

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the format is old; what matters is raised
            return dict(torch.jit.load(io.BytesIO(data), map_location="cpu").state_dict())  # type: ignore[no-untyped-call]
    except BROKEN as error:
        raise damaged(name, error) from error


def _refused(data: bytes, name: str, inert_classes: tuple[str, ...]) -> WeightsUnsafeError | None:
    """The refusal of a file that names foreign objects, or None where it names none and must be broken."""
    named: set[str] = set()
    with suppress(*BROKEN):  # what came before a break still tells
        named.update(_globals(_pickled(data)))
    foreign = sorted(
        entry
        for entry in named
        if entry.split(" ")[0] not in TENSOR_MODULES and _present_name(entry) not in inert_classes
    )
    if not foreign:
        return None
    return WeightsUnsafeError(
        f"{name} holds more than tensors and was not loaded: it names {_some(foreign)}; "
        "take the authors' file of plain weights",
        name=name,
        objects=foreign[:NAMED],
    )


def _present_name(entry: str) -> str:
    """``module.name`` of today for what old pickles say with the names of Python 2, as PyTorch's reader does."""
    module, _, name = entry.partition(" ")
    if (module, name) in NAME_MAPPING:
        module, name = NAME_MAPPING[module, name]
    return f"{IMPORT_MAPPING.get(module, module)}.{name}"


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
