"""When frames are shown: the cadence of a clip and those that interpolation makes of it. All arithmetic is exact."""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from datasets.errors import RecipeError

LARGEST_RATE = 1000  # frames per second
LONGEST_GAP_S = Fraction(1, 2)  # over a longer gap nothing is invented: the frame before it stays
FINEST_TICK = 1_000_000_000  # parts of a second; what the clock of a container holds
NTSC = {"23.976": Fraction(24000, 1001), "23.98": Fraction(24000, 1001), "29.97": Fraction(30000, 1001),
        "47.95": Fraction(48000, 1001), "59.94": Fraction(60000, 1001), "119.88": Fraction(120000, 1001)}  # fmt: skip

Ticks = NDArray[np.int64]


@dataclass(frozen=True)
class Timing:
    """When the frames of a clip are shown.

    Attributes:
        pts: int64 (T,), strictly increasing.
        durations: int64 (T,), at least 1; the last one says when the clip ends.
        time_base: Seconds per tick.
    """

    pts: Ticks
    durations: Ticks
    time_base: Fraction

    @property
    def seconds(self) -> float:
        """From the first frame's beginning to the last one's end."""
        return float(self.ticks * self.time_base)

    @property
    def ticks(self) -> int:
        return int(self.pts[-1] + self.durations[-1] - self.pts[0])

    @property
    def rate(self) -> Fraction:
        """Frames per second on average."""
        return len(self.pts) / (self.ticks * self.time_base)

    @property
    def digest(self) -> str:
        """Short name of exactly these times."""
        data = self.pts.tobytes() + self.durations.tobytes() + str(self.time_base).encode()
        return hashlib.sha256(data).hexdigest()[:16]

    def part(self, start: int, stop: int) -> "Timing":
        """Those of some of the frames."""
        return Timing(self.pts[start:stop], self.durations[start:stop], self.time_base)

    def same_as(self, other: "Timing") -> bool:
        """Whether all frames are shown at the same times."""
        return self.digest == other.digest


def durations_of(pts: Ticks, last: int) -> Ticks:
    """How long every frame is shown: until the next one; the last as long as the container says, or as is usual."""
    steps = np.diff(pts)
    usual = int(np.median(steps)) if len(steps) else 1
    return np.append(steps, max(1, last or usual)).astype(np.int64)


@dataclass(frozen=True)
class Cadence:
    """The frames of a clip in a new cadence: each is a frame of the old one, or lies between two of them.

    Attributes:
        first: int32 (N,), index of the frame before or at the new frame's time.
        fraction: float32 (N,), 0..1, how far it is on the way to the next; 0: it is that frame.
        timing: When the new frames are shown.
        stretch: How many times as long the clip becomes; sound has to follow.
    """

    first: NDArray[np.int32]
    fraction: NDArray[np.float32]
    timing: Timing
    stretch: Fraction = Fraction(1)

    def moved(self, cuts: Sequence[int]) -> tuple[int, ...]:
        """Where shots begin in the new cadence."""
        places = {int(np.searchsorted(self.first, cut)) for cut in cuts}
        return tuple(sorted(place for place in places if 0 < place < len(self.first)))


def parse_rate(text: str) -> Fraction:
    """Frames per second from ``60``, ``60000/1001``, ``29.97``; the usual shortened NTSC rates mean the exact ones.

    Raises:
        RecipeError: It is not a rate.
    """
    try:
        rate = NTSC.get(text.strip()) or Fraction(text.strip())
    except (ValueError, ZeroDivisionError):
        rate = Fraction(0)
    if not 0 < rate <= LARGEST_RATE:
        raise RecipeError(f"a frame rate is like 60, 29.97 or 60000/1001, got {text!r}", fps=text)
    return rate


def to_rate(timing: Timing, rate: Fraction, cuts: Sequence[int] = ()) -> Cadence:
    """Frames at a constant rate, from the first frame's time for as long as the clip lasts."""
    start = _rounded(int(timing.pts[0]) * timing.time_base)
    step = 1 / rate
    count = max(1, math.ceil(timing.ticks * timing.time_base * rate))
    tick = _common(timing.time_base, step)
    source = (timing.pts - timing.pts[0]) * int(timing.time_base / tick)
    first, fraction = _between(source, np.arange(count, dtype=np.int64) * int(step / tick), tick, cuts)
    base = _common(start, step) if start else step
    pts = int(start / base) + np.arange(count, dtype=np.int64) * int(step / base)
    return Cadence(first, fraction, Timing(pts, np.full(count, int(step / base), np.int64), base))


def by_factor(timing: Timing, factor: int, cuts: Sequence[int] = ()) -> Cadence:
    """Every frame where it was, and ``factor - 1`` new ones evenly before the next."""
    parts = np.arange(factor, dtype=np.int64)
    lasting = np.append(np.diff(timing.pts), timing.durations[-1])
    pts = (timing.pts[:, None] * factor + parts * lasting[:, None]).ravel()
    source = (timing.pts - timing.pts[0]) * factor
    tick = timing.time_base / factor
    first, fraction = _between(source, pts - pts[0], tick, cuts)
    return Cadence(first, fraction, Timing(pts, np.repeat(lasting, factor), tick))


def slowed(timing: Timing, factor: Fraction, cuts: Sequence[int] = ()) -> Cadence:
    """The clip ``factor`` times as long at the frame rate it had."""
    stretched = Timing(timing.pts, timing.durations, timing.time_base * factor)
    if factor.denominator == 1:
        made = by_factor(stretched, int(factor), cuts)
    else:
        made = to_rate(stretched, timing.rate.limit_denominator(1001), cuts)
    return Cadence(made.first, made.fraction, made.timing, factor)


def _between(
    source: Ticks, wanted: Ticks, tick: Fraction, cuts: Sequence[int]
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Index and fraction of every wanted time, both counted in ticks from the first frame."""
    first = np.searchsorted(source, wanted, side="right") - 1
    following = np.append(source[1:], source[-1] + 1)
    length = np.append(np.diff(source), 1)
    fraction = (wanted - source[first]) / length[first]
    held = np.zeros(len(source), dtype=bool)
    held[-1] = True
    held[[cut - 1 for cut in cuts if 0 < cut < len(source)]] = True
    held |= (following - source) > int(LONGEST_GAP_S / tick)
    fraction[held[first]] = 0.0
    return first.astype(np.int32), fraction.astype(np.float32)


def _common(first: Fraction, second: Fraction) -> Fraction:
    """The largest tick of which both are whole multiples."""
    return Fraction(
        math.gcd(first.numerator * second.denominator, second.numerator * first.denominator),
        first.denominator * second.denominator,
    )


def _rounded(seconds: Fraction) -> Fraction:
    """A time as fine as any container's clock."""
    return seconds if seconds.denominator <= FINEST_TICK else Fraction(round(seconds * FINEST_TICK), FINEST_TICK)
