"""ONNX files: the bytes that are hashed are the bytes that are read. They are data, and nothing in them is run."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from model_blocks.weight_errors import WeightsDamagedError
from model_blocks.weights import checked_bytes


def read_onnx(path: Path, *, sha256: str | None) -> NDArray[np.uint8]:
    """The bytes of an ONNX file that OpenCV can read.

    Args:
        path: The file.
        sha256: What its bytes must hash to; None takes any.

    Raises:
        WeightsMissingError: There is no such file.
        WeightsDigestError: The bytes hash to something else.
        WeightsDamagedError: It is cut off, altered, or no ONNX file.
    """
    data = np.frombuffer(checked_bytes(path, sha256), dtype=np.uint8)
    try:
        with quiet_opencv():
            empty = bool(cv2.dnn.readNetFromONNX(data).empty())
    except cv2.error as error:
        raise _damaged(path) from error
    if empty:
        raise _damaged(path)
    return data


@contextmanager
def quiet_opencv() -> Iterator[None]:
    """OpenCV tells about its engines on standard error; what matters is raised."""
    log = cv2.utils.logging
    before = log.setLogLevel(log.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        log.setLogLevel(before)


def _damaged(path: Path) -> WeightsDamagedError:
    return WeightsDamagedError(
        f"{path.name} is damaged, cut off, or no ONNX file; fetch it again", name=path.name, path=str(path)
    )
