"""Short animated previews: a few seconds from several places of a clip."""

import io
import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from datasets.errors import FrameShapeError
from tasks.ops.depth import Pixels
from tasks.ops.encode import srgb_profile
from tasks.ops.video.sheets import Shot, share_out
from tasks.ops.video.tiles import Size, fitted, shape_seen, small_copy

LONGEST_S = 4
PLACES = 4
RATE = 10  # frames per second
BOX: Size = (568, 320)  # rows, columns: an upright phone clip fills it
QUALITY = 70


def preview_indices(pts: NDArray[np.int64], time_base: Fraction, shots: Sequence[Shot]) -> tuple[list[int], list[int]]:
    """Frames of a preview and for how long each is shown, in milliseconds; at most ``LONGEST_S`` together.

    Up to ``PLACES`` stretches of a second, shared out by the length of the shots; none crosses a cut. A shot that is
    shorter than its stretches is shown whole.

    Args:
        pts: (T,) rising time stamps; the last frame is taken to last as long as the one before it.
        time_base: Seconds per tick.
        shots: Half open ranges of frames; none means one shot.

    Raises:
        FrameShapeError: There are no frames.
    """
    if not len(pts):
        raise FrameShapeError("a preview needs at least one frame, got none", shape=pts.shape)
    last = pts[-1] - pts[-2] if len(pts) > 1 else 1
    edges = [int(tick) for tick in pts] + [int(pts[-1] + last)]
    known = [shot for shot in shots if shot[1] > shot[0]] or [(0, len(pts))]
    stretches = [(edges[start], edges[end]) for start, end in known]
    seconds = [math.ceil((end - start) * time_base) for start, end in stretches]  # so many stretches it has room for
    shares = share_out(seconds, PLACES, each_first=False)
    shown = [
        tick
        for (start, end), share in zip(stretches, shares, strict=True)
        for tick in _moments(start, end, share, Fraction(time_base))
    ]
    chosen = (np.searchsorted(pts, [float(tick) for tick in shown], side="right") - 1).tolist()
    return _held(chosen, 1000 // RATE)


def _moments(start: int, end: int, share: int, time_base: Fraction) -> list[Fraction]:
    """The moments, in ticks, at which a shot is looked at: the middles of the preview's own frames."""
    step = 1 / (RATE * time_base)
    moments: list[Fraction] = []
    for part in range(share):
        room = Fraction(end - start, share)
        count = max(1, min(LONGEST_S * RATE // PLACES, int(room / step)))
        length = min(room, count * step)
        first = start + room * part + (room - length) / 2
        moments += [first + length * (2 * at + 1) / (2 * count) for at in range(count)]
    return moments


def _held(chosen: Sequence[int], each_ms: int) -> tuple[list[int], list[int]]:
    """Repeated frames as one that is shown longer."""
    indices: list[int] = []
    durations: list[int] = []
    for index in chosen:
        if indices and indices[-1] == index:
            durations[-1] += each_ms
        else:
            indices.append(index)
            durations.append(each_ms)
    return indices, durations


def write_preview(
    frames: Sequence[Pixels], durations_ms: Sequence[int], *, sample_aspect: Fraction = Fraction(1)
) -> bytes:
    """An endless animated WebP; the bytes depend on the arguments and on Pillow and libwebp alone.

    Args:
        frames: (H, W, 3|4) each, all of one size, uint8 or uint16, sRGB, straight alpha, which is kept. Shrunk into
            ``BOX``, never enlarged.
        durations_ms: For how long each is shown.
        sample_aspect: Width over height of one pixel.

    Raises:
        FrameShapeError: There are no frames, or not as many as durations.
    """
    if not len(frames) or len(frames) != len(durations_ms):
        raise FrameShapeError(
            f"a preview needs frames and as many durations, got {len(frames)} and {len(durations_ms)}",
            frames=len(frames),
        )
    height, width = frames[0].shape[:2]
    shape = shape_seen(height, width, sample_aspect)
    seen = (height, max(1, round(height * shape)))
    size = seen if seen[0] <= BOX[0] and seen[1] <= BOX[1] else fitted(shape, BOX)
    first, *others = [Image.fromarray(np.ascontiguousarray(small_copy(frame, size))) for frame in frames]
    stream = io.BytesIO()
    first.save(
        stream, "WEBP", save_all=True, append_images=others, duration=list(durations_ms), loop=0,
        quality=QUALITY, method=4, icc_profile=srgb_profile(),
    )  # fmt: skip
    return stream.getvalue()
