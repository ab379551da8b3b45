"""Where the record of a published file lies beside it: in one folder, so that the user's own stays tidy."""

from collections.abc import Iterator
from pathlib import Path

from datasets.storage import write_atomically

FOLDER = "provenance"
ENDING = ".provenance.json"


def record_path(file: Path) -> Path:
    """Where the record of a file lies."""
    return file.parent / FOLDER / f"{file.name}{ENDING}"


def write_record(file: Path, data: bytes) -> None:
    """Put a record beside its file, unless it is there already.

    Raises:
        OSError: The folder does not take it.
    """
    path = record_path(file)
    if not path.is_file() or path.read_bytes() != data:
        write_atomically(path, data)


def records_naming(folder: Path, sha256: str) -> Iterator[bytes]:
    """Records beside the files of a folder that hold a digest: whose file was renamed is found by its content."""
    for path in sorted((folder / FOLDER).glob(f"*{ENDING}")):
        data = path.read_bytes()
        if sha256.encode() in data:
            yield data
