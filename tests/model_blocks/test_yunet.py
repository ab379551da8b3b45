"""Faces are found where they are, in the picture's own pixels; no other file is taken for the detector's."""

import hashlib
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from model_blocks.capabilities import Face, FaceDetector
from model_blocks.registry import find_model
from model_blocks.weight_errors import WeightsDamagedError, WeightsDigestError, WeightsMissingError
from model_blocks.weight_files import check
from model_blocks.yunet import YunetDetector, open_yunet
from tests.shared_data import fixture, shared

YUNET = "weights/yunet_n_640_640.onnx"
ASTRONAUT = (178, 65, 91, 111)  # x, y, width, height of her face, read off the picture


@lru_cache
def detector() -> YunetDetector:
    return open_yunet("yunet", shared(YUNET))


def picture(name: str) -> Tensor:
    pixels = cv2.imread(str(fixture(f"images/{name}")))
    assert pixels is not None
    return as_image(pixels[..., ::-1])


def as_image(pixels: np.ndarray[Any, Any]) -> Tensor:
    return torch.from_numpy(pixels.astype(np.float32) / 255).permute(2, 0, 1)


def scaled(image: Tensor, factor: float) -> Tensor:
    pixels = image.permute(1, 2, 0).numpy()
    how = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    made = cv2.resize(pixels, None, fx=factor, fy=factor, interpolation=how)
    return torch.from_numpy(np.asarray(made)).permute(2, 0, 1).clamp(0, 1)


def near(face: Face, box: tuple[float, ...], tolerance: float) -> bool:
    return all(abs(a - b) <= tolerance for a, b in zip(face.box, box, strict=True))


@pytest.mark.parametrize("width", [24, 48, 91, 400, 900])
def test_a_face_is_found_in_the_pictures_own_pixels(width: int) -> None:
    """From 24 pixels up to a face almost as wide as the picture."""
    factor = width / 91
    image = picture("astronaut.png")
    if width >= 400:
        image = image[:, 55:185, 170:280]
    found = detector().detect(scaled(image, factor))
    box = [value * factor for value in ASTRONAUT]
    if width >= 400:
        box[0], box[1] = box[0] - 170 * factor, box[1] - 55 * factor
    assert len(found) == 1
    assert near(found[0], tuple(box), 0.12 * width)
    right_eye, left_eye, nose, right_mouth, left_mouth = found[0].landmarks
    assert right_eye[0] < nose[0] < left_eye[0]
    assert right_mouth[0] < left_mouth[0]
    assert max(right_eye[1], left_eye[1]) < nose[1] < min(right_mouth[1], left_mouth[1])


def test_several_faces_are_found_at_their_places_each_once() -> None:
    image = picture("astronaut.png")
    large = torch.full((3, 1400, 2000), 0.5)
    places = [(0, 0, 1.0), (1130, 50, 0.5), (100, 700, 2.0)]
    for y, x, factor in places:
        copy_ = scaled(image, factor)
        large[:, y : y + copy_.shape[1], x : x + copy_.shape[2]] = copy_
    found = sorted(detector().detect(large), key=lambda face: face.box[2])
    assert len(found) == 3
    for face, (y, x, factor) in zip(found, sorted(places, key=lambda place: place[2]), strict=True):
        box = tuple(value * factor + shift for value, shift in zip(ASTRONAUT, (x, y, 0, 0), strict=True))
        assert near(face, box, 0.2 * 91 * factor)


def test_the_detector_wants_rgb() -> None:
    """A red and a blue picture of one shape are told apart; the authors' network takes blue first."""
    image = picture("astronaut.png")
    assert detector().detect(image)[0].score != detector().detect(image.flip(0))[0].score


@pytest.mark.parametrize("name", ["coffee.png", "teddy-bear.jpg", "tshirt_man_03.jpg", "cap_04.jpg", "brick.png"])
def test_products_have_no_face(name: str) -> None:
    assert detector().detect(picture(name)) == ()


@pytest.mark.parametrize("size", [(1, 1), (1, 14), (9, 2), (2, 1500), (0, 0)])
def test_odd_and_tiny_pictures_have_no_face(size: tuple[int, int]) -> None:
    assert detector().detect(torch.rand((3, max(1, size[0]), max(1, size[1])))) == ()


def test_the_same_picture_gives_the_same_faces() -> None:
    image = picture("astronaut.png")
    fresh = open_yunet("yunet", shared(YUNET))
    assert isinstance(fresh, FaceDetector)
    detector().detect(torch.rand((3, 200, 300)))
    assert detector().detect(image) == fresh.detect(image)


def test_a_detector_file_is_held_against_its_digest(tmp_path: Path) -> None:
    data = shared(YUNET).read_bytes()
    path = tmp_path / "face_detection_yunet_2023mar.onnx"
    path.write_bytes(data)
    open_yunet("yunet", path, sha256=hashlib.sha256(data).hexdigest())
    with pytest.raises(WeightsDigestError, match="expected 0000"):
        open_yunet("yunet", path, sha256="0" * 64)
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(WeightsDigestError):
        open_yunet("yunet", path, sha256=hashlib.sha256(data).hexdigest())
    with pytest.raises(WeightsMissingError):
        open_yunet("yunet", tmp_path / "none.onnx")


@pytest.mark.parametrize("data", [b"", b"hello " * 200, b"PK\x03\x04" + b"0" * 100], ids=["empty", "text", "zip"])
def test_what_is_no_onnx_file_is_damaged(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.onnx"
    path.write_bytes(data)
    with pytest.raises(WeightsDamagedError, match="no ONNX file"):
        open_yunet("yunet", path)


def test_a_cut_off_detector_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "x.onnx"
    path.write_bytes(shared(YUNET).read_bytes()[:-1000])
    with pytest.raises(WeightsDamagedError):
        open_yunet("yunet", path)


def test_checking_an_onnx_file_reads_it_as_one(tmp_path: Path) -> None:
    facts = find_model("yunet")
    path = tmp_path / "face_detection_yunet_2023mar.onnx"
    path.write_bytes(shared(YUNET).read_bytes())
    assert check(facts, weights_dir=tmp_path).presence == "present"
    path.write_bytes(b"no network")
    found = check(facts, weights_dir=tmp_path)
    assert found.presence == "damaged"
    assert "no ONNX file" in found.detail
