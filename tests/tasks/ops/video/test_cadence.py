"""Cadences by hand arithmetic: where new frames fall, how long they stay, what never mixes."""

import itertools
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasets.errors import RecipeError
from tasks.ops.video.cadence import Timing, by_factor, parse_rate, slowed, to_rate


def timing(pts: list[int], last: int, base: Fraction) -> Timing:
    values = np.array(pts, np.int64)
    return Timing(values, np.append(np.diff(values), last).astype(np.int64), base)


def test_24_to_60_takes_five_frames_from_every_two() -> None:
    made = to_rate(timing([0, 1001, 2002], 1001, Fraction(1, 24000)), Fraction(60000, 1001))
    assert made.first.tolist() == [0, 0, 0, 1, 1, 2, 2, 2]  # 3 frames of 2.5 new ones each, the last begun one whole
    assert made.fraction.tolist() == pytest.approx([0, 0.4, 0.8, 0.2, 0.6, 0, 0, 0])
    assert made.timing.time_base == Fraction(1001, 60000)
    assert made.timing.pts.tolist() == list(range(8))


def test_a_factor_keeps_every_time_stamp_of_a_variable_rate() -> None:
    source = timing([0, 40, 140, 160], 20, Fraction(1, 1000))
    made = by_factor(source, 2)
    seconds = made.timing.pts * float(made.timing.time_base)
    assert seconds.tolist() == pytest.approx([0, 0.02, 0.04, 0.09, 0.14, 0.15, 0.16, 0.17])
    assert made.fraction.tolist() == pytest.approx([0, 0.5, 0, 0.5, 0, 0.5, 0, 0])
    assert made.timing.seconds == pytest.approx(source.seconds)


def test_nothing_is_mixed_across_a_cut_or_a_long_gap() -> None:
    source = timing([0, 1, 2, 30, 31], 1, Fraction(1, 25))
    made = by_factor(source, 2, cuts=[2])
    assert made.fraction.tolist() == [0, 0.5, 0, 0, 0, 0, 0, 0.5, 0, 0]
    assert made.moved([2]) == (4,)


def test_slow_motion_keeps_the_rate_and_says_how_long_it_became() -> None:
    source = timing([0, 1, 2, 3], 1, Fraction(1, 25))
    made = slowed(source, Fraction(2))
    assert (made.stretch, made.timing.rate, len(made.first)) == (Fraction(2), Fraction(25), 8)
    odd = slowed(source, Fraction(5, 2))
    assert (odd.stretch, odd.timing.rate, len(odd.first)) == (Fraction(5, 2), Fraction(25), 10)
    assert odd.first.tolist() == [0, 0, 0, 1, 1, 2, 2, 2, 3, 3]


def test_a_late_start_is_kept() -> None:
    made = to_rate(timing([70, 110, 150], 40, Fraction(1, 1000)), Fraction(50))
    assert float(made.timing.pts[0] * made.timing.time_base) == 0.07
    assert np.diff(made.timing.pts * float(made.timing.time_base)).tolist() == pytest.approx([0.02] * 5)


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("60", Fraction(60)),
        ("29.97", Fraction(30000, 1001)),
        ("60000/1001", Fraction(60000, 1001)),
        ("12.5", Fraction(25, 2)),
    ],
)
def test_rates_are_read_as_people_write_them(text: str, rate: Fraction) -> None:
    assert parse_rate(text) == rate


@pytest.mark.parametrize("text", ["", "fast", "0", "-3", "1/0", "5000"])
def test_what_is_no_rate_is_refused(text: str) -> None:
    with pytest.raises(RecipeError, match="frame rate"):
        parse_rate(text)


@given(
    st.lists(st.integers(1, 400), min_size=1, max_size=40),
    st.sampled_from([Fraction(1, 1000), Fraction(1, 90000), Fraction(1001, 24000), Fraction(1, 600)]),
    st.fractions(min_value=Fraction(1), max_value=Fraction(240), max_denominator=1001),
    st.integers(0, 10_000),
)
def test_new_frames_lie_where_their_time_says(steps: list[int], base: Fraction, rate: Fraction, start: int) -> None:
    pts = (start + np.cumsum([0, *steps[:-1]])).tolist()
    source = timing([int(value) for value in pts], steps[-1], base)
    for made in (to_rate(source, rate), by_factor(source, 3)):
        times = [int(tick) * made.timing.time_base for tick in made.timing.pts]
        assert all(earlier < later for earlier, later in itertools.pairwise(times))
        assert abs(float(times[0] - pts[0] * base)) < 1e-8
        assert abs(made.timing.seconds - source.seconds) <= float(1 / rate) + 1e-9
        for index, fraction, time in zip(made.first, made.fraction, times, strict=True):
            earlier = pts[index] * base
            later = (pts[index + 1] if index + 1 < len(pts) else pts[index] + steps[-1]) * base
            assert earlier - Fraction(1, 10**8) <= time < later + Fraction(1, 10**8)
            if fraction:
                assert float(earlier) + float(fraction) * float(later - earlier) == pytest.approx(float(time), abs=1e-6)
