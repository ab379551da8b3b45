"""Fetching weights: from a mirror or their authors, resumed where it broke off, shown only after it was verified."""

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from datasets.errors import DiskTooSmallError, NotFoundError, StorageUnavailableError
from datasets.known_secrets import shown_address
from datasets.storage import PART, write_atomically
from model_blocks.registry import ModelFacts
from model_blocks.weight_errors import (
    WeightsDamagedError,
    WeightsDigestError,
    WeightsKeysError,
    WeightsMissingError,
    WeightsUnreachableError,
    WeightsUnsafeError,
)
from model_blocks.weight_files import check, file_digest, official_name, record_digest, try_to_load, weights_folder
from model_blocks.weight_sources import Body, open_source, source_urls

Progress = Callable[[int, int | None], None]
TRIES = 4  # in a row without one new byte
PAUSE_S = 0.5  # before the second try; doubled every time


@dataclass(frozen=True)
class Pulled:
    """A file that is there now.

    Attributes:
        path: Where.
        sha256: Its digest.
        published: Whether that was compared with a published one.
        source: Where it came from; empty if it was there already.
    """

    path: Path
    sha256: str
    published: bool
    source: str


def pull(
    facts: ModelFacts,
    *,
    weights_dir: Path | None,
    mirror: str | None,
    progress: Progress,
    options: Mapping[str, Any] | None = None,
) -> Pulled:
    """Fetch a model's weights unless they are there and whole.

    Args:
        facts: The model.
        weights_dir: Where weight files are kept; None: the user's data folder.
        mirror: A folder or address asked before the authors'.
        progress: Called with the bytes there and the bytes there will be, None if the source does not say.
        options: What the mirror's file system needs besides its address: endpoint, region.

    Raises:
        WeightsDigestError: A source gave another file than the published one; it was removed.
        WeightsDamagedError, WeightsUnsafeError, WeightsKeysError: No digest is published, and what came cannot be
            loaded; it was removed.
        WeightsUnreachableError: No source could be reached; what came so far is kept for the next time.
        WeightsMissingError: The sources answer, and none has the file.
        DiskTooSmallError: It would not fit.
    """
    path = weights_folder(weights_dir) / official_name(facts)
    try:
        with _alone(path):
            state = check(facts, weights_dir=weights_dir)
            if state.presence == "present" and state.sha256:
                if not state.published:
                    record_digest(path, state.sha256, "a file that was there")
                return Pulled(path, state.sha256, state.published, "")
            return _from_any(facts, path, mirror, progress, options or {})
    except OSError as error:
        raise _unwritable(path, error) from error


def _from_any(
    facts: ModelFacts, path: Path, mirror: str | None, progress: Progress, options: Mapping[str, Any]
) -> Pulled:
    reasons = [] if facts.file_url else [f"no address of {path.name} is known; name a mirror, or use --weights"]
    unreachable = False
    for url in source_urls(path.name, mirror, facts.file_url):
        try:
            _fetch(facts, url, path, progress, options)
            return _publish(facts, path, url)
        except (NotFoundError, WeightsUnreachableError) as error:
            unreachable = unreachable or isinstance(error, WeightsUnreachableError)
            reasons.append(error.message)
    kind = WeightsUnreachableError if unreachable else WeightsMissingError
    raise kind(f"the weights of {facts.name} could not be fetched: {'; '.join(reasons)}", model=facts.name)


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """One process fetches a file; others wait and find it. The kernel frees the lock of a killed process."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f"{PART}{path.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _part(path: Path) -> Path:
    return path.with_name(f"{PART}{path.name}")


def _note(path: Path) -> Path:
    return path.with_name(f"{PART}{path.name}.json")


def _fetch(facts: ModelFacts, url: str, path: Path, progress: Progress, options: Mapping[str, Any]) -> None:
    """All bytes of a source into the partial file; goes on as long as tries bring bytes."""
    tries = 0
    while True:
        before = _size(_part(path))
        try:
            _fetch_once(facts, url, path, progress, options)
        except WeightsUnreachableError:
            tries = 1 if _size(_part(path)) > before else tries + 1
            if tries >= TRIES:
                raise
            time.sleep(PAUSE_S * 2 ** (tries - 1))
        else:
            return


def _fetch_once(facts: ModelFacts, url: str, path: Path, progress: Progress, options: Mapping[str, Any]) -> None:
    offset, version = _resumable(facts, url, path)
    part = _part(path)
    if offset and offset == facts.bytes:
        return
    with open_source(url, offset=offset, version=version, options=options) as body:
        _refuse_other_size(facts, url, body, path)
        write_atomically(_note(path), json.dumps({"url": shown_address(url), "version": body.version}).encode())
        with _opened(part, body.offset) as stream:
            for block in body.blocks:
                _write(stream, block, part)
                progress(stream.tell(), body.total)


def _opened(part: Path, offset: int) -> BinaryIO:
    try:
        stream = part.open("r+b" if part.exists() else "w+b")
        _go_to(stream, offset)
    except OSError as error:
        raise _unwritable(part, error) from error
    return stream


def _go_to(stream: BinaryIO, offset: int) -> None:
    stream.truncate(offset)
    stream.seek(offset)


def _write(stream: BinaryIO, block: bytes, part: Path) -> None:
    """A full disk is no fault of the source."""
    try:
        stream.write(block)
        stream.flush()
    except OSError as error:
        raise _unwritable(part, error) from error


def _unwritable(path: Path, error: OSError) -> StorageUnavailableError:
    return StorageUnavailableError(f"could not write {path}: {error}; check space and rights", path=str(path))


def _resumable(facts: ModelFacts, url: str, path: Path) -> tuple[int, str]:
    """Where to go on. Without a published digest only the same version of the same address may be continued."""
    size = _size(_part(path))
    try:
        note = json.loads(_note(path).read_text())
    except (FileNotFoundError, ValueError):
        return 0, ""
    same = note.get("url") == shown_address(url)
    if facts.sha256 is not None:  # whatever is put together, its digest is compared in the end
        return size, note["version"] if same else ""
    return (size, note["version"]) if same and note["version"] else (0, "")


def _refuse_other_size(facts: ModelFacts, url: str, body: Body, path: Path) -> None:
    if facts.bytes is not None and body.total not in (None, facts.bytes):
        _remove_part(path)
        raise WeightsDigestError(
            f"{shown_address(url)} offers {body.total} bytes, the published file of {facts.name} has {facts.bytes}; "
            "nothing was kept",
            url=shown_address(url),
            expected=facts.bytes,
            found=body.total,
        )
    stats = os.statvfs(path.parent)
    if body.total is not None and body.total - body.offset > stats.f_bavail * stats.f_frsize:
        raise DiskTooSmallError(f"{path.name} needs {body.total} bytes, more than is free at {path.parent}")


def _publish(facts: ModelFacts, path: Path, url: str) -> Pulled:
    """Compare the digest, then give the file its name."""
    with _part(path).open("rb") as stream:
        os.fsync(stream.fileno())
    digest = file_digest(_part(path))
    if facts.sha256 not in (None, digest):
        _remove_part(path)
        raise WeightsDigestError(
            f"what came from {shown_address(url)} has the digest {digest}, the published one of {facts.name} is "
            f"{facts.sha256}; it was removed; try again, and check the mirror if there is one",
            url=shown_address(url),
            expected=facts.sha256,
            found=digest,
        )
    if facts.sha256 is None:
        _refuse_no_weights(facts, path, digest)
        record_digest(path, digest, shown_address(url))
    _part(path).replace(path)
    _remove_part(path)
    return Pulled(path, digest, facts.sha256 is not None, shown_address(url))


def _refuse_no_weights(facts: ModelFacts, path: Path, digest: str) -> None:
    """Where no digest is published, at least what came must hold weights and nothing else."""
    try:
        try_to_load(facts, _part(path), digest)
    except (WeightsDamagedError, WeightsUnsafeError, WeightsKeysError):
        _remove_part(path)
        raise


def _remove_part(path: Path) -> None:
    _part(path).unlink(missing_ok=True)
    _note(path).unlink(missing_ok=True)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
