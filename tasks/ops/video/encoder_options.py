"""Encoder options: what makes bytes depend on the frames and the recipe alone, and what tags them."""

import base64
import struct
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Any

import cv2

from tasks.ops.video.clip import UNKNOWN, ClipInfo
from tasks.ops.video.codecs import ContainerName, OutputCodec, output_codec

_MASTERING = struct.Struct("=20i2i")  # FFmpeg's AVMasteringDisplayMetadata: 10 rationals, two flags
_LIGHT = struct.Struct("=2I")  # FFmpeg's AVContentLightMetadata
_CHROMATICITY_STEP = 50_000  # SMPTE ST 2086 as coded: units of 0.00002
_AVX_512F = 13  # OpenCV's CV_CPU_AVX_512F, which its Python module does not name
_LUMINANCE_STEP = 10_000  # and of 0.0001 candela per square metre
_OPTION_NAMES = {"gbr": "rgb", "bt470m": "gamma22", "bt470bg": "gamma28", "bt1361e": "bt1361", "bt2020c": "bt2020_cl"}


@dataclass(frozen=True)
class EncodeSettings:
    """How a clip is encoded. All of it belongs to the recipe's identity.

    Attributes:
        codec: Output codec's name.
        container: What the segments are joined into.
        pixel_format: The planar format that is coded; see ``codecs.choose_pixel_format``.
        quality: Constant quality on the encoder's scale, smaller is better (for WebP larger); None: the codec's own.
        preset: Speed in the encoder's words; None: the codec's own.
        threads: Of one encoder. Bytes depend on it, so it is fixed here and never read from the machine.
        keyframe_interval: Most frames from one key frame to the next within a segment.
    """

    codec: str
    container: ContainerName
    pixel_format: str
    quality: float | None = None
    preset: str | None = None
    threads: int = 1
    keyframe_interval: int = 250

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def encoder_options(settings: EncodeSettings, info: ClipInfo) -> dict[str, str]:
    """FFmpeg's options for an encoder.

    Common: ``g`` (longest distance of key frames), ``flags=+cgop`` (no reference over a key frame, so that segments
    can be joined), the colour tags. Per encoder: constant quality (``crf``), speed (``preset`` or ``cpu-used``), and

    - libx264: ``asm=AVX2`` where the processor has AVX-512: with that code bytes depended on what memory held before
      (8 of 15 encodings differed with two threads, 1 of 100 with one; none of 40 and of 200 without it). Its
      ``threads`` change the bytes.
    - libx265: ``pools=none:frame-threads=1`` (its pool follows the machine's cores), ``info=0`` (its version message
      tells the processor's features), ``open-gop=0``.
    - libsvtav1: ``lp`` (level of parallelism).
    - libvpx-vp9: ``b=0`` with ``crf`` for constant quality; ``row-mt=0``; ``auto-alt-ref=0`` with alpha, whose two
      streams would otherwise show different frames.
    - prores_ks: ``profile=4444``, ``alpha_bits=16``.
    - ffv1: ``level=3`` with ``slicecrc=1`` (damage is found on reading), ``slices=4``, every frame a key frame.

    Args:
        settings: The recipe's.
        info: Colour and high dynamic range metadata are taken from it.
    """
    codec = output_codec(settings.codec)
    options = {"flags": "+cgop+bitexact", "g": str(settings.keyframe_interval), **_colour(info)}
    quality = codec.quality if settings.quality is None else settings.quality
    if quality is not None:
        options["crf"] = f"{quality:g}"
    return options | _OWN[codec.encoder](codec, settings, info)


def _colour(info: ClipInfo) -> dict[str, str]:
    colour = info.colour
    tags = {
        "color_primaries": colour.primaries,
        "color_trc": _OPTION_NAMES.get(colour.transfer, colour.transfer),
        "colorspace": "bt470bg" if colour.matrix == "bt470bg" else _OPTION_NAMES.get(colour.matrix, colour.matrix),
        "color_range": "pc" if info.pixel_format.startswith("yuvj") else colour.range,
        "chroma_sample_location": colour.chroma_location,
    }
    return {name: value for name, value in tags.items() if value not in (UNKNOWN, "unknown", "")}


def _x264(codec: OutputCodec, settings: EncodeSettings, info: ClipInfo) -> dict[str, str]:
    params = {"asm": "AVX2"} if cv2.checkHardwareSupport(_AVX_512F) else {}
    if mastering := mastering_display(info.hdr):
        params["mastering-display"] = mastering
    if light := content_light(info.hdr):
        params["cll"] = f"{light[0]},{light[1]}"
    own = {"preset": settings.preset or str(codec.preset)}
    return own | ({"x264-params": _joined(params)} if params else {})


def _x265(codec: OutputCodec, settings: EncodeSettings, info: ClipInfo) -> dict[str, str]:
    params = {"log-level": "error", "info": "0", "open-gop": "0", "pools": "none", "frame-threads": "1"}
    if mastering := mastering_display(info.hdr):
        params["master-display"] = mastering
    if light := content_light(info.hdr):
        params["max-cll"] = f"{light[0]},{light[1]}"
    return {"preset": settings.preset or str(codec.preset), "x265-params": _joined(params)}


def _svtav1(codec: OutputCodec, settings: EncodeSettings, info: ClipInfo) -> dict[str, str]:
    params = {"lp": str(settings.threads)}
    if mastering := mastering_display(info.hdr, steps=False):
        params["mastering-display"] = mastering
    if light := content_light(info.hdr):
        params["content-light"] = f"{light[0]},{light[1]}"
    return {"preset": settings.preset or str(codec.preset), "svtav1-params": _joined(params)}


def _vp9(codec: OutputCodec, settings: EncodeSettings, _info: ClipInfo) -> dict[str, str]:
    own = {"b": "0", "deadline": "good", "cpu-used": settings.preset or str(codec.preset), "row-mt": "0"}
    return own | ({"auto-alt-ref": "0"} if settings.pixel_format.startswith("yuva") else {})


def _prores(_codec: OutputCodec, _settings: EncodeSettings, _info: ClipInfo) -> dict[str, str]:
    return {"profile": "4444", "alpha_bits": "16", "vendor": "apl0"}


def _ffv1(_codec: OutputCodec, _settings: EncodeSettings, _info: ClipInfo) -> dict[str, str]:
    return {"level": "3", "slicecrc": "1", "slices": "4", "g": "1", "coder": "1", "context": "0"}


_OWN = {
    "libx264": _x264,
    "libx265": _x265,
    "libsvtav1": _svtav1,
    "libvpx-vp9": _vp9,
    "prores_ks": _prores,
    "ffv1": _ffv1,
}


def _joined(params: Mapping[str, str]) -> str:
    return ":".join(f"{name}={value}" for name, value in params.items())


def mastering_display(hdr: Mapping[str, str], *, steps: bool = True) -> str | None:
    """The mastering display as encoders write it: ``G(x,y)B(x,y)R(x,y)WP(x,y)L(max,min)``.

    Args:
        hdr: FFmpeg's side data, base64 by name.
        steps: In the integer steps of SMPTE ST 2086 (x264, x265) instead of in units (SVT-AV1).
    """
    raw = _side_data(hdr, "MASTERING", _MASTERING.size)
    if raw is None:
        return None
    *numbers, has_primaries, has_luminance = _MASTERING.unpack(raw)
    if not (has_primaries and has_luminance):
        return None
    values = [Fraction(a, b or 1) for a, b in zip(numbers[::2], numbers[1::2], strict=True)]
    rx, ry, gx, gy, bx, by, wx, wy, low, high = values
    pairs = {"G": (gx, gy), "B": (bx, by), "R": (rx, ry), "WP": (wx, wy)}
    text = "".join(f"{name}({_step(x, steps)},{_step(y, steps)})" for name, (x, y) in pairs.items())
    return f"{text}L({_light_step(high, steps)},{_light_step(low, steps)})"


def _step(value: Fraction, steps: bool) -> str:
    return str(round(value * _CHROMATICITY_STEP)) if steps else f"{float(value):.5f}"


def _light_step(value: Fraction, steps: bool) -> str:
    return str(round(value * _LUMINANCE_STEP)) if steps else f"{float(value):.4f}"


def content_light(hdr: Mapping[str, str]) -> tuple[int, int] | None:
    """Largest light of a pixel and largest average of a frame, candela per square metre; None where unknown."""
    raw = _side_data(hdr, "LIGHT", _LIGHT.size)
    return None if raw is None else (_LIGHT.unpack(raw)[0], _LIGHT.unpack(raw)[1])


def _side_data(hdr: Mapping[str, str], part: str, size: int) -> bytes | None:
    for name, value in hdr.items():
        raw = base64.b64decode(value)
        if part in name and len(raw) >= size:
            return raw[:size]
    return None
