"""Matting measures against small cases worked out by hand."""

import numpy as np
import pytest

from expectations.matting_metrics import (
    connected_level,
    connectivity_error,
    gradient_error,
    gradient_magnitude,
    intersection_over_union,
    mean_absolute_error,
    mean_squared_error,
    sum_of_absolute_differences,
)

TRUTH = np.array([[0.0, 0.5, 1.0], [0.0, 0.5, 1.0]])
FOUND = np.array([[0.0, 0.75, 1.0], [0.5, 0.5, 0.0]])
BAND = np.array([[False, True, False], [False, True, False]])


def test_differences_by_hand() -> None:
    assert sum_of_absolute_differences(FOUND, TRUTH) == pytest.approx(1.75e-3)  # 0.25 + 0.5 + 1, in thousands
    assert mean_squared_error(FOUND, TRUTH) == pytest.approx((0.0625 + 0.25 + 1) / 6)
    assert mean_absolute_error(FOUND, TRUTH) == pytest.approx(1.75 / 6)


def test_only_the_unknown_counts_when_given() -> None:
    assert sum_of_absolute_differences(FOUND, TRUTH, BAND) == pytest.approx(0.25e-3)
    assert mean_squared_error(FOUND, TRUTH, BAND) == pytest.approx(0.03125)
    assert mean_absolute_error(FOUND, TRUTH, np.zeros((2, 3), bool)) == 0.0


def test_gradient_of_a_ramp_is_its_slope() -> None:
    ramp = np.tile(np.arange(60) / 100, (60, 1))
    assert gradient_magnitude(ramp)[30, 30] == pytest.approx(0.01, rel=1e-3)


def test_gradient_error_of_a_ramp_against_a_flat_matte() -> None:
    ramp = np.tile(np.arange(60) / 100, (60, 1))
    middle = np.zeros((60, 60), bool)
    middle[25:35, 25:35] = True
    assert gradient_error(np.zeros((60, 60)), ramp, middle) == pytest.approx(100 * 0.01**2 / 1000, rel=1e-3)


def test_an_island_is_a_connectivity_error_and_its_size_does_not_matter_alone() -> None:
    truth = np.zeros((1, 9))
    truth[0, :4] = 1.0
    island = truth.copy()
    island[0, 7] = 1.0  # not joined to the object: connectedness falls from 1 to 0
    assert connectivity_error(island, truth) == pytest.approx(1e-3)
    assert connectivity_error(truth, truth) == 0.0


def test_level_at_which_pixels_are_still_joined() -> None:
    alpha = np.array([[1.0, 1.0, 0.55, 0.0, 0.9]])
    assert connected_level(alpha, alpha).round(2).tolist() == [[1.0, 1.0, 0.5, 0.0, 0.0]]


def test_a_small_loss_of_connectedness_is_not_seen() -> None:
    truth = np.array([[1.0, 1.0, 0.0]])
    assert connectivity_error(np.array([[1.0, 1.0, 0.14]]), truth) == 0.0
    assert connectivity_error(np.array([[1.0, 1.0, 0.16]]), truth) == pytest.approx(0.16e-3)


def test_overlap_by_hand() -> None:
    a, b = np.array([True, True, False, False]), np.array([True, False, True, False])
    assert intersection_over_union(a, b) == pytest.approx(1 / 3)
    assert intersection_over_union(a, b, np.array([True, True, False, False])) == pytest.approx(1 / 2)
    assert intersection_over_union(np.zeros(3, bool), np.zeros(3, bool)) == 1.0
