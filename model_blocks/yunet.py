"""YuNet: faces and their five landmarks, by the ONNX file of the OpenCV zoo and OpenCV's own code around it.

Source: Wu, Peng, Yu 2023, YuNet: A Tiny Millisecond-level Face Detector.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from threading import Lock
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from model_blocks.capabilities import Face
from model_blocks.facts import Precision
from model_blocks.onnx_files import quiet_opencv, read_onnx
from model_blocks.registry import find_model
from model_blocks.weight_errors import WeightsKeysError

LARGEST_SIDE = 1280  # px of the longer side; the network knows faces of about 10 to 300 px
SMALLEST_SIDE = 160  # px; a face that fills the picture is then well within what the network knows
SCORE = 0.8  # below, patterns on products begin to look like faces
SAME_FACE = 0.5  # of the smaller box: two finds that share more are one face
WITHIN_SIZE = 0.3  # intersection over union above which OpenCV takes two finds at one size for one
MOST = 5000  # finds of one size, before they are thinned out

Finds = NDArray[np.float32]


class YunetDetector:
    """Finds faces from about 10 pixels up, in pictures of at most 1280 pixels; from 1/128 of the longer side in larger.

    The picture is looked at in several sizes, since the network was trained on faces of 10 to 300 pixels.

    Args:
        data: The bytes of the ONNX file.

    Raises:
        WeightsKeysError: They are no face detector of this kind.
    """

    def __init__(self, data: NDArray[np.uint8]) -> None:
        self._lock = Lock()  # OpenCV's detector remembers the size it was told last
        try:
            with quiet_opencv():
                nothing = np.zeros(0, np.uint8)
                self._detector = cv2.FaceDetectorYN.create("onnx", data, nothing, (32, 32), SCORE, WITHIN_SIZE, MOST)
                self._finds(np.zeros((32, 32, 3), np.uint8))
        except cv2.error as error:
            raise WeightsKeysError("expected the network of YuNet; the ONNX file holds another one") from error

    def detect(self, image: Tensor) -> tuple[Face, ...]:
        """The faces of a picture (3, H, W), RGB 0..1, in its pixels, the surest first."""
        pixels = np.rint(image.detach().float().cpu().clamp(0, 1).numpy() * 255).astype(np.uint8)
        bgr = np.ascontiguousarray(pixels.transpose(1, 2, 0)[..., ::-1])
        finds = [find for size in _sizes(*bgr.shape[:2]) for find in self._at(bgr, size)]
        return tuple(_distinct(sorted(map(_face, finds), key=lambda face: -face.score)))

    def _at(self, bgr: NDArray[np.uint8], size: tuple[int, int]) -> Finds:
        """What is found in a copy of (height, width) ``size``, in the picture's pixels."""
        height, width = bgr.shape[:2]
        copy = bgr
        if size != (height, width):
            copy = np.asarray(cv2.resize(bgr, size[::-1], interpolation=cv2.INTER_AREA), dtype=np.uint8)
        finds = self._finds(copy)
        across, down = width / size[1], height / size[0]
        finds[:, [2, 3]] *= (across, down)
        finds[:, [0, 4, 6, 8, 10, 12]] = (finds[:, [0, 4, 6, 8, 10, 12]] + 0.5) * across - 0.5
        finds[:, [1, 5, 7, 9, 11, 13]] = (finds[:, [1, 5, 7, 9, 11, 13]] + 0.5) * down - 0.5
        return finds[np.isfinite(finds).all(axis=1)]

    def _finds(self, bgr: NDArray[np.uint8]) -> Finds:
        """(N, 15): box as x, y, width, height, five points x, y, score."""
        with self._lock:
            self._detector.setInputSize((bgr.shape[1], bgr.shape[0]))
            _, finds = self._detector.detect(bgr)
        return np.zeros((0, 15), np.float32) if finds is None else np.array(finds, dtype=np.float32)


def open_yunet(
    name: str,
    path: str | Path,
    *,
    sha256: str | None = None,
    device: str = "cpu",  # noqa: ARG001 - every official model is opened with the same facts
    precision: Precision = "float32",  # noqa: ARG001
) -> YunetDetector:
    """The registered detector from its ONNX file. It runs on the CPU in float32 whatever is asked for.

    Raises:
        ModelUnknownError: Nothing of that name is registered.
        WeightsMissingError, WeightsDigestError, WeightsDamagedError: As ``read_onnx`` does.
        WeightsKeysError: The file holds another network.
    """
    find_model(name, "detect_faces")
    return YunetDetector(read_onnx(Path(path), sha256=sha256 or None))


def _sizes(height: int, width: int) -> Iterator[tuple[int, int]]:
    """Sizes in which a picture is looked at, (height, width), each half of the one before."""
    side = float(min(LARGEST_SIDE, max(height, width)))
    while True:
        ratio = side / max(height, width)
        yield max(1, round(height * ratio)), max(1, round(width * ratio))
        side /= 2
        if side < SMALLEST_SIDE:
            return


def _face(find: NDArray[np.float32]) -> Face:
    values: list[Any] = find.tolist()
    points = tuple((values[at], values[at + 1]) for at in range(4, 14, 2))
    return Face((values[0], values[1], values[2], values[3]), points, min(1.0, values[14]))


def _distinct(faces: Iterable[Face]) -> list[Face]:
    """Every face once, as it was found with the highest score."""
    kept: list[Face] = []
    for face in faces:
        if all(_shared(face, other) <= SAME_FACE for other in kept):
            kept.append(face)
    return kept


def _shared(first: Face, second: Face) -> float:
    """How much of the smaller box lies in the other."""
    (ax, ay, aw, ah), (bx, by, bw, bh) = first.box, second.box
    across = min(ax + aw, bx + bw) - max(ax, bx)
    down = min(ay + ah, by + bh) - max(ay, by)
    smaller = min(aw * ah, bw * bh)
    return max(0.0, across) * max(0.0, down) / smaller if smaller > 0 else 1.0
