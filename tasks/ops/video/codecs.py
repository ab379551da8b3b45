"""What a clip can be delivered as: codecs, the containers and pixel formats each takes, and what is lost on the way."""

from dataclasses import dataclass
from typing import Literal

from datasets.errors import PermanentError
from datasets.notices import Notice
from datasets.planar import PLANAR, PlanarFormat

CodecName = Literal["h264", "hevc", "av1", "vp9", "prores4444", "ffv1", "gif", "webp"]
ContainerName = Literal["mp4", "mov", "mkv", "webm", "gif", "webp"]

FFMPEG_CONTAINERS: dict[ContainerName, str] = {
    "mp4": "mp4",
    "mov": "mov",
    "mkv": "matroska",
    "webm": "webm",
    "gif": "gif",
    "webp": "webp",
}


class ClipFormatError(PermanentError):
    """A clip that the chosen codec or container cannot hold."""

    code = "clip_format"


@dataclass(frozen=True)
class OutputCodec:
    """A codec a clip can be delivered in.

    Attributes:
        name: Ours.
        encoder: FFmpeg's name of the encoder.
        containers: Those that hold it.
        formats: Planar formats taken, the most widely played first.
        quality: Default of the encoder's constant quality scale (smaller is better); None where it has none.
        preset: Default trade of time for size, in the encoder's words; None where it has none.
        longest_quality: The largest number of the scale.
        keeps_rgb: Whether RGB is coded as RGB; otherwise it becomes 4:2:0, which every player shows.
        min_side: Smallest width and height that the encoder takes.
        min_pixels: Smallest area that it codes reliably.
        animation: Whether it is a picture format, coded over the whole clip at once.
    """

    name: CodecName
    encoder: str
    containers: tuple[ContainerName, ...]
    formats: tuple[str, ...]
    quality: int | None = None
    preset: str | None = None
    longest_quality: int = 51
    keeps_rgb: bool = False
    min_side: int = 1
    min_pixels: int = 1
    animation: bool = False


def _both(*subsampling: str, depths: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(f"yuv{each}p{depth}" for depth in depths for each in subsampling)


_ENTRIES = (
    OutputCodec(
        "h264", "libx264", ("mp4", "mov", "mkv"), _both("420", "422", "444", depths=("", "10le")), 18, "medium"
    ),
    # x265 writes behind its buffers and codes different bytes each time when the picture is about one coding tree
    # unit (measured at 16, 32, 40, 48 and 64 pixels square, never from 66x130 on).
    OutputCodec(
        "hevc",
        "libx265",
        ("mp4", "mov", "mkv"),
        _both("420", "422", "444", depths=("", "10le", "12le")),
        20,
        "medium",
        min_side=16,
        min_pixels=128 * 128,
    ),
    OutputCodec("av1", "libsvtav1", ("mp4", "mkv", "webm"), ("yuv420p", "yuv420p10le"), 28, "6", 63, min_side=16),
    OutputCodec(
        "vp9",
        "libvpx-vp9",
        ("webm", "mkv", "mp4"),
        ("yuv420p", "yuv422p", "yuv440p", "yuv444p", "yuva420p"),
        24,
        "2",
        63,
    ),
    OutputCodec("prores4444", "prores_ks", ("mov", "mkv"), ("yuv444p10le", "yuva444p10le"), keeps_rgb=False),
    OutputCodec("ffv1", "ffv1", ("mkv",), tuple(PLANAR), keeps_rgb=True),
    OutputCodec("gif", "gif", ("gif",), ("gbrp", "gbrap"), keeps_rgb=True, animation=True),
    OutputCodec("webp", "libwebp", ("webp",), ("gbrp", "gbrap"), 85, "4", 100, keeps_rgb=True, animation=True),
)
CODECS: dict[str, OutputCodec] = {each.name: each for each in _ENTRIES}
_RGB = {
    "rgb24": PlanarFormat("rgb24", "rgb", 8),
    "rgba": PlanarFormat("rgba", "rgb", 8, alpha=True),
    "rgb48le": PlanarFormat("rgb48le", "rgb", 16),
    "rgba64le": PlanarFormat("rgba64le", "rgb", 16, alpha=True),
}


def output_codec(name: str) -> OutputCodec:
    """The codec of that name.

    Raises:
        ClipFormatError: There is none.
    """
    if name not in CODECS:
        raise ClipFormatError(f"unknown output codec {name!r}; known: {', '.join(CODECS)}", codec=name)
    return CODECS[name]


def choose_codec(name: str, *, alpha: bool, depth: int, container: str) -> CodecName:
    """The codec to deliver in.

    ``auto`` takes what most players show and what loses least: H.264 for 8 bits, HEVC for more; VP9 and AV1 in WebM;
    where transparency is to be kept ProRes 4444 in MOV, VP9 in WebM, and in Matroska VP9 for 8 bits, FFV1 for more.

    Args:
        name: A codec's name, or ``auto``.
        alpha: Whether the clip has transparency.
        depth: Bits of a sample of the clip.
        container: The container's name, without a dot.

    Raises:
        ClipFormatError: The container or codec is unknown, or the container does not hold the codec.
    """
    if container not in FFMPEG_CONTAINERS:
        raise ClipFormatError(
            f"unknown container {container!r}; known: {', '.join(FFMPEG_CONTAINERS)}", container=container
        )
    if name == "auto":
        return _automatic(container, alpha=alpha, deep=depth > 8)
    codec = output_codec(name)
    if container not in codec.containers:
        raise ClipFormatError(
            f"{container} does not hold {name} here; choose one of {', '.join(codec.containers)} or another codec",
            codec=name,
            container=container,
        )
    return codec.name


def _automatic(container: str, *, alpha: bool, deep: bool) -> CodecName:
    if container == "gif":
        return "gif"
    if container == "webp":
        return "webp"
    if container == "webm":
        return "av1" if deep and not alpha else "vp9"
    if alpha and container == "mov":
        return "prores4444"
    if alpha and container == "mkv":
        return "ffv1" if deep else "vp9"
    return "hevc" if deep else "h264"


def choose_pixel_format(codec: str, source: str, *, height: int, width: int) -> tuple[str, tuple[Notice, ...]]:
    """The planar format to code a clip in: the one of the codec that loses least, and what it loses.

    The delivered picture has exactly the size of the clip. H.264 and HEVC cannot code an odd size in 4:2:0 or 4:2:2
    (their cropping counts in colour samples), so an odd clip is coded with a colour sample for each pixel.

    Args:
        codec: The output codec's name.
        source: FFmpeg's name of the clip's format: planar, or ``rgb24``, ``rgba``, ``rgb48le``, ``rgba64le``.
        height: Rows.
        width: Columns.

    Returns:
        A name in ``datasets.planar.PLANAR``; one notice for each thing that is lost.

    Raises:
        ClipFormatError: The size or the source format is one that the codec does not take.
    """
    taken = output_codec(codec)
    of = PLANAR.get(source) or _RGB.get(source)
    if of is None:
        raise ClipFormatError(f"frames of format {source!r} cannot be encoded; convert them first", format=source)
    if min(height, width) < taken.min_side or height * width < taken.min_pixels:
        raise ClipFormatError(
            f"{codec} does not code pictures of {width}x{height}; choose h264 or ffv1", height=height, width=width
        )
    if source in taken.formats:
        wanted = [PLANAR[source]]
    else:
        wanted = [PLANAR[name] for name in taken.formats]
    fitting = [each for each in wanted if _fits(taken, each, height, width)] or [
        each for each in (PLANAR[name] for name in taken.formats) if _fits(taken, each, height, width)
    ]
    best = min(fitting, key=lambda each: _loss(of, each, keeps_rgb=taken.keeps_rgb))
    odd = bool(height % 2 or width % 2)
    return best.name, _notices(codec, of, best, keeps_rgb=taken.keeps_rgb, odd=odd)


def _fits(codec: OutputCodec, form: PlanarFormat, height: int, width: int) -> bool:
    if codec.name not in ("h264", "hevc"):
        return True
    return not (width % (1 << form.shift_x) or height % (1 << form.shift_y))


def _chroma(source: PlanarFormat, *, keeps_rgb: bool) -> tuple[int, int]:
    """The subsampling that is as good as the source."""
    if source.family == "gray":
        return 2, 2
    return (1, 1) if source.family == "rgb" and not keeps_rgb else (source.shift_x, source.shift_y)


def _loss(source: PlanarFormat, target: PlanarFormat, *, keeps_rgb: bool) -> tuple[int, ...]:
    """Smaller is better: first what is lost, then what is added for nothing."""
    x, y = _chroma(source, keeps_rgb=keeps_rgb)
    families = source.family != target.family and not (source.family == "gray" and target.family == "yuv")
    return (
        source.alpha and not target.alpha,
        max(0, source.depth - target.depth),
        max(0, target.shift_x - x) + max(0, target.shift_y - y),
        families if keeps_rgb else 0,
        target.alpha and not source.alpha,
        target.depth,
        max(0, x - target.shift_x) + max(0, y - target.shift_y),
        target.name.startswith("yuvj"),
    )


def _notices(
    codec: str, source: PlanarFormat, target: PlanarFormat, *, keeps_rgb: bool, odd: bool
) -> tuple[Notice, ...]:
    facts: dict[str, object] = {"codec": codec, "source": source.name, "coded": target.name}
    found = []
    if source.alpha and not target.alpha:
        found.append(Notice("alpha_dropped", f"The clip's transparency is lost: {codec} holds none here.", facts))
    if target.depth < source.depth:
        message = f"{source.depth} bits became {target.depth}: {codec} holds no more here."
        found.append(Notice("depth_reduced", message, facts))
    full = (0, 0) if source.family == "rgb" else (source.shift_x, source.shift_y)
    if source.family != "gray" and (target.shift_x > full[0] or target.shift_y > full[1]):
        found.append(Notice("chroma_subsampled", f"Colour is kept at a lower resolution in {codec}.", facts))
    x, y = _chroma(source, keeps_rgb=keeps_rgb)
    if odd and codec in ("h264", "hevc") and (target.shift_x, target.shift_y) < (x, y):
        message = f"An odd size needs a colour sample for each pixel in {codec}; not every player shows that."
        found.append(Notice("chroma_widened", message, facts))
    return tuple(found)
