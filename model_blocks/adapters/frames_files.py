"""Frames as numbered PNG files: written for an adapter, read back and believed nothing."""

import os
import re
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np

from model_blocks.adapters.frames_adapter import Frames
from model_blocks.adapters.frames_errors import AdapterOutputError

NUMBERED = re.compile(r"(?:frame[_-]?)?(\d{1,9})\.png")
SIGNATURE = b"\x89PNG\r\n\x1a\n"
MOST_ENTRIES = 10_000  # of a folder that are looked at
BYTES_PER_PIXEL = 9  # four channels of 16 bits and a filter byte for a row of one: the most that a sane PNG takes
SPARE_BYTES = 1 << 20  # of a PNG for what is no pixel
WORDS = "frames are PNG files of 8 or 16 bits, numbered 000000.png, 000001.png and so on, one for each frame sent"


def png_bytes(frame: Frames) -> bytes:
    """A frame (H, W, 3) as PNG of its own depth."""
    done, data = cv2.imencode(".png", frame[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 1])
    assert done
    return data.tobytes()


def frame_name(number: int) -> str:
    return f"{number:06d}.png"


def save_frames(frames: Frames, folder: Path) -> None:
    """Write frames (T, H, W, 3) as numbered files."""
    for number, frame in enumerate(frames):
        (folder / frame_name(number)).write_bytes(png_bytes(frame))


def folder_below(said: str, root: Path, base: Path) -> Path:
    """A folder that an adapter names, where it lies below the one that is allowed.

    Args:
        said: As the adapter says it; relative to ``base``.

    Raises:
        AdapterOutputError: It is not there, or a link or ``..`` leads outside.
    """
    try:
        found = (base / said).resolve(strict=True)
    except (OSError, ValueError, RuntimeError) as error:
        raise AdapterOutputError(f"the adapter says its frames are in {said[:200]!r}, which is not there") from error
    if not found.is_dir() or not found.is_relative_to(root.resolve()):
        raise AdapterOutputError(
            f"the adapter says its frames are in {said[:200]!r}, which is no folder below the one it may write to"
        )
    return found


def read_frames(folder: Path, count: int, *, max_megapixels: float) -> Frames:
    """The frames that an adapter left in a folder.

    Args:
        count: How many there have to be.
        max_megapixels: Largest frame that is decoded.

    Returns:
        (T, H, W, 3), uint8, or uint16 if any file has 16 bits.

    Raises:
        AdapterOutputError: Frames are missing or too many, of several sizes, too large, damaged, or no files.
    """
    paths = _numbered(folder)
    if len(paths) != count:
        raise AdapterOutputError(
            f"expected {count} frames, and the adapter left {len(paths)}; {WORDS}", expected=count, found=len(paths)
        )
    return decode_frames((_read(path, max_megapixels) for path in paths), max_megapixels=max_megapixels)


def decode_frames(files: Iterator[bytes] | Sequence[bytes], *, max_megapixels: float) -> Frames:
    """PNG files as frames; as ``read_frames`` does.

    Raises:
        AdapterOutputError: One is no PNG, damaged or too large, or they are of several sizes.
    """
    frames = [decode_frame(data, number, max_megapixels=max_megapixels) for number, data in enumerate(files)]
    sizes = sorted({frame.shape[:2] for frame in frames})
    if len(sizes) > 1:
        told = " and ".join(f"{width}×{height}" for height, width in sizes[:3])
        raise AdapterOutputError(f"expected frames of one size, and the adapter made {told}")
    if any(frame.dtype == np.uint16 for frame in frames):
        frames = [frame if frame.dtype == np.uint16 else frame.astype(np.uint16) * 257 for frame in frames]
    return np.stack(frames)


def decode_frame(data: bytes, number: int, *, max_megapixels: float) -> Frames:
    """One PNG as (H, W, 3).

    Raises:
        AdapterOutputError: It is none, damaged or too large.
    """
    width, height = _size(data, number)
    if width * height > max_megapixels * 1e6:
        raise AdapterOutputError(
            f"frame {number} is {width}×{height}, more than {max_megapixels:g} megapixels; make it smaller or raise "
            "max_megapixels in the adapter's declaration",
            frame=number,
            width=width,
            height=height,
        )
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH | cv2.IMREAD_IGNORE_ORIENTATION
    found = cv2.imdecode(np.frombuffer(data, np.uint8), flags) if data.endswith(b"IEND\xaeB`\x82") else None
    if found is None or found.shape != (height, width, 3) or found.dtype not in (np.uint8, np.uint16):
        raise AdapterOutputError(f"frame {number} is a damaged PNG; {WORDS}", frame=number)
    return np.ascontiguousarray(found[..., ::-1])


def _size(data: bytes, number: int) -> tuple[int, int]:
    """Width and height from the head, before anything is decoded."""
    if not data.startswith(SIGNATURE) or data[12:16] != b"IHDR" or len(data) < 33:
        raise AdapterOutputError(f"frame {number} is no PNG, it begins with {data[:8].hex(' ')}; {WORDS}", frame=number)
    return int.from_bytes(data[16:20]), int.from_bytes(data[20:24])


def _numbered(folder: Path) -> list[Path]:
    """The numbered files in their order; other files, such as logs, are passed over."""
    found: dict[int, Path] = {}
    with os.scandir(folder) as entries:
        for seen, entry in enumerate(entries):
            if seen >= MOST_ENTRIES:
                raise AdapterOutputError(f"the adapter left more than {MOST_ENTRIES} files; {WORDS}")
            match = NUMBERED.fullmatch(entry.name)
            if match and found.setdefault(int(match[1]), Path(entry.path)) != Path(entry.path):
                raise AdapterOutputError(f"the adapter left two frames of number {int(match[1])}; {WORDS}")
    numbers = sorted(found)
    if numbers and (numbers[0] > 1 or numbers[-1] - numbers[0] != len(numbers) - 1):
        missing = sorted(set(range(numbers[-1])) - set(numbers) - {0})[:5]
        raise AdapterOutputError(f"frames {missing or 'at the beginning'} are missing; {WORDS}", found=len(numbers))
    return [found[number] for number in numbers]


def _read(path: Path, max_megapixels: float) -> bytes:
    """A file's bytes. Links are not followed, and what is no file (a pipe would never end) is not read."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise AdapterOutputError(
            f"{path.name} is a link or cannot be read ({error.strerror}); {WORDS}", file=path.name
        ) from error
    with os.fdopen(handle, "rb") as stream:
        about = os.fstat(handle)
        if not stat.S_ISREG(about.st_mode):
            raise AdapterOutputError(f"{path.name} is no file; {WORDS}", file=path.name)
        if about.st_size > max_megapixels * 1e6 * BYTES_PER_PIXEL + SPARE_BYTES:
            raise AdapterOutputError(f"{path.name} has {about.st_size} bytes, more than any frame it may be")
        return stream.read()
