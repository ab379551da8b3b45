"""What a clip's colour tags mean in numbers: matrix, range and where the colour samples lie.

Sources: ITU-T H.273 (07/2021), 8.3, tables 4 and equations 20 to 73; ITU-R BT.601-7, BT.709-6, BT.2020-2.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from datasets.errors import PermanentError
from datasets.planar import PlanarFormat
from tasks.ops.video.clip import UNKNOWN, ClipInfo

Matrix = NDArray[np.float64]

# Weights of red and blue in the luma (H.273, table 4). The constant luminance of BT.2020 is read as the other kind, as
# swscale does: hardly a file that says so means it.
_WEIGHTS = {
    "bt709": (0.2126, 0.0722),
    "smpte170m": (0.299, 0.114),
    "bt470bg": (0.299, 0.114),
    "fcc": (0.30, 0.11),
    "smpte240m": (0.212, 0.087),
    "bt2020nc": (0.2627, 0.0593),
    "bt2020c": (0.2627, 0.0593),
}
_RGB_ORDER: Matrix = np.array([[0.0, 1, 0], [0, 0, 1], [1, 0, 0]])  # planes are green, blue, red
_YCGCO: Matrix = np.array([[0.25, 0.5, 0.25], [-0.25, 0.5, -0.25], [0.5, 0, -0.5]])  # the middle plane is Cg
# (column, row) of a colour sample in its group of pixels: 0 on the first, 0.5 in the middle, 1 on the last
_SITES = {
    "left": (0.0, 0.5),
    "center": (0.5, 0.5),
    "topleft": (0.0, 0.0),
    "top": (0.5, 0.0),
    "bottomleft": (0.0, 1.0),
    "bottom": (0.5, 1.0),
}


class ColourUnsupportedError(PermanentError):
    """Colour tags that this project cannot turn into RGB."""

    code = "colour_unsupported"


@dataclass(frozen=True)
class Coding:
    """``codes = spans * (matrix @ rgb) + zeros`` for rgb of 0..1, rows in the order of the format's colour planes.

    Attributes:
        matrix: (planes, 3); one row for gray.
        inverse: (3, planes).
        spans: Codes from nothing to full, of each plane.
        zeros: The code that stands for nothing, of each plane.
    """

    matrix: Matrix
    inverse: Matrix
    spans: Matrix
    zeros: Matrix


def coding(info: ClipInfo, fmt: PlanarFormat) -> Coding:
    """The numbers behind the clip's tags.

    Raises:
        ColourUnsupportedError: a matrix that is none of H.273's linear ones (``ictcp``, ``smpte2085``, ...).
    """
    name = matrix_name(info, fmt)
    matrix = _matrix(name)
    full, top = is_full_range(info, fmt), float(2**fmt.depth - 1)
    step = 2.0 ** (fmt.depth - 8)
    luma = (top, 0.0) if full else (219.0 * step, 16.0 * step)
    if fmt.family == "gray":
        return Coding(matrix[:1], np.ones((3, 1)), np.array(luma[:1]), np.array(luma[1:]))
    if name == "gbr":
        chroma = luma
    else:
        # H.273 scales R, G and B before it makes YCgCo of them, so that all three planes have the luma's span
        chroma = (luma[0] if full or name == "ycgco" else 224.0 * step, 128.0 * step)
    spans, zeros = (np.array([luma[part], chroma[part], chroma[part]]) for part in (0, 1))
    inverse: Matrix = np.linalg.inv(matrix).astype(np.float64)
    return Coding(matrix, inverse, spans, zeros)


def matrix_name(info: ClipInfo, fmt: PlanarFormat) -> str:
    """The matrix of the tags, or the one that is meant where they are silent or contradict the planes.

    Unspecified clips of at least 1280 columns or more than 576 rows are bt709, smaller ones smpte170m: what mpv
    (``mp_csp_guess_colorspace``) does. The identity needs colour planes of full size (H.273);
    else it is guessed over.
    """
    if fmt.family == "rgb":
        return "gbr"
    name = info.colour.matrix
    if name == "gbr" and (fmt.family == "gray" or fmt.shift_x or fmt.shift_y):
        name = UNKNOWN
    if name in (UNKNOWN, "unknown", "reserved"):
        return "bt709" if info.width >= 1280 or info.height > 576 else "smpte170m"
    return name


def is_full_range(info: ClipInfo, fmt: PlanarFormat) -> bool:
    """Whether codes use the whole scale.

    RGB planes and yuvj do whatever the tag says, gray does where the tag is silent: as swscale and, for RGB, mpv take
    them. YUV without a tag is limited (H.273).
    """
    if fmt.family == "rgb" or fmt.name.startswith("yuvj"):
        return True
    tag = info.colour.range
    return tag == "pc" or (tag != "tv" and fmt.family == "gray")


def chroma_site(info: ClipInfo) -> tuple[float, float]:
    """(column, row) of a colour sample inside its group of pixels, 0..1; MPEG-2's ``left`` where nothing is said."""
    return _SITES.get(info.colour.chroma_location, _SITES["left"])


def _matrix(name: str) -> Matrix:
    if name == "gbr":
        return _RGB_ORDER
    if name in ("ycgco", "ycocg"):
        return _YCGCO
    if name not in _WEIGHTS:
        known = ", ".join([*_WEIGHTS, "ycgco", "gbr"])
        raise ColourUnsupportedError(
            f"expected a colour matrix among {known}; got {name!r};"
            " convert the clip to one of them, or correct its tags",
            matrix=name,
        )
    red, blue = _WEIGHTS[name]
    luma = np.array([red, 1.0 - red - blue, blue])
    unit_blue, unit_red = np.array([0.0, 0, 1]), np.array([1.0, 0, 0])
    return np.stack([luma, (unit_blue - luma) / (2 * (1 - blue)), (unit_red - luma) / (2 * (1 - red))])
