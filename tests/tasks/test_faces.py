"""Faces out of a picture and back: where the template lies, what stays to the last bit, and that no seam shows."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

import tasks.faces
from model_blocks.capabilities import Face
from model_blocks.choice import ModelRef
from model_blocks.face_alignment import SIDE, TEMPLATE, estimate_alignment
from tasks.faces import FacesConfig, FacesPass, FacesStage
from tasks.ops.faces import FADE, Crop, face_box, restore_in, soft_mask, take_crop
from tasks.ops.geometry import Region, Shape
from tasks.passes import fuse

DETECTOR, RESTORER = ModelRef("yunet", "d", "cpu"), ModelRef("gfpgan-1.4", "r", "cpu")
Picture = NDArray[Any]


@lru_cache
def texture(height: int = 300, width: int = 260, channels: int = 3, dtype: str = "uint8") -> Picture:
    """Smooth patches with fine noise; alpha, where there is one, from 0 to full."""
    rng = np.random.default_rng(5)
    coarse = cv2.resize(rng.random((12, 12, channels)).astype(np.float32), (width, height)).reshape(height, width, -1)
    values = np.clip(0.8 * coarse + 0.2 * rng.random((height, width, channels)), 0, 1)
    if channels == 4:
        values[..., 3] = np.clip(np.linspace(-0.2, 1.2, width), 0, 1)
    made: Picture = np.rint(values * np.iinfo(dtype).max).astype(dtype)
    made.setflags(write=False)
    return made


def landmarks(angle: float, scale: float, centre: tuple[float, float]) -> tuple[tuple[float, float], ...]:
    """The template's points of a face that is turned and scaled, whose crop has its middle at a place."""
    cosine, sine = np.cos(np.radians(angle)) * scale, np.sin(np.radians(angle)) * scale
    points = (np.asarray(TEMPLATE) - (SIDE - 1) / 2) @ np.asarray([[cosine, sine], [-sine, cosine]]) + centre
    return tuple((float(x), float(y)) for x, y in points)


def face_at(angle: float, scale: float, centre: tuple[float, float], score: float = 0.9) -> Face:
    side = 200 * scale  # about as wide as a face in its crop
    box = (centre[0] - side / 2, centre[1] - side / 2, side, side * 1.2)
    return Face(box, landmarks(angle, scale, centre), score)


def restored(image: Picture, faces: list[Face], restore: Callable[[Crop], Crop]) -> Picture:
    matrices = [matrix for face in faces if (matrix := estimate_alignment(face.landmarks)) is not None]
    return restore_in(image, matrices, restore, origin=(0, 0), size=(image.shape[0], image.shape[1]))


def red(crop: Crop) -> Crop:
    return np.full_like(crop, (1, 0, 0))


def marked(angle: float, scale: float, centre: tuple[float, float]) -> tuple[Picture, Face]:
    """A grey picture with a white dot at every landmark of a face."""
    image = np.full((400, 420, 3), 60, np.uint8)
    face = face_at(angle, scale, centre)
    for x, y in face.landmarks:
        cv2.circle(
            image, (round(x * 16), round(y * 16)), round(max(2.0, 6 * scale) * 16), (255,) * 3, -1, cv2.LINE_AA, 4
        )
    return image, face


@settings(max_examples=30)
@given(angle=st.floats(0, 360), scale=st.floats(0.15, 0.6))
def test_what_lies_on_the_landmarks_comes_to_lie_on_the_template(angle: float, scale: float) -> None:
    image, face = marked(angle, scale, (210, 190))
    matrix = estimate_alignment(face.landmarks)
    assert matrix is not None
    crop = take_crop(image, matrix)[..., 0] - 60 / 255
    rows, columns = np.mgrid[:SIDE, :SIDE]
    for x, y in TEMPLATE:
        near = ((columns - x) ** 2 + (rows - y) ** 2 < 30**2) * np.clip(crop, 0, None)
        assert abs((near * columns).sum() / near.sum() - x) < 1
        assert abs((near * rows).sum() / near.sum() - y) < 1


@settings(max_examples=30)
@given(
    angle=st.floats(0, 360),
    scale=st.floats(0.04, 1.5),
    x=st.floats(-60, 320),
    y=st.floats(-60, 360),
    channels=st.sampled_from([3, 4]),
    dtype=st.sampled_from(["uint8", "uint16"]),
)
def test_a_restorer_that_changes_nothing_leaves_every_bit(
    angle: float, scale: float, x: float, y: float, channels: int, dtype: str
) -> None:
    image = texture(channels=channels, dtype=dtype)
    np.testing.assert_array_equal(restored(image, [face_at(angle, scale, (x, y))], lambda crop: crop), image)


@settings(max_examples=30)
@given(angle=st.floats(0, 360), scale=st.floats(0.1, 1.2), x=st.floats(-60, 320), y=st.floats(-60, 360))
def test_nothing_changes_outside_the_square_and_all_of_it_inside(
    angle: float, scale: float, x: float, y: float
) -> None:
    """The square's corners are worked out here from angle and scale alone."""
    image = texture()
    made = restored(image, [face_at(angle, scale, (x, y))], red)
    rows, columns = np.mgrid[: image.shape[0], : image.shape[1]].astype(np.float64)
    cosine, sine = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    across = ((columns - x) * cosine + (rows - y) * sine) / scale
    down = (-(columns - x) * sine + (rows - y) * cosine) / scale
    reach = np.maximum(abs(across), abs(down))
    outside, inside = reach > SIDE / 2 + 1 + 2 / scale, reach < SIDE / 2 - 2 * FADE - 3 - 2 / scale
    np.testing.assert_array_equal(made[outside], image[outside])
    assert not (made[outside] != image[outside]).any()
    # a change is pasted, so what the crop is too coarse for stays: less than the texture's own noise
    wanted = np.asarray((255, 0, 0))
    if inside.any() and scale <= 1:
        assert np.abs(made[inside].astype(float) - wanted).mean() < 12


def test_a_flat_picture_takes_the_restorers_colours_exactly() -> None:
    """Nothing is lost to interpolation here: red stays red, so channels are not swapped and nothing is dimmed."""
    flat = np.full((200, 200, 3), (40, 90, 200), np.uint8)
    made = restored(flat, [face_at(25, 0.3, (100, 100))], red)
    assert made[100, 100].tolist() == [255, 0, 0]
    assert made[0, 0].tolist() == [40, 90, 200]
    deep = np.full((200, 200, 3), (40, 90, 200), np.uint16) * np.uint16(257) + np.uint16(3)
    assert restored(deep, [face_at(25, 0.3, (100, 100))], red)[100, 100].tolist() == [65535, 0, 0]


def test_no_seam_shows() -> None:
    """From outside to the face the change rises without a step: never more in one pixel than a gentle ramp does."""
    flat = np.full((300, 300, 3), 60, np.uint8)
    made = restored(flat, [face_at(0, 0.4, (150, 150))], lambda crop: crop + np.float32(100 / 255))
    row = made[150, :, 0].astype(int)
    assert (row[150], row[0]) == (160, 60)
    width = 2 * FADE * 0.4  # pixels the mask takes to rise
    assert np.abs(np.diff(row)).max() <= 3 * 100 / width
    assert (np.diff(row[:150]) >= 0).all()


def test_small_changes_survive_in_sixteen_bits() -> None:
    deep = texture(dtype="uint16")
    made = restored(deep, [face_at(10, 0.3, (130, 150))], lambda crop: crop + np.float32(20 / 65535))
    change = made.astype(int) - deep
    assert 19 <= np.median(change[140:160, 120:140]) <= 21
    assert len(np.unique(made[140:160, 120:140] % 257)) > 50  # not rounded to eight bits on the way


def test_alpha_and_what_cannot_be_seen_stay() -> None:
    image = texture(channels=4)
    made = restored(image, [face_at(0, 0.5, (100, 150))], red)
    np.testing.assert_array_equal(made[..., 3], image[..., 3])
    clear = image[..., 3] == 0
    assert clear.any()
    np.testing.assert_array_equal(made[clear], image[clear])
    assert (made[~clear] != image[~clear]).any()


def test_transparency_is_white_to_the_restorer() -> None:
    seen: list[Crop] = []
    image = np.zeros((100, 100, 4), np.uint8)
    restored(image, [face_at(0, 0.1, (50, 50))], lambda crop: seen.append(crop) or crop)  # type: ignore[func-returns-value]
    assert seen[0].min() == 1.0


def test_beyond_the_edge_the_restorer_sees_one_grey() -> None:
    seen: list[Crop] = []
    restored(texture(), [face_at(0, 0.5, (0, 0))], lambda crop: seen.append(crop) or crop)  # type: ignore[func-returns-value]
    assert np.rint(seen[0][5, 5] * 255).tolist() == [132, 133, 135]


def test_the_crop_is_the_pictures_own_however_little_of_it_is_read() -> None:
    """Against the whole picture warped at once, by OpenCV alone."""
    image, face, seen = texture(), face_at(30, 0.3, (150, 170)), list[Crop]()
    matrix = estimate_alignment(face.landmarks)
    assert matrix is not None
    restored(image, [face], lambda crop: seen.append(crop) or crop)  # type: ignore[func-returns-value]
    whole = cv2.warpAffine(image.astype(np.float32) / 255, matrix, (SIDE, SIDE))
    assert float(np.abs(seen[0] - whole).max()) < 0.03  # OpenCV places samples to a 32nd of a pixel


def test_where_faces_overlap_the_first_lies_on_top_and_each_sees_the_original() -> None:
    flat = np.full((300, 300, 3), 90, np.uint8)
    seen: list[Crop] = []

    def restore(crop: Crop) -> Crop:
        seen.append(crop.copy())
        return np.full_like(crop, len(seen) / 2)

    made = restored(flat, [face_at(0, 0.3, (130, 150)), face_at(0, 0.3, (170, 150))], restore)
    assert all(np.allclose(crop, 90 / 255) for crop in seen)
    assert made[150, 130, 0] == 255  # the surer one, restored last
    assert made[150, 170, 0] == 255  # its square reaches there
    assert made[150, 170 + 60, 0] in (127, 128)


def test_many_small_pixels_of_a_large_face_are_averaged() -> None:
    """A pattern of single pixels, finer than the crop, becomes its mean and no other pattern."""
    board = np.indices((1800, 1800)).sum(axis=0) % 2 * 255
    image = np.repeat(board[..., None], 3, axis=2).astype(np.uint8)
    matrix = estimate_alignment(face_at(0, 3.3, (900, 900)).landmarks)
    assert matrix is not None
    crop = take_crop(image, matrix)[20:-20, 20:-20]
    assert abs(float(crop.mean()) - 0.5) < 0.01
    assert float(crop.std()) < 0.12


def test_the_mask_is_one_on_the_face_and_nothing_at_the_edge() -> None:
    mask = soft_mask()
    assert mask[0].max() == mask[:, -1].max() == 0
    for x, y in TEMPLATE:
        assert mask[round(y), round(x)] == 1


# the pass, with a restorer that costs nothing


class Tinting:
    """Adds green, less of it where more fidelity is asked for."""

    side = SIDE

    def restore(self, faces: Tensor, fidelity: float = 0.5) -> Tensor:
        return (faces + torch.tensor([0.0, 0.4 * (1 - fidelity), 0.0]).view(1, 3, 1, 1)).clamp(0, 1)


class Told:
    """Finds a face where a picture's brightest red pixel is; none in a picture without red."""

    def detect(self, image: Tensor) -> tuple[Face, ...]:
        place = int(image[0].argmax())
        if float(image[0].max()) < 0.99:
            return ()
        return (face_at(0, 0.2, (place % image.shape[2], place // image.shape[2])),)


@pytest.fixture(autouse=True)
def _cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks.faces, "face_restorer", lambda ref: Tinting())
    monkeypatch.setattr(tasks.faces, "face_detector", lambda ref: Told())


def apply(chunk_pass: FacesPass, frames: Picture, region: Region) -> Picture:
    shape = Shape(*frames.shape)
    read = chunk_pass.read_region(region, shape)
    return chunk_pass.apply(frames[read.slices], read=read, region=region, shape=shape)


FOUND = (
    face_at(10, 0.35, (90, 80)),
    face_at(200, 0.3, (150, 170)),
    face_at(0, 0.5, (259, 299)),
    face_at(0, 0.05, (9, 9)),
)


@pytest.mark.parametrize("tile", [300, 128, 61])
@pytest.mark.parametrize("channels", [3, 4])
def test_tiles_are_the_whole_to_the_last_bit(tile: int, channels: int) -> None:
    frames = texture(channels=channels)[None]
    chunk_pass = FacesPass(DETECTOR, RESTORER, FacesConfig(), FOUND)
    whole = apply(chunk_pass, frames, Shape(*frames.shape).whole)
    made = np.zeros_like(frames)
    for part in Shape(*frames.shape).whole.tiles(tile):
        made[part.slices] = apply(chunk_pass, frames, part)
    np.testing.assert_array_equal(made, whole)
    assert (whole != frames).any()


def test_a_tile_without_a_face_reads_nothing_else_and_computes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    frames = texture()[None]
    monkeypatch.setattr(tasks.faces, "face_restorer", lambda ref: pytest.fail("nothing to restore"))
    chunk_pass = FacesPass(DETECTOR, RESTORER, FacesConfig(), (face_at(0, 0.2, (60, 60)),))
    far = Region(0, 1, 200, 300, 150, 260)
    assert chunk_pass.read_region(far, Shape(*frames.shape)) == far
    np.testing.assert_array_equal(apply(chunk_pass, frames, far), frames[far.slices])


def test_frames_are_searched_one_by_one_however_a_clip_is_cut() -> None:
    frames = np.full((5, 160, 180, 3), 50, np.uint8)
    for number in (0, 2, 3):
        frames[number, 60 + 10 * number, 70 + 5 * number] = 255, 50, 50
    chunk_pass = fuse(FacesStage(FacesConfig(), DETECTOR, RESTORER).passes(Shape(*frames.shape)))
    assert isinstance(chunk_pass, FacesPass)
    whole = apply(chunk_pass, frames, Shape(*frames.shape).whole)
    parts = [apply(chunk_pass, frames, Region(t, t + 1, 0, 160, 0, 180)) for t in range(5)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    greened = [bool((whole[number] != frames[number]).any()) for number in range(5)]
    assert greened == [True, False, True, True, False]
    for number in (0, 2, 3):
        assert whole[number, 60 + 10 * number, 74 + 5 * number].tolist() == [50, 101, 50]
        assert whole[number, 159, 0].tolist() == [50, 50, 50]


def test_small_faces_are_left_alone() -> None:
    frames = texture()[None]
    for smallest, changes in ((60, True), (61, False)):
        chunk_pass = FacesPass(DETECTOR, RESTORER, FacesConfig(smallest=smallest), (face_at(0, 0.3, (120, 150)),))
        assert bool((apply(chunk_pass, frames, Shape(*frames.shape).whole) != frames).any()) == changes


def test_fidelity_reaches_the_model() -> None:
    frames = np.full((1, 200, 200, 3), 50, np.uint8)
    for fidelity, green in ((0.0, 152), (0.5, 101), (1.0, 50)):
        chunk_pass = FacesPass(DETECTOR, RESTORER, FacesConfig(fidelity=fidelity), (face_at(0, 0.3, (100, 100)),))
        assert apply(chunk_pass, frames, Shape(*frames.shape).whole)[0, 100, 100].tolist() == [50, green, 50]


def test_the_key_holds_both_models_and_the_settings() -> None:
    def key(config: FacesConfig | None = None, detector: ModelRef = DETECTOR, restorer: ModelRef = RESTORER) -> str:
        return FacesStage(config or FacesConfig(), detector, restorer).key("source").fingerprint

    others = {
        key(detector=ModelRef("yunet", "e", "cpu")),
        key(restorer=ModelRef("gfpgan-1.4", "s", "cpu")),
        key(restorer=ModelRef("codeformer", "r", "cpu")),
        key(FacesConfig(fidelity=0.6)),
        key(FacesConfig(smallest=33)),
    }
    assert len(others | {key()}) == 6
    assert key(FacesConfig(id="portrait")) == key()


def test_a_face_outside_the_picture_has_no_pixels() -> None:
    matrix = estimate_alignment(landmarks(0, 0.1, (-200, 50)))
    assert matrix is not None
    assert face_box(matrix, 100, 100).pixels == 0
    image = texture()
    np.testing.assert_array_equal(restored(image, [face_at(0, 0.1, (-200, 50))], red), image)
