"""Zip archives that hold weights: one that the authors put files into, and the one that PyTorch's own format is."""

import io
import struct
import zipfile
from fnmatch import fnmatchcase

from model_blocks.weight_errors import WeightsDamagedError, WeightsKeysError, WeightsUnsafeError

ZIP_MAGIC = b"PK\x03\x04"
INFLATION_LIMIT = 2  # unpacked over packed size; PyTorch stores without compression, so honest files have 1
BROKEN = (  # what PyTorch's readers and zipfile raise on damaged files, found by flipping and cutting bytes
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


def damaged(name: str, error: BaseException) -> WeightsDamagedError:
    """What a reader's exception comes to."""
    words = (str(error).strip() or type(error).__name__).splitlines()[0].split(". ")[0][:160]
    return WeightsDamagedError(
        f"{name} is damaged, cut off, or no weight file ({words}); fetch it again", name=name, reason=words
    )


def unpacked(data: bytes, member: str | None, name: str) -> tuple[bytes, str]:
    """The file that lies in an archive of the authors, and what to call it; anything else as it is.

    Args:
        data: The bytes of the whole file.
        member: The end of the path inside, parts and ``*``: ``models/best.ckpt``; None: the file is no such archive.
        name: What the file is called.

    Raises:
        WeightsKeysError: The archive has no such file, or more than one.
        WeightsUnsafeError: It unpacks to much more than it is.
        WeightsDamagedError: It cannot be read.
    """
    if member is None or not data.startswith(ZIP_MAGIC):
        return data, name
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = [entry for entry in archive.infolist() if not entry.is_dir()]
            if _is_pytorch(entries):
                return data, name
            entry = _only(entries, member, name)
            refuse_inflated(len(data), entry.file_size, name)
            return archive.read(entry), f"{entry.filename} in {name}"
    except (NotImplementedError, *BROKEN) as error:
        raise damaged(name, error) from error


def is_program(data: bytes, name: str) -> bool:
    """Whether an archive of PyTorch is TorchScript: a program that brings its weights along.

    Raises:
        WeightsUnsafeError: It unpacks to much more than it is.
        WeightsDamagedError: It cannot be read.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
    except BROKEN as error:
        raise damaged(name, error) from error
    refuse_inflated(len(data), sum(entry.file_size for entry in entries), name)
    parts = [entry.filename.split("/") for entry in entries]
    return any("code" in path[1:-1] or path[-1] == "constants.pkl" for path in parts)  # the first is the file's name


def refuse_inflated(packed_bytes: int, unpacked_bytes: int, name: str) -> None:
    """Raise if an archive unpacks to much more than it is."""
    if unpacked_bytes > INFLATION_LIMIT * packed_bytes:
        raise WeightsUnsafeError(
            f"{name} unpacks from {packed_bytes} to {unpacked_bytes} bytes; weights hardly get smaller by compression",
            name=name,
        )


def _is_pytorch(entries: list[zipfile.ZipInfo]) -> bool:
    """PyTorch's format has a pickle and a version right below one folder."""
    second = {tuple(entry.filename.split("/")[1:]) for entry in entries}
    return ("data.pkl",) in second and (("version",) in second or ("constants.pkl",) in second)


def _only(entries: list[zipfile.ZipInfo], member: str, name: str) -> zipfile.ZipInfo:
    fitting = [each for each in entries if any(fnmatchcase(each.filename, like) for like in (member, f"*/{member}"))]
    if len(fitting) == 1:
        return fitting[0]
    there = sorted(each.filename for each in (fitting or entries))[:10]
    raise WeightsKeysError(
        f"{name} holds {len(fitting)} files {member}, expected one; {'they' if fitting else 'in it'} are: "
        f"{', '.join(there) or 'none'}",
        name=name,
        member=member,
        found=there,
    )
