"""Weight files on this machine: where they lie, under which name and digest, and which of them are there.

A file whose authors publish no digest is known by the one it had when it was first downloaded. That digest lies beside
it in ``NAME.sha256``, in the form that ``sha256sum --check`` reads, with a line saying what it is worth.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import unquote, urlsplit

import platformdirs

from datasets.errors import UsageError
from datasets.storage import write_atomically
from model_blocks.registry import ModelFacts
from model_blocks.weight_errors import WeightsDamagedError, WeightsKeysError, WeightsMissingError, WeightsUnsafeError

UNVERIFIED = "not verified against a published one"
BLOCK_BYTES = 1 << 20
RECORDED_DIGEST = re.compile(r"^([0-9a-f]{64}) [ *]", re.MULTILINE)

Presence = Literal["needs none", "present", "missing", "damaged"]


@dataclass(frozen=True)
class FoundWeights:
    """Weights of a model that are there.

    Attributes:
        path: The file.
        sha256: What its bytes must hash to when they are loaded.
        published: Whether that is the digest its authors publish.
    """

    path: Path
    sha256: str
    published: bool


@dataclass(frozen=True)
class WeightsState:
    """What is known about a model's weights on this machine.

    Attributes:
        name: The model.
        presence: ``needs none`` for embedded models.
        path: Where its file lies or would lie.
        sha256: The digest it has if it was read, else the one it must have, if that is known.
        published: Whether a digest is published for it.
        detail: What is wrong, in words, or what its digest is worth.
    """

    name: str
    presence: Presence
    path: Path | None = None
    sha256: str | None = None
    published: bool = False
    detail: str = ""


def weights_folder(weights_dir: Path | None) -> Path:
    """The folder of weight files: the one that was set, else ``weights`` in the user's data folder."""
    if weights_dir is None:
        return Path(platformdirs.user_data_dir("stillmotion")) / "weights"
    return weights_dir.expanduser().absolute()


def official_name(facts: ModelFacts) -> str:
    """The name its authors gave the file.

    Raises:
        UsageError: The model needs no weights.
    """
    name = facts.file_name or unquote(urlsplit(facts.file_url or "").path).rsplit("/", 1)[-1]
    if facts.embedded or not name:
        raise UsageError(f"{facts.name} needs no weights", model=facts.name)
    return name


def find_weights(facts: ModelFacts, *, weights_dir: Path | None, overrides: Mapping[str, str]) -> FoundWeights:
    """The weights of a model: the file given for it, else the official one in the weights folder. Never downloads.

    Args:
        facts: The model.
        weights_dir: Folder of weight files; None: the user's data folder.
        overrides: Local files by model name. They count under their own digest, as unpublished.

    Raises:
        WeightsMissingError: There is no such file.
        WeightsDamagedError: It is there and cannot be read.
    """
    given = overrides.get(facts.name)
    if given is not None:
        path = Path(given).expanduser().absolute()
        if not path.is_file():
            raise WeightsMissingError(f"the weights given for {facts.name} are not there: {path}", path=str(path))
        return FoundWeights(path, file_digest(path), published=False)
    path = weights_folder(weights_dir) / official_name(facts)
    if not path.is_file():
        raise WeightsMissingError(
            f"the weights of {facts.name} are missing: no file {path.name} in {path.parent}; "
            f"get them with `stillmotion models pull {facts.name}`",
            model=facts.name,
            path=str(path),
        )
    return FoundWeights(path, known_digest(facts, path) or file_digest(path), published=facts.sha256 is not None)


def known_digest(facts: ModelFacts, path: Path) -> str | None:
    """The digest its file must have: the published one, else the recorded one, else none is known."""
    return facts.sha256 or recorded_digest(path)


def recorded_digest(path: Path) -> str | None:
    """The digest beside a file, or None where there is none."""
    try:
        found = RECORDED_DIGEST.search(digest_note(path).read_text(encoding="utf-8", errors="replace"))
    except FileNotFoundError:
        return None
    return found.group(1) if found else None


def record_digest(path: Path, sha256: str, source: str) -> None:
    """Keep the digest of a file that has no published one, and say so in the note."""
    note = f"{sha256}  {path.name}\n# {UNVERIFIED}; what came from {source}\n"
    write_atomically(digest_note(path), note.encode())


def digest_note(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


def file_digest(path: Path) -> str:
    """The sha256 of a file's bytes, in hexadecimal.

    Raises:
        WeightsDamagedError: The file cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with path.open("rb") as stream:
            while block := stream.read(BLOCK_BYTES):
                digest.update(block)
    except OSError as error:
        raise WeightsDamagedError(f"{path} cannot be read: {error}", path=str(path)) from error
    return digest.hexdigest()


def look(facts: ModelFacts, *, weights_dir: Path | None) -> WeightsState:
    """Whether a model's file is there in its size. Quick: its bytes are not read, ``check`` does that."""
    if facts.embedded:
        return WeightsState(facts.name, "needs none")
    path = weights_folder(weights_dir) / official_name(facts)
    published = facts.sha256 is not None
    digest = known_digest(facts, path)
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        return WeightsState(facts.name, "missing", path, digest, published, f"no file in {path.parent}")
    if facts.bytes not in (None, size):
        words = f"has {size} bytes, the published file {facts.bytes}"
        return WeightsState(facts.name, "damaged", path, digest, published, words)
    return WeightsState(facts.name, "present", path, digest, published)


def check(facts: ModelFacts, *, weights_dir: Path | None) -> WeightsState:
    """Read a model's file and compare it with what is known of it.

    A file of which nothing is known is present if it can be loaded.
    """
    seen = look(facts, weights_dir=weights_dir)
    if seen.presence != "present" or seen.path is None:
        return seen
    try:
        digest = file_digest(seen.path)
        if seen.sha256 is None:
            try_to_load(facts, seen.path, digest)
    except (WeightsDamagedError, WeightsUnsafeError, WeightsKeysError) as error:
        return WeightsState(facts.name, "damaged", seen.path, None, seen.published, error.message)
    if seen.sha256 not in (None, digest):
        words = f"another file than the {'published' if seen.published else 'recorded'} one"
        return WeightsState(facts.name, "damaged", seen.path, digest, seen.published, words)
    detail = "" if seen.published else f"digest {UNVERIFIED}"
    return WeightsState(facts.name, "present", seen.path, digest, seen.published, detail)


def try_to_load(facts: ModelFacts, path: Path, sha256: str) -> None:
    """Read a file of which nothing but its own digest is known, to see whether it holds weights.

    Raises:
        WeightsDamagedError, WeightsUnsafeError, WeightsKeysError: It does not.
    """
    if facts.format == "onnx":
        from model_blocks.onnx_files import read_onnx

        read_onnx(path, sha256=sha256)
        return
    from model_blocks.official import read_whole_state

    read_whole_state(facts, path, sha256)
