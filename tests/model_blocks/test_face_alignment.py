"""Landmarks come to lie on the template, however a face is turned, and one wrong one moves nothing."""

from typing import Any

import numpy as np
import pytest

from model_blocks.face_alignment import TEMPLATE, estimate_alignment, scale_of


def turned(angle: float, scale: float, shift: tuple[float, float]) -> np.ndarray[Any, Any]:
    """The template's points in a picture in which the face is turned, scaled and moved."""
    cosine, sine = np.cos(np.radians(angle)) * scale, np.sin(np.radians(angle)) * scale
    made: np.ndarray[Any, Any] = np.asarray(TEMPLATE) @ np.asarray([[cosine, sine], [-sine, cosine]]) + shift
    return made


@pytest.mark.parametrize("angle", range(0, 360, 15))
@pytest.mark.parametrize("scale", [0.05, 0.5, 1.0, 7.3])
def test_landmarks_come_to_lie_on_the_template(angle: float, scale: float) -> None:
    points = turned(angle, scale, (300, -40))
    matrix = estimate_alignment([(x, y) for x, y in points])
    assert matrix is not None
    assert scale_of(matrix) == pytest.approx(1 / scale, rel=1e-3)
    assert np.abs(points @ matrix[:, :2].T + matrix[:, 2] - TEMPLATE).max() < 1


def test_one_landmark_far_off_moves_nothing() -> None:
    points = turned(20, 0.4, (90, 60))
    points[2] += (60, -45)
    matrix = estimate_alignment([(x, y) for x, y in points])
    assert matrix is not None
    others = [0, 1, 3, 4]
    assert np.abs((points @ matrix[:, :2].T + matrix[:, 2] - TEMPLATE)[others]).max() < 1


def test_landmarks_without_a_face_have_no_alignment() -> None:
    assert estimate_alignment([(5.0, 5.0)] * 5) is None
    assert estimate_alignment([(float("nan"), 1.0)] * 5) is None
