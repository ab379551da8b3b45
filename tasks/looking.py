"""A stored picture made small, for pages that show what was measured and not published."""

import cv2
import numpy as np
from numpy.typing import NDArray

from datasets.errors import NotFoundError, OutputDamagedError, OutputIncompleteError
from datasets.frames import FrameReader
from datasets.outputs import OutputPlace, read_manifest
from datasets.storage import Storage
from tasks.intake import PREVIEW
from tasks.ops.depth import to_uint8
from tasks.ops.preview import PREVIEW_SIDE, make_preview

BAND_BYTES = 64 << 20  # of one band as it is read


def small_picture(storage: Storage, fingerprint: str) -> bytes | None:
    """A WebP of a stage's picture, its longer side at most ``PREVIEW_SIDE``; None where it is gone.

    A large picture is read in bands of rows.
    """
    place = OutputPlace(storage, fingerprint)
    try:
        files = read_manifest(place).files
        if PREVIEW in files:
            return place.read_file(PREVIEW, files[PREVIEW])
        return make_preview(_reduced(FrameReader(place)))
    except (OutputIncompleteError, OutputDamagedError, NotFoundError):
        return None


def _reduced(reader: FrameReader) -> NDArray[np.uint8]:
    """The first frame (H, W, 3|4), made smaller by a whole number, so that bands fit together."""
    _, height, width, channels = reader.shape
    step = max(1, max(height, width) // (2 * PREVIEW_SIDE))  # what is left is averaged by the preview
    rows = max(1, BAND_BYTES // (width * channels * reader.dtype.itemsize * step)) * step
    across = width // step * step
    parts = list[NDArray[np.uint8]]()
    for first in range(0, height // step * step, rows):
        last = min(first + rows, height // step * step)
        band = to_uint8(reader.read((slice(0, 1), slice(first, last), slice(0, across)))[0])
        size = (across // step, (last - first) // step)
        parts.append(np.asarray(cv2.resize(band, size, interpolation=cv2.INTER_NEAREST), dtype=np.uint8))
    return np.concatenate(parts)
