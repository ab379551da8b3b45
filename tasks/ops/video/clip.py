"""What is known about a clip before and after its pixels: size, time, colour, orientation, fields."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from fractions import Fraction
from typing import Any, Literal

from datasets.planar import PLANAR, PlanarFormat

UNKNOWN = "unspecified"
FieldOrder = Literal["progressive", "tff", "bff"]


@dataclass(frozen=True)
class Colour:
    """Colour tags by FFmpeg's names (ITU-T H.273); ``unspecified`` where the source says nothing.

    Attributes:
        primaries: ``bt709``, ``bt2020``, ...
        transfer: ``bt709``, ``smpte2084`` (PQ), ``arib-std-b67`` (HLG), ...
        matrix: ``bt709``, ``smpte170m``, ``bt2020nc``, ``gbr``, ...
        range: ``tv`` (limited) or ``pc`` (full).
        chroma_location: ``left``, ``center``, ``topleft``, ...
    """

    primaries: str = UNKNOWN
    transfer: str = UNKNOWN
    matrix: str = UNKNOWN
    range: str = UNKNOWN
    chroma_location: str = UNKNOWN

    @property
    def hdr(self) -> bool:
        """Whether the values are those of a high dynamic range curve."""
        return self.transfer in ("smpte2084", "arib-std-b67")


@dataclass(frozen=True)
class ClipInfo:
    """The facts of a clip that hold for all of its frames.

    Attributes:
        width: Columns as coded, before orientation.
        height: Rows as coded.
        pixel_format: FFmpeg's name of what is kept: a planar one, or ``rgb24``, ``rgba``, ``rgb48le``, ``rgba64le``.
        source_format: FFmpeg's name of what the decoder gave.
        time_base: Seconds per tick of the time stamps.
        sample_aspect: Width over height of one pixel as coded.
        rotation: Degrees clockwise by which the coded picture must be turned to be seen upright: 0, 90, 180, 270.
        mirrored: Whether it must be mirrored left to right before it is turned.
        field_order: Which field comes first, where frames are woven of two.
        average_rate: Frames per second by frame count and duration; None for a single frame.
        hdr: FFmpeg's side data of mastering display and light level, base64 by name.
        container: FFmpeg's name of the container.
        codec: FFmpeg's name of the codec.
    """

    width: int
    height: int
    pixel_format: str
    source_format: str
    time_base: Fraction
    colour: Colour = field(default_factory=Colour)
    sample_aspect: Fraction = Fraction(1)
    rotation: int = 0
    mirrored: bool = False
    field_order: FieldOrder = "progressive"
    average_rate: Fraction | None = None
    hdr: Mapping[str, str] = field(default_factory=dict)
    container: str = ""
    codec: str = ""

    @property
    def planar(self) -> PlanarFormat | None:
        """The planes that are kept; None where frames are kept as RGB."""
        return PLANAR.get(self.pixel_format)

    @property
    def upright(self) -> tuple[int, int]:
        """(height, width) of the picture as it is seen."""
        return (self.width, self.height) if self.rotation in (90, 270) else (self.height, self.width)

    def to_json(self) -> dict[str, Any]:
        fractions = {"time_base", "sample_aspect", "average_rate"}
        values = asdict(self)
        return {
            name: str(value) if name in fractions and value is not None else value for name, value in values.items()
        } | {"hdr": dict(self.hdr)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "ClipInfo":
        rate = value["average_rate"]
        return cls(
            **{
                **value,
                "time_base": Fraction(value["time_base"]),
                "sample_aspect": Fraction(value["sample_aspect"]),
                "average_rate": None if rate is None else Fraction(rate),
                "colour": Colour(**value["colour"]),
            }
        )

    def with_pixels(self, pixel_format: str, height: int, width: int) -> "ClipInfo":
        """The same clip in another format and size, upright and progressive: what a stage makes of it."""
        return replace(
            self,
            pixel_format=pixel_format,
            height=height,
            width=width,
            rotation=0,
            mirrored=False,
            field_order="progressive",
        )
