"""Measures of video object segmentation against small cases worked out by hand."""

import numpy as np
import pytest

from expectations.mask_metrics import contour, contour_accuracy, mean_similarity, region_similarity


def square(top: int, left: int, side: int, size: int = 100) -> np.ndarray:
    mask = np.zeros((size, size), bool)
    mask[top : top + side, left : left + side] = True
    return mask


NOTHING = np.zeros((100, 100), bool)


def test_region_by_hand() -> None:
    assert region_similarity(square(10, 10, 20), square(10, 20, 20)) == pytest.approx(200 / 600)
    assert region_similarity(square(10, 10, 20), NOTHING) == 0.0
    assert region_similarity(NOTHING, NOTHING) == 1.0


def test_the_contour_of_a_square_is_as_long_as_its_outline_and_the_corner() -> None:
    line = contour(square(10, 10, 20))
    assert line.sum() == 21 * 4 - 4  # a ring 21 pixels wide, around the square's upper left
    assert not line[11:29, 11:29].any()
    assert not contour(~NOTHING).any()


def test_contours_within_the_tolerance_agree() -> None:
    truth = square(10, 10, 20)  # the diagonal is 141.4 pixels: the tolerance is 2
    assert contour_accuracy(square(12, 10, 20), truth) == 1.0
    assert contour_accuracy(square(13, 10, 20), truth) < 1.0
    assert contour_accuracy(square(50, 50, 20), truth) == 0.0


def test_precision_and_recall_are_weighed_alike() -> None:
    truth = square(10, 10, 20)
    both = truth | square(60, 60, 20)  # half of what is found is right, and all that is right is found
    assert contour_accuracy(both, truth) == pytest.approx(2 / 3)
    assert contour_accuracy(truth, both) == pytest.approx(2 / 3)


def test_a_missing_contour_agrees_with_none_only() -> None:
    assert contour_accuracy(NOTHING, NOTHING) == 1.0
    assert contour_accuracy(~NOTHING, NOTHING) == 1.0  # no contour inside the picture, either
    assert contour_accuracy(square(10, 10, 20), NOTHING) == 0.0


def test_means_over_frames() -> None:
    truth = square(10, 10, 20)
    assert mean_similarity(np.stack([truth, NOTHING]), np.stack([truth, truth])) == (0.5, 0.5)
