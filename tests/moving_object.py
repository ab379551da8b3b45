"""Clips whose truth is known exactly: a real object moved over a real photograph, and something passing in front."""

from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from tests.shared_data import fixture

UInt8 = NDArray[np.uint8]
Float32 = NDArray[np.float32]
Bool = NDArray[np.bool_]

SOLID = 0.85  # of alpha; what is fainter in the shop's pictures is their soft shadow


@dataclass(frozen=True)
class Scene:
    """What moves how. Lengths are in pixels of the clip, angles in degrees, for the whole of it.

    Attributes:
        object: File below the fixtures, with alpha.
        alpha: File that holds the object's alpha; None: the object's own.
        background: File below the fixtures.
        occluder: File below the fixtures of which an upright ellipse passes in front; None: nothing passes.
        pan: How far the background moves.
        path: Where the object's centre begins and ends, as shares of width and height.
        turn: How far the object turns.
        zoom: Its size at the end over that at the beginning.
        object_height: Its height at the beginning.
        occluder_width: Of the ellipse; 0.9 of the picture's height tall.
        passing: First and last frame, as shares of the clip, at which the occluder crosses the picture.
        noise: Standard deviation of the sensor's noise, of 255.
        gain: Brightness at the end over that at the beginning.
    """

    object: str = "images/saleor_apple_drink.png"
    alpha: str | None = None
    background: str = "images/Landscape_3.jpg"
    occluder: str | None = "images/coffee.png"
    size: tuple[int, int] = (240, 320)
    frames: int = 60
    pan: tuple[float, float] = (60.0, 15.0)
    path: tuple[tuple[float, float], tuple[float, float]] = ((0.3, 0.45), (0.7, 0.55))
    turn: float = 30.0
    zoom: float = 1.3
    object_height: float = 110.0
    occluder_width: float = 50.0
    passing: tuple[float, float] = (0.35, 0.75)
    noise: float = 2.0
    gain: float = 1.0
    seed: int = field(default=0)


@dataclass(frozen=True)
class Clip:
    """frames (T, H, W, 3) and clean background (T, H, W, 3), sRGB, 0..255; mask (T, H, W) of what is seen of it."""

    frames: UInt8
    background: UInt8
    mask: Bool


def render(scene: Scene) -> Clip:
    """The clip of a scene, the same for the same scene."""
    random = np.random.default_rng(scene.seed)
    colours, alpha = _cut_out(scene)
    ground, front = _ground(scene), _occluder(scene)
    frames, clean, masks = [], [], []
    for index in range(scene.frames):
        share = index / max(1, scene.frames - 1)
        below = _panned(ground, scene, share)
        seen, cover = _placed(below, colours, alpha, _pose(scene, share, alpha.shape))
        if front is not None:
            seen, hidden = _passed(seen, front, scene, share)
            cover = cover * (1 - hidden)
        grain = random.normal(0, scene.noise, seen.shape)
        gain = 1 + (scene.gain - 1) * share
        frames.append(np.clip(np.rint(seen * gain + grain), 0, 255).astype(np.uint8))
        clean.append(np.clip(np.rint(below * gain), 0, 255).astype(np.uint8))
        masks.append(cover > 0.5)
    return Clip(np.stack(frames), np.stack(clean), np.stack(masks))


def read_rgb(relative: str) -> UInt8:
    """A fixture's picture (H, W, 3), sRGB, without its alpha."""
    return _read(relative, cv2.IMREAD_COLOR)[..., ::-1]


def _read(relative: str, how: int) -> UInt8:
    read = cv2.imread(str(fixture(relative)), how)
    assert read is not None, f"{relative} is no picture"
    return np.asarray(read, dtype=np.uint8)


def _cut_out(scene: Scene) -> tuple[Float32, Float32]:
    read = _read(scene.object, cv2.IMREAD_UNCHANGED)
    cover = read[..., 3] if scene.alpha is None else _read(scene.alpha, cv2.IMREAD_GRAYSCALE)
    alpha = np.clip((cover / 255.0 - SOLID) / (1 - SOLID) * 2, 0, 1).astype(np.float32)
    rows, columns = np.flatnonzero(alpha.any(axis=1)), np.flatnonzero(alpha.any(axis=0))
    box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    colours, alpha = read[..., 2::-1][box].astype(np.float32), alpha[box]
    scale = scene.object_height * max(1.0, scene.zoom) / alpha.shape[0]
    size = max(1, round(alpha.shape[1] * scale)), max(1, round(alpha.shape[0] * scale))
    premultiplied = np.dstack([colours * alpha[..., None], alpha])
    shrunk = np.asarray(cv2.resize(premultiplied, size, interpolation=cv2.INTER_AREA), dtype=np.float32)
    return shrunk[..., :3], shrunk[..., 3]


def _ground(scene: Scene) -> Float32:
    """The background photograph, just large enough for the pan."""
    height, width = scene.size
    picture = read_rgb(scene.background)
    need = height + abs(scene.pan[1]) + 4, width + abs(scene.pan[0]) + 4
    scale = max(need[0] / picture.shape[0], need[1] / picture.shape[1])
    size = int(np.ceil(picture.shape[1] * scale)), int(np.ceil(picture.shape[0] * scale))
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(picture, size, interpolation=interpolation), dtype=np.float32)


def _panned(ground: Float32, scene: Scene, share: float) -> Float32:
    height, width = scene.size
    x, y = (2 + (distance * share if distance >= 0 else distance * (share - 1)) for distance in scene.pan)
    move = np.array([[1, 0, x], [0, 1, y]])
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpAffine(ground, move, (width, height), flags=flags), dtype=np.float32)


def _pose(scene: Scene, share: float, size: tuple[int, ...]) -> NDArray[np.float64]:
    """From the object's pixels to the clip's."""
    height, width = scene.size
    start, end = np.array(scene.path)
    centre = (start + (end - start) * share) * (width, height)
    factor = scene.zoom**share / max(1.0, scene.zoom)
    matrix = cv2.getRotationMatrix2D((size[1] / 2, size[0] / 2), scene.turn * (share - 0.5), factor)
    matrix[:, 2] += centre - (size[1] / 2, size[0] / 2)
    return np.asarray(matrix)


def _placed(
    below: Float32, premultiplied: Float32, alpha: Float32, pose: NDArray[np.float64]
) -> tuple[Float32, Float32]:
    height, width = below.shape[:2]
    moved = cv2.warpAffine(np.dstack([premultiplied, alpha]), pose, (width, height), flags=cv2.INTER_LINEAR)
    cover = np.asarray(moved[..., 3], dtype=np.float32)
    return np.asarray(below * (1 - cover[..., None]) + moved[..., :3], dtype=np.float32), cover


def _occluder(scene: Scene) -> Float32 | None:
    if scene.occluder is None:
        return None
    width, height = round(scene.occluder_width), round(scene.size[0] * 0.9)
    return np.asarray(cv2.resize(read_rgb(scene.occluder), (width, height), interpolation=cv2.INTER_AREA), np.float32)


def _passed(seen: Float32, front: Float32, scene: Scene, share: float) -> tuple[Float32, Float32]:
    """The occluder crosses from the right to the left."""
    height, width = scene.size
    first, last = scene.passing
    along = (share - first) / (last - first)
    reach = front.shape[1] / 2
    centre = width + reach - along * (width + 2 * reach), height / 2
    y, x = np.mgrid[0 : front.shape[0], 0 : front.shape[1]]
    inside = ((x + 0.5) / front.shape[1] * 2 - 1) ** 2 + ((y + 0.5) / front.shape[0] * 2 - 1) ** 2 < 1
    alpha = inside.astype(np.float32)
    pose = np.array([[1, 0, centre[0] - reach], [0, 1, centre[1] - front.shape[0] / 2]])
    return _placed(seen, front * alpha[..., None], alpha, pose)
