"""Composing: an object on a canvas, centred by its own box, sized by a fill rule, on a background of choice."""

import re
from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from datasets.errors import FrameShapeError
from tasks.ops.depth import Pixels, full_scale, to_depth, to_float
from tasks.ops.resample import Axis, resample_image
from tasks.ops.shadow import Shadow, ShadowConfig, contact_shadow
from tasks.ops.transfer import linear_to_srgb, srgb_to_linear

OBJECT_THRESHOLD = 0.5  # where a soft edge has its middle; shadows that came with a cutout are mostly fainter
FAINT_THRESHOLD = 0.1  # second try, for glass and smoke
SPECK_AREA = 1 / 1000  # of the largest part: smaller parts are dust
BAND_SAMPLES = 1 << 20  # canvas samples worked on at a time: 4 MiB for each float array

Box = tuple[int, int, int, int]  # x0, y0, x1, y1
Window = tuple[int, int, int, int]  # y0, y1, x0, x1
Light = NDArray[np.float32]
Preset = Literal["marketplace", "transparent", "colour", "gradient", "picture"]


class ComposeConfig(BaseModel):
    """Canvas, background and how the object sits on it.

    The default is what marketplaces ask for: white, filled to 85 %.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    preset: Preset = Field(
        default="marketplace", description="Background: white, none, a colour, a gradient, a picture."
    )
    width: int = Field(default=2000, ge=16, le=16384, description="Canvas width in pixels.")
    height: int = Field(default=2000, ge=16, le=16384, description="Canvas height in pixels.")
    fill: float = Field(
        default=0.85, ge=0.1, le=1, description="Share of the canvas that the object's longer extent takes."
    )
    margin: int = Field(default=0, ge=0, le=8000, description="Pixels that stay free at every edge at least.")
    colour: str = Field(default="#f2f2f2", description="Background of the preset colour, #rrggbb in sRGB.")
    gradient_start: str = Field(default="#ffffff", description="First colour of the gradient, #rrggbb.")
    gradient_end: str = Field(default="#d9dde3", description="Last colour of the gradient, #rrggbb.")
    gradient_angle: float = Field(default=180, ge=0, lt=360, description="Degrees clockwise; 0 runs upwards, 180 down.")
    picture: str | None = Field(default=None, description="Path of the background picture of the preset picture.")
    shadow: ShadowConfig = Field(default_factory=ShadowConfig, description="Contact shadow under the object.")
    upscale_limit: float = Field(
        default=2.0, ge=0.1, le=16, description="The object is enlarged at most so many times; beyond 2 softness shows."
    )
    align: Literal["centre", "bottom"] = Field(default="centre", description="Vertical place of the object.")

    @field_validator("colour", "gradient_start", "gradient_end")
    @classmethod
    def _is_hex(cls, value: str) -> str:
        if not re.fullmatch(r"#[0-9a-fA-F]{6}", value):
            raise ValueError(f"expected a colour as #rrggbb, got {value!r}")
        return value.lower()

    @model_validator(mode="after")
    def _leaves_room(self) -> "ComposeConfig":
        if 2 * self.margin >= min(self.width, self.height):
            raise ValueError(f"a margin of {self.margin} px leaves no room on {self.width}x{self.height}")
        return self


@dataclass(frozen=True)
class Placement:
    """Where the object's box lies on the canvas.

    Attributes:
        scale: canvas pixels per object pixel, before rounding to whole pixels.
        x: canvas column of the box's left edge.
        y: canvas row of its upper edge.
        width: in canvas pixels.
        height: in canvas pixels.
        limited_by: which rule set the scale.
    """

    scale: float
    x: int
    y: int
    width: int
    height: int
    limited_by: Literal["fill", "margin", "upscale_limit"] = "fill"


@dataclass(frozen=True)
class ComposeResult:
    """A composed picture and the facts that notices are made of.

    Attributes:
        pixels: (H, W, 3), or (H, W, 4) with straight alpha for the preset transparent.
        placement: None when there was no object to place; the canvas is then empty.
        object_box_xyxy: the object's box in the photo.
        object_fill: what share of the canvas the object's longer relative extent takes.
        enlarged_by: how many times the object was enlarged; 1 when it was not.
    """

    pixels: Pixels
    placement: Placement | None
    object_box_xyxy: Box | None
    object_fill: float
    enlarged_by: float


def object_box(alpha: NDArray[Any], threshold: float = OBJECT_THRESHOLD) -> Box | None:
    """The box (x0, y0, x1, y1), half open, of what is at least ``threshold`` opaque.

    Parts (8-connected) smaller than a thousandth of the largest part are dust and do not count. Pixels below the
    threshold, such as soft shadows, do not either.

    Args:
        alpha: (H, W), uint8, uint16 or float 0..1.
        threshold: 0..1.

    Returns:
        None when nothing is opaque enough.
    """
    opaque = (alpha >= threshold * full_scale(alpha.dtype)).astype(np.uint8)
    if not opaque.any():
        return None
    _, _, stats, _ = cv2.connectedComponentsWithStats(opaque, connectivity=8)
    parts = stats[1:]
    parts = parts[parts[:, cv2.CC_STAT_AREA] >= SPECK_AREA * parts[:, cv2.CC_STAT_AREA].max()]
    low = parts[:, [cv2.CC_STAT_LEFT, cv2.CC_STAT_TOP]]
    high = (low + parts[:, [cv2.CC_STAT_WIDTH, cv2.CC_STAT_HEIGHT]]).max(axis=0)
    return (int(low[:, 0].min()), int(low[:, 1].min()), int(high[0]), int(high[1]))


def layout(box: Box, config: ComposeConfig) -> Placement:
    """Size and place of the object's box on the canvas: centred, or standing on the lower edge of the filled area."""
    width, height = box[2] - box[0], box[3] - box[1]
    scales = {
        "fill": config.fill * min(config.width / width, config.height / height),
        "margin": min((config.width - 2 * config.margin) / width, (config.height - 2 * config.margin) / height),
        "upscale_limit": config.upscale_limit,
    }
    limited_by: Any = min(scales, key=lambda rule: scales[rule])
    scale = scales[limited_by]
    placed_width, placed_height = max(1, round(width * scale)), max(1, round(height * scale))
    x = (config.width - placed_width) // 2
    free = config.height - placed_height
    bottom = min(free, max(config.margin, round((1.0 - config.fill) / 2 * config.height)))
    y = free - bottom if config.align == "bottom" else free // 2
    return Placement(scale, x, y, placed_width, placed_height, limited_by)


def compose_image(image: Pixels, config: ComposeConfig, background: Pixels | None = None) -> ComposeResult:
    """Put the object of ``image`` on a canvas.

    Args:
        image: (H, W, 3), placed as a whole, or (H, W, 4) with straight alpha, placed by its object's box; sRGB, uint8
            or uint16.
        config: see ``ComposeConfig``.
        background: (H, W, 3) or more channels, sRGB, for the preset picture; covers the canvas, its middle is shown.

    Returns:
        Same depth as ``image``. Blended in linear light with premultiplied colours (Porter and Duff 1984, over).
        Pixels that neither object nor shadow touches have exactly the background's code.

    Raises:
        FrameShapeError: not three or four channels, or an empty array.
        TypeError: the preset picture without a picture.
    """
    if image.ndim != 3 or image.shape[2] not in (3, 4) or not image.size:
        raise FrameShapeError(f"expected an image (H, W, 3 or 4), got shape {image.shape}", shape=image.shape)
    if config.preset == "picture" and background is None:
        raise TypeError("the preset picture needs a background")
    backdrop = Backdrop(config, image.dtype, background)
    box = _box_of(image)
    canvas = np.empty((config.height, config.width, backdrop.channels), dtype=image.dtype)
    if box is None:
        _paint(canvas, backdrop, None)
        return ComposeResult(canvas, None, None, 0.0, 1.0)
    placement = layout(box, config)
    _paint(canvas, backdrop, _Actor.placed(image, box, placement, config.shadow))
    fill = max(placement.width / config.width, placement.height / config.height)
    return ComposeResult(canvas, placement, box, fill, max(1.0, placement.scale))


def _box_of(image: Pixels) -> Box | None:
    if image.shape[2] == 3:
        return (0, 0, image.shape[1], image.shape[0])
    return object_box(image[..., 3]) or object_box(image[..., 3], FAINT_THRESHOLD)


class Backdrop:
    """The background, rows by rows, as codes of the canvas."""

    def __init__(self, config: ComposeConfig, dtype: np.dtype[Any], picture: Pixels | None) -> None:
        self.config = config
        self.dtype = dtype
        self.picture = None if picture is None else to_depth(picture[..., :3], dtype)
        self.channels = 4 if config.preset == "transparent" else 3

    def rows(self, y0: int, y1: int) -> Pixels:
        """(y1 - y0, width, channels)."""
        if self.config.preset == "picture":
            return self._picture_rows(y0, y1)
        if self.config.preset == "gradient":
            return self._gradient_rows(y0, y1)
        flat = {"marketplace": "#ffffff", "transparent": "#000000", "colour": self.config.colour}
        codes = to_depth(hex_to_rgb(flat[self.config.preset]), self.dtype)
        shape = (y1 - y0, self.config.width, self.channels)
        return np.broadcast_to(np.append(codes, 0)[: self.channels].astype(self.dtype), shape)

    def _gradient_rows(self, y0: int, y1: int) -> Pixels:
        """Even steps of sRGB codes along the angle, from corner to corner. Source: CSS Images 3, linear gradients."""
        turn = np.deg2rad(self.config.gradient_angle)
        across, down = float(np.sin(turn)), float(-np.cos(turn))
        length = abs(self.config.width * across) + abs(self.config.height * down)
        x = np.arange(self.config.width) + 0.5 - self.config.width / 2
        y = np.arange(y0, y1)[:, None] + 0.5 - self.config.height / 2
        part = np.clip(0.5 + (x * across + y * down) / length, 0.0, 1.0)[..., None]
        start, end = (to_float(hex_to_rgb(colour)) for colour in (self.config.gradient_start, self.config.gradient_end))
        return to_depth(start + (end - start) * part, self.dtype)

    def _picture_rows(self, y0: int, y1: int) -> Pixels:
        """The picture scaled to cover the canvas, its middle in the canvas's middle."""
        assert self.picture is not None
        height, width = self.picture.shape[:2]
        step = min(height / self.config.height, width / self.config.width)
        rows = Axis(height, step, (height - step * self.config.height) / 2, "lanczos3")
        columns = Axis(width, step, (width - step * self.config.width) / 2, "lanczos3")
        in0, in1 = rows.span(y0, y1)
        window = (y0, y1, 0, self.config.width)
        return resample_image(self.picture[in0:in1], rows, columns, window, (in0, 0), linear_light=step > 1.0)


def hex_to_rgb(colour: str) -> NDArray[np.uint8]:
    """Three 8-bit codes of a colour written as #rrggbb."""
    return np.frombuffer(bytes.fromhex(colour[1:]), dtype=np.uint8)


@dataclass(frozen=True)
class _Actor:
    """The object with its axes, which map the canvas to the photo so that the box lands on whole pixels."""

    image: Pixels
    rows: Axis
    columns: Axis
    seen: Box
    shadow: Shadow | None

    @classmethod
    def placed(cls, image: Pixels, box: Box, placement: Placement, shadow: ShadowConfig) -> "_Actor":
        step_y, step_x = (box[3] - box[1]) / placement.height, (box[2] - box[0]) / placement.width
        rows = Axis(image.shape[0], step_y, box[1] - placement.y * step_y, "lanczos3")
        columns = Axis(image.shape[1], step_x, box[0] - placement.x * step_x, "lanczos3")
        drawn = _shadow_of(image, box, placement, shadow) if shadow.enabled else None
        return cls(image, rows, columns, _seen_box(image), drawn)

    @property
    def window(self) -> Window:
        """The canvas pixels (y0, y1, x0, x1) that can show something of the photo; may lie beyond the canvas."""
        x0, y0, x1, y1 = self.seen
        return (*_covered(self.rows, y0, y1), *_covered(self.columns, x0, x1))

    def render(self, window: Window) -> Light:
        """Premultiplied linear light (H, W, 4) on the window."""
        (top, bottom), (left, right) = self.rows.span(*window[:2]), self.columns.span(*window[2:])
        part = self.image[top:bottom, left:right]
        shrinks = self.rows.step > 1.0  # enlarging in linear light would draw dark rims around bright details
        return _to_light(resample_image(part, self.rows, self.columns, window, (top, left), linear_light=shrinks))


def _covered(axis: Axis, in0: int, in1: int) -> tuple[int, int]:
    """The output pixels whose middle lies in the photo and whose taps can reach its pixels in0 <= i < in1."""
    edges = (max(0.0, in0 - axis.support), min(float(axis.in_size), in1 + axis.support))
    low, high = (int(np.ceil((edge - axis.origin) / axis.step - 0.5)) for edge in edges)
    return low, max(low + 1, high)


def _seen_box(image: Pixels) -> Box:
    """The box of everything that is not wholly transparent."""
    if image.shape[2] == 3:
        return (0, 0, image.shape[1], image.shape[0])
    seen = image[..., 3] != 0
    rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
    return (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)


def _shadow_of(image: Pixels, box: Box, placement: Placement, config: ShadowConfig) -> Shadow:
    x0, y0, x1, y1 = box
    part = image[y0:y1, x0:x1]
    alpha = to_float(part[..., 3]) if image.shape[2] == 4 else np.ones(part.shape[:2], dtype=np.float32)
    return contact_shadow(alpha, x=placement.x, y=placement.y, width=placement.width, config=config)


def _paint(canvas: Pixels, backdrop: Backdrop, actor: _Actor | None) -> None:
    band = max(8, BAND_SAMPLES // (canvas.shape[1] * canvas.shape[2]))
    for y0 in range(0, canvas.shape[0], band):
        y1 = min(canvas.shape[0], y0 + band)
        canvas[y0:y1] = backdrop.rows(y0, y1)
        if actor is not None:
            _blend_rows(canvas, y0, y1, actor)


def _blend_rows(canvas: Pixels, y0: int, y1: int, actor: _Actor) -> None:
    layers = [layer for layer in (actor.shadow, actor) if layer is not None]
    windows = [_within(layer.window, (y0, y1, 0, canvas.shape[1])) for layer in layers]
    touched = [(layer, window) for layer, window in zip(layers, windows, strict=True) if window is not None]
    if not touched:
        return
    left, right = min(w[2] for _, w in touched), max(w[3] for _, w in touched)
    light = _to_light(canvas[y0:y1, left:right])
    for layer, (top, bottom, x0, x1) in touched:
        _lay_over(light[top - y0 : bottom - y0, x0 - left : x1 - left], layer.render((top, bottom, x0, x1)))
    canvas[y0:y1, left:right] = _to_codes(light, canvas)


def _within(window: Window, bounds: Window) -> Window | None:
    y0, x0 = (max(window[i], bounds[i]) for i in (0, 2))
    y1, x1 = (min(window[i], bounds[i]) for i in (1, 3))
    return (y0, y1, x0, x1) if y0 < y1 and x0 < x1 else None


def _lay_over(light: Light, layer: Light) -> None:
    """Porter and Duff's over, in place, on premultiplied linear light (H, W, 4)."""
    passing = 1.0 - layer[..., 3]
    for c in range(4):
        light[..., c] *= passing
    light += layer


def _to_light(pixels: Pixels) -> Light:
    """Premultiplied linear light (H, W, 4) of straight sRGB codes with three or four channels."""
    light = np.ones((*pixels.shape[:2], 4), dtype=np.float32)
    light[..., :3] = srgb_to_linear(pixels[..., :3])
    if pixels.shape[2] == 4:
        light[..., 3] = to_float(pixels[..., 3])
        for c in range(3):
            light[..., c] *= light[..., 3]
    return light


def _to_codes(light: Light, canvas: Pixels) -> Pixels:
    """Straight sRGB codes, with as many channels and of the depth of the canvas."""
    if canvas.shape[2] == 3:
        return linear_to_srgb(light[..., :3], canvas.dtype)
    alpha = light[..., 3:]
    visible = alpha > 0.5 / full_scale(canvas.dtype)
    straight = np.divide(light[..., :3], alpha, out=np.zeros_like(light[..., :3]), where=visible)
    return np.concatenate([linear_to_srgb(straight, canvas.dtype), to_depth(alpha, canvas.dtype)], axis=2)
