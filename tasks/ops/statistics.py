"""Tone statistics of a clip: integer histograms, so that totals are the same however the clip was cut in chunks."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from datasets.errors import FrameShapeError
from tasks.ops.depth import Pixels, full_scale, to_uint16
from tasks.ops.transfer import srgb_to_linear

BINS = {255.0: 256, 65535.0: 1024}  # by full scale: 8 bit exactly, 16 bit in steps of 64 codes
REC709 = (0.2126, 0.7152, 0.0722)  # luminance of linear sRGB; source: ITU-R BT.709
LUMA = 3  # index of the luma histogram behind R, G and B

MINKOWSKI_ORDER = 6  # 1 is plain gray world, infinity takes the brightest pixel for white
BAND_PIXELS = 1 << 18  # counted at a time, so that memory stays small
GAIN_LIMIT = 4.0  # a colour cast beyond two stops is the subject's own colour, not the light's
HIGHLIGHTS = (0.8, 1.0)  # linear light where the brightest hundredth may be moved to
TONES = (0.005, 0.95)  # linear light outside of which a pixel says nothing of exposure: crushed, clipped or paper white
MAX_STOPS = 3.0


@dataclass(frozen=True)
class ToneStatistics:
    """How often each tone occurs among opaque pixels.

    Attributes:
        counts: four histograms of equal length (R, G, B, luma of the sRGB codes): 256 bins for 8 bit, 1024 for 16 bit.
    """

    counts: tuple[tuple[int, ...], ...]

    def __add__(self, other: "ToneStatistics") -> "ToneStatistics":
        if self.bins != other.bins:
            raise FrameShapeError(f"histograms of {self.bins} and {other.bins} bins cannot be added")
        pairs = zip(self.counts, other.counts, strict=True)
        return ToneStatistics(tuple(tuple(a + b for a, b in zip(*pair, strict=True)) for pair in pairs))

    @classmethod
    def empty(cls, bins: int = 256) -> "ToneStatistics":
        return cls(((0,) * bins,) * 4)

    @property
    def bins(self) -> int:
        return len(self.counts[0])

    @property
    def pixels(self) -> int:
        return sum(self.counts[LUMA])

    @property
    def tones(self) -> NDArray[np.float64]:
        """The sRGB value, 0..1, that each bin stands for: its middle code."""
        width = 1 if self.bins == 256 else 65536 // self.bins
        top = self.bins * width - 1
        return (np.arange(self.bins) * width + (width - 1) / 2) / top

    @property
    def linear_tones(self) -> NDArray[np.float64]:
        """The linear light, 0..1, that each bin stands for."""
        return srgb_to_linear(self.tones).astype(np.float64)

    def to_json(self) -> list[list[int]]:
        return [list(channel) for channel in self.counts]

    @classmethod
    def from_json(cls, value: Sequence[Sequence[int]]) -> "ToneStatistics":
        return cls(tuple(tuple(int(count) for count in channel) for channel in value))


def measure(frames: Pixels) -> ToneStatistics:
    """Count tones.

    Args:
        frames: (..., C), sRGB, uint8 or uint16; C is 1, 3, or 4 with straight alpha, of which pixels at or above one
            half count. Floats are counted at 16 bit.

    Raises:
        FrameShapeError: another number of channels.
    """
    channels = frames.shape[-1]
    if channels not in (1, 3, 4):
        raise FrameShapeError(f"expected 1, 3 or 4 channels, got {channels}", shape=frames.shape)
    pixels = frames.reshape(-1, channels)
    counts = np.zeros((4, BINS[255.0 if frames.dtype == np.uint8 else 65535.0]), dtype=np.int64)
    for start in range(0, len(pixels), BAND_PIXELS):
        part = pixels[start : start + BAND_PIXELS]
        _count(to_uint16(part) if part.dtype.kind == "f" else part, counts)
    return ToneStatistics.from_json(counts.tolist())


def _count(pixels: Pixels, counts: NDArray[np.int64]) -> None:
    """Add integer pixels (N, C) to the four histograms (4, bins), in place."""
    scale = full_scale(pixels.dtype)
    if pixels.shape[1] == 4:
        pixels = pixels[pixels[:, 3] >= scale / 2, :3]
    planes = [pixels[:, min(c, pixels.shape[1] - 1)] for c in range(3)]
    shift = 0 if scale == 255.0 else 6
    for i, plane in enumerate([*planes, _luma_codes(planes)]):
        counts[i] += np.bincount(plane >> shift, minlength=counts.shape[1])


def _luma_codes(planes: list[Pixels]) -> NDArray[np.uint32]:
    """Integer arithmetic, so that the sum is the same on every machine."""
    red, green, blue = (plane.astype(np.uint32) for plane in planes)
    return ((2126 * red + 7152 * green + 722 * blue + 5000) // 10000).astype(np.uint32)


def gray_world_gains(statistics: ToneStatistics) -> tuple[float, float, float]:
    """Linear-light gains that make the clip's mean colour neutral and keep the luminance of its plain mean.

    Source: G. Finlayson and E. Trezzi, "Shades of gray and colour constancy", 2004: gray world with a Minkowski mean of
    order 6, which trusts bright pixels more, so that a coloured product on a neutral ground keeps its colour. Gains are
    limited to two stops; a channel without light, and an empty clip, get 1.
    """
    counts = np.array(statistics.counts[:3], dtype=np.float64)
    if not statistics.pixels:
        return (1.0, 1.0, 1.0)
    light = statistics.linear_tones
    means = counts @ light / statistics.pixels
    norms = (counts @ light**MINKOWSKI_ORDER / statistics.pixels) ** (1.0 / MINKOWSKI_ORDER)
    luminance = float(np.dot(REC709, means))
    raw = np.divide(float(np.dot(REC709, norms)), norms, out=np.ones(3), where=norms > 0)
    gains = np.clip(raw, 1.0 / GAIN_LIMIT, GAIN_LIMIT)
    kept = float(np.dot(REC709, gains * means))
    gains = gains * (luminance / kept if kept > 0 else 1.0)
    return (float(gains[0]), float(gains[1]), float(gains[2]))


def percentile(statistics: ToneStatistics, p: float) -> float:
    """The luma, sRGB 0..1, that ``p`` per cent of the pixels do not exceed; 0 for an empty clip."""
    totals = np.cumsum(statistics.counts[LUMA])
    if not totals[-1]:
        return 0.0
    rank = max(1, int(np.ceil(totals[-1] * p / 100.0)))
    return float(statistics.tones[int(np.searchsorted(totals, rank))])


def auto_exposure_stops(statistics: ToneStatistics, target: float = 0.18) -> float:
    """Stops that bring the clip's mean tone to ``target`` (linear light), as far as its highlights allow.

    The mean tone is the log-average (Reinhard et al. 2002) of pixels that are neither crushed nor paper white: a white
    backdrop says nothing of the product's exposure. Highlights hold the change: the brightest hundredth is not raised
    beyond 1.0 and not lowered below 0.8, so a white backdrop stays white. An empty clip gets 0.
    """
    light = statistics.linear_tones
    telling = (light >= TONES[0]) & (light <= TONES[1])
    counts = np.where(telling, np.array(statistics.counts[LUMA], dtype=np.float64), 0.0)
    if not counts.sum():
        return 0.0
    wanted = np.log2(target) - float(counts @ np.log2(np.maximum(light, TONES[0])) / counts.sum())
    highlights = max(TONES[0], float(srgb_to_linear(np.array([percentile(statistics, 99.0)]))[0]))
    most = max(0.0, float(np.log2(HIGHLIGHTS[1] / highlights)))
    least = min(0.0, float(np.log2(HIGHLIGHTS[0] / highlights)))
    return float(np.clip(wanted, max(least, -MAX_STOPS), min(most, MAX_STOPS)))
