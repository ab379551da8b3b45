"""High dynamic range to what every display shows: PQ and HLG of BT.2020 to BT.709.

Sources: ITU-R BT.2100-2 (PQ, HLG and its OOTF), BT.2390-10 5.4.1 (EETF), BT.2408-5 (reference white: 203 cd/m²),
BT.2087-0 (BT.2020 to BT.709), BT.1886 (the display's 2.4).
"""

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datasets.errors import FrameShapeError, PermanentError
from tasks.ops.video.clip import ClipInfo, Colour

Floats = NDArray[np.float32]

REFERENCE_WHITE_NITS = 203.0  # BT.2408: what becomes the white of the standard display
HLG_PEAK_NITS = 1000.0  # BT.2100: the nominal display, for which the system gamma is 1.2
_HLG_SYSTEM_GAMMA = 1.2
_DISPLAY_GAMMA = 2.4  # BT.1886
_PQ_PEAK_NITS = 10000.0
_M1, _M2 = 2610 / 16384, 2523 / 4096 * 128
_C1, _C2, _C3 = 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32
_HLG_A, _HLG_B, _HLG_C = 0.17883277, 0.28466892, 0.55991073
_LUMA_2020 = np.array([0.2627, 0.6780, 0.0593], np.float32)
_TO_709 = np.array([[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]], np.float32)
_STRIP_PIXELS = 1 << 16


class HdrUnsupportedError(PermanentError):
    """A clip of high dynamic range for a stage that knows only the standard one."""

    code = "hdr_unsupported"


def refuse_hdr(info: ClipInfo) -> None:
    """Let clips of standard range pass.

    Raises:
        HdrUnsupportedError: the clip's transfer is PQ or HLG.
    """
    if info.colour.hdr:
        raise HdrUnsupportedError(
            f"expected a clip of standard dynamic range; got one of transfer {info.colour.transfer}; set hdr: tonemap",
            transfer=info.colour.transfer,
            remedy="hdr: tonemap",
        )


def tonemapped(info: ClipInfo) -> ClipInfo:
    """The clip's facts after ``tonemap``: BT.709, and no side data of the high range."""
    tags = Colour("bt709", "bt709", "bt709", info.colour.range, info.colour.chroma_location)
    return replace(info, colour=tags, hdr={})


def tonemap(rgb: NDArray[Any], transfer: str, *, peak_nits: float = 1000.0) -> NDArray[np.uint16]:
    """PQ or HLG of BT.2020 to BT.709 for a standard display.

    The largest of R, G and B goes through BT.2390's EETF from ``peak_nits`` down to reference white, and the pixel
    keeps its ratios, so that hues stay; what lies outside BT.709 after that is clipped. Pixels do not know each other.

    Args:
        rgb: (T, H, W, 3|4) uint16, full scale 0..65535; alpha passes.
        transfer: ``smpte2084`` (PQ) or ``arib-std-b67`` (HLG, whose peak is 1000 whatever is said).
        peak_nits: The brightest of the mastering display, cd/m²; brighter pixels are clipped.

    Returns:
        The same shape, uint16, codes for BT.1886.

    Raises:
        FrameShapeError: other shape or dtype.
        HdrUnsupportedError: another transfer.
    """
    if rgb.ndim != 4 or rgb.shape[3] not in (3, 4) or rgb.dtype != np.uint16:
        raise FrameShapeError(
            f"expected frames (T, H, W, 3 or 4) of uint16; got {rgb.shape} of {rgb.dtype}; widen them first",
            shape=list(rgb.shape),
            dtype=str(rgb.dtype),
        )
    if transfer not in ("smpte2084", "arib-std-b67"):
        raise HdrUnsupportedError(
            f"expected transfer smpte2084 or arib-std-b67; got {transfer!r}; only clips of high range are tone mapped",
            transfer=transfer,
        )
    hlg = transfer == "arib-std-b67"
    peak = HLG_PEAK_NITS if hlg else peak_nits
    mapped = np.array(rgb, order="C")
    for frame in mapped:  # strips begin with the frame: where a pixel lies in one does not depend on how many come
        pixels = frame.reshape(-1, rgb.shape[3])
        for first in range(0, len(pixels), _STRIP_PIXELS):
            strip = pixels[first : first + _STRIP_PIXELS, :3]
            nits = _hlg_nits(strip) if hlg else np.take(_pq_table(), strip)
            strip[:] = _display_codes(nits, peak)
    return mapped


def _display_codes(nits: Floats, peak_nits: float) -> NDArray[np.uint16]:
    """(N, 3) display light of BT.2020 to codes of BT.709."""
    largest = nits.max(axis=1)
    gain = _eetf(largest, peak_nits) / np.maximum(largest, np.float32(1e-6))
    gain[largest == 0] = 0
    relative = nits * (gain / np.float32(REFERENCE_WHITE_NITS))[:, None]
    # written out: a matrix product of a library may depend on how many rows there are
    linear = sum(relative[:, [column]] * _TO_709[:, column] for column in range(3))
    codes = np.power(np.clip(linear, 0, 1), np.float32(1 / _DISPLAY_GAMMA)) * np.float32(65535)
    rounded: NDArray[np.uint16] = np.rint(codes).astype(np.uint16)
    return rounded


def _eetf(nits: Floats, peak_nits: float) -> Floats:
    """BT.2390 5.4.1, black to black: nits of 0..peak to nits of 0..reference white; the identity below the knee."""
    peak_code = float(_pq(np.float64(peak_nits)))
    ceiling = float(_pq(np.float64(REFERENCE_WHITE_NITS))) / peak_code
    if ceiling >= 1:
        return nits
    knee = 1.5 * ceiling - 0.5
    code = np.minimum(_pq(nits) / np.float32(peak_code), np.float32(1))
    t = np.maximum(code - np.float32(knee), np.float32(0)) / np.float32(1 - knee)
    t2, t3 = t * t, t * t * t
    rolled = (2 * t3 - 3 * t2 + 1) * knee + (t3 - 2 * t2 + t) * (1 - knee) + (3 * t2 - 2 * t3) * ceiling
    mapped = _pq_nits(np.where(code > knee, rolled, code).astype(np.float32) * np.float32(peak_code))
    return np.where(code > knee, mapped, nits).astype(np.float32)


def _pq(nits: Any) -> Any:
    """The inverse EOTF of BT.2100: cd/m² to 0..1."""
    power = np.power(nits / _PQ_PEAK_NITS, _M1)
    return np.power((_C1 + _C2 * power) / (1 + _C3 * power), _M2)


def _pq_nits(code: Any) -> Any:
    """The EOTF of BT.2100: 0..1 to cd/m²."""
    power = np.power(code, 1 / _M2)
    return _PQ_PEAK_NITS * np.power(np.maximum(power - _C1, 0) / (_C2 - _C3 * power), 1 / _M1)


@cache
def _pq_table() -> Floats:
    return _frozen(_pq_nits(np.arange(65536) / 65535))


@cache
def _hlg_table() -> Floats:
    """The inverse OETF of BT.2100: codes to scene light of 0..1."""
    code = np.arange(65536) / 65535
    return _frozen(np.where(code <= 0.5, code**2 / 3, (np.exp((code - _HLG_C) / _HLG_A) + _HLG_B) / 12))


def _frozen(table: NDArray[np.float64]) -> Floats:
    light = table.astype(np.float32)
    light.flags.writeable = False
    return light


def _hlg_nits(codes: NDArray[np.uint16]) -> Floats:
    """(N, 3) HLG codes to display light of the nominal display, by the OOTF."""
    scene = np.take(_hlg_table(), codes)
    luminance = scene[:, 0] * _LUMA_2020[0] + scene[:, 1] * _LUMA_2020[1] + scene[:, 2] * _LUMA_2020[2]
    system = np.power(luminance, np.float32(_HLG_SYSTEM_GAMMA - 1)) * np.float32(HLG_PEAK_NITS)
    light: Floats = scene * system[:, None]
    return light
