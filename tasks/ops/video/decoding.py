"""From packets to frames: the same frames with any number of threads, from the start or from a proven point."""

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, cast

import av
import av.container
from av.codec.context import CodecContext, ThreadType
from av.error import EOFError as EndOfFileError
from av.error import FFmpegError, InvalidDataError
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream
from numpy.typing import NDArray

from tasks.ops.video.containers import Source, open_container
from tasks.ops.video.damage import Tally
from tasks.ops.video.pixel_formats import planes_of
from tasks.ops.video.scanning import Scan, chosen_stream
from tasks.ops.video.video_errors import ClipChangesError, NoVideoStreamError, refusal

# Decoders that repair damage without flagging the frame; asked to be strict they give an error instead. Those of VP8
# and VP9 notice next to nothing either way: their bit streams have no redundancy.
_SILENT = {"hevc", "mjpeg", "ffv1"}
_STRICT = {"err_detect": "crccheck+bitstream+buffer+explode"}
_ALONE = {"vp8"}  # what several threads make of damage that nothing notices differs
_ALPHA_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}  # FFmpeg's own decoders leave the alpha out


@dataclass(frozen=True)
class DecodedFrame:
    """A frame as the decoder gave it.

    Attributes:
        planes: (h, w) uint8 or uint16 by the plane's name, contiguous.
        pts: Ticks of the clip's time base, greater than those of the frame before.
        duration: Ticks; 0 where the container does not say.
        corrupt: Whether the decoder had to make up a part of it.
        key: Whether it is a key frame.
    """

    planes: dict[str, NDArray[Any]]
    pts: int
    duration: int
    corrupt: bool
    key: bool


@dataclass
class Stamps:
    """Strictly increasing time stamps.

    A frame keeps its own. One without gets its decoding time, or follows the frame before by that one's duration; one
    that does not come later than the frame before it comes one tick later. ``repaired`` counts both.
    """

    last: int | None = None
    step: int = 1
    repaired: int = 0

    def of(self, frame: av.VideoFrame) -> int:
        pts = frame.pts
        if pts is None:
            pts = frame.dts if frame.dts is not None else (0 if self.last is None else self.last + self.step)
            self.repaired += 1
        if self.last is not None and pts <= self.last:
            pts = self.last + 1
            self.repaired += 1
        self.last, self.step = pts, max(1, frame.duration or self.step)
        return pts


class _SeekMissed(Exception):  # noqa: N818 - a change of course, no error
    """The container did not get to the proven point."""


class _MustGoAlone(Exception):  # noqa: N818 - a change of course, no error
    """Several threads met damage: what they make of it depends on their number."""


@dataclass
class Decoder:
    """Decodes the chosen stream of a source.

    Attributes:
        size: (height, width) of every frame.
        source_format: FFmpeg's name of the decoder's format of every frame.
        alpha: Whether the stream has an alpha plane that only libvpx decodes.
        threads: For decoding; 0 for as many as there are cores.
    """

    source: Source
    demuxer: str
    scan: Scan
    size: tuple[int, int]
    source_format: str
    max_pixels: int
    alpha: bool = False
    threads: int = 0
    tally: Tally = field(default_factory=Tally)
    repaired: int = 0

    def frames(self, start_index: int = 0, after: int | None = None) -> Iterator[DecodedFrame]:
        """Frames from ``start_index`` on; ``after``, the time stamp of the frame before, may save decoding the start.

        Without damage the threads' number does not show in the frames. At its first sign decoding begins again
        carefully: by one thread, whose result is the reference, going on behind the last frame that was given.
        """
        given: int | None = after if start_index else None
        seek = self.scan.sync_before(after) if start_index and after is not None and self.scan.exact_stamps else None
        careful = bool(self.scan.corrupt_packets) or not self.scan.exact_stamps
        while True:
            try:
                for index, frame, pts in self._pass(seek, careful=careful):
                    if (seek is None and index < start_index) or (given is not None and pts <= given):
                        continue
                    given = pts
                    corrupt = frame.is_corrupt or pts in self.tally.suspects
                    yield DecodedFrame(planes_of(frame), pts, frame.duration or 0, corrupt, frame.key_frame)
                break
            except _SeekMissed:
                seek = None
            except _MustGoAlone:
                careful = True

    def _pass(self, seek: int | None, *, careful: bool) -> Iterator[tuple[int, av.VideoFrame, int]]:
        """(index, frame, time stamp) of all that is decoded; from a seek on, only frames at or behind it."""
        self.tally = tally = Tally()
        stamps = Stamps()
        with open_container(self.source, self.demuxer, max_pixels=self.max_pixels) as container:
            raw = self._raw(container, seek, careful=careful)
            for frame in raw.frames():
                self._check(frame, tally)
                pts = stamps.of(frame)
                if seek is not None and pts < seek:
                    continue
                if frame.is_corrupt and not careful:
                    raise _MustGoAlone
                tally.note(pts, stamps.step, corrupt=frame.is_corrupt)
                yield tally.frames - 1, frame, pts
            if not careful and tally.frames < self._expected(seek):
                raise _MustGoAlone  # several threads may drop a packet's error behind another one's frame
        self.repaired = stamps.repaired
        tally.finished = seek is None

    def _raw(self, container: av.container.InputContainer, seek: int | None, *, careful: bool) -> "_Raw":
        stream = _picture(container, self.source.name)
        if seek is not None:
            _go_to(container, stream, seek)
        codec = stream.codec_context.codec.canonical_name
        threads = 1 if careful or codec in _ALONE else self.threads
        context = decoder_of(stream, alpha=self.alpha, threads=threads, max_pixels=self.max_pixels)
        witness = None
        if codec in _SILENT and careful:
            witness = strict_decoder(stream, max_pixels=self.max_pixels)
        elif codec in _SILENT:
            context.options = {**context.options, **_STRICT}
        return _Raw(container, stream, context, self.tally, careful, seek, witness)

    def _expected(self, seek: int | None) -> int:
        return self.scan.packets if seek is None else len(self.scan.pts) - bisect_left(self.scan.pts, seek)

    def _check(self, frame: av.VideoFrame, tally: Tally) -> None:
        came = (frame.height, frame.width), frame.format.name
        if came == (self.size, self.source_format):
            return
        (height, width), name = came
        raise refusal(
            ClipChangesError, self.source.name, index=tally.frames,
            expected=f"{self.size[1]}×{self.size[0]} {self.source_format} from the first frame to the last",
            came=f"{width}×{height} {name} at frame {tally.frames}", remedy="cut the clip there and send the parts",
        )  # fmt: skip


@dataclass
class _Raw:
    """The loop over packets; a broken one is counted and left out, one that a strict decoder refuses is noted."""

    container: av.container.InputContainer
    stream: VideoStream
    context: VideoCodecContext
    tally: Tally
    careful: bool
    seek: int | None = None
    witness: VideoCodecContext | None = None

    def frames(self) -> Iterator[av.VideoFrame]:
        for packet in self._packets():
            self._ask_witness(packet)
            try:
                decoded = self.context.decode(packet if packet.size else None)
            except EndOfFileError:
                return
            except InvalidDataError:
                if not self.careful:
                    raise _MustGoAlone from None
                self.tally.undecodable += 1
                continue
            for frame in decoded:
                frame.time_base = self.stream.time_base
                yield frame

    def _ask_witness(self, packet: "av.Packet[Any]") -> None:
        if self.witness is None or not packet.size or packet.pts is None:
            return
        try:
            self.witness.decode(packet)
        except InvalidDataError:
            self.tally.suspects.add(packet.pts)

    def _packets(self) -> "Iterator[av.Packet[Any]]":
        try:
            for packet in self.container.demux(self.stream):
                if self.seek is not None and (packet.pts is None or packet.pts > self.seek):
                    raise _SeekMissed
                self.seek = None
                yield packet
        except InvalidDataError as error:
            self.tally.broken = error.strerror or "invalid data"
            yield av.Packet()


def decoder_of(stream: VideoStream, *, alpha: bool, threads: int, max_pixels: int) -> VideoCodecContext:
    """A decoder of the stream that is not open yet."""
    context = stream.codec_context
    if alpha:
        own = CodecContext.create(_ALPHA_DECODERS[context.codec.canonical_name], "r")
        context = cast(VideoCodecContext, own)
        context.extradata = stream.codec_context.extradata
    context.thread_type = ThreadType.AUTO
    context.thread_count = threads
    context.options = {"max_pixels": str(max_pixels)}
    return context


def strict_decoder(stream: VideoStream, *, max_pixels: int) -> VideoCodecContext:
    """A second decoder of the stream, which gives an error where the usual one repairs."""
    context = cast(VideoCodecContext, CodecContext.create(stream.codec_context.codec.name, "r"))
    context.extradata = stream.codec_context.extradata
    context.thread_count = 1
    context.options = {"max_pixels": str(max_pixels), **_STRICT}
    return context


def has_hidden_alpha(stream: VideoStream) -> bool:
    """Whether a WebM stream carries alpha beside its pictures, which its ``alpha_mode`` tag says."""
    modes = {name.lower(): value for name, value in stream.metadata.items()}
    return stream.codec_context.codec.canonical_name in _ALPHA_DECODERS and modes.get("alpha_mode") == "1"


def _picture(container: av.container.InputContainer, name: str) -> VideoStream:
    stream = chosen_stream(container)
    if stream is None:
        raise refusal(
            NoVideoStreamError, name, expected="a video stream", came="no video stream",
            remedy="send a file that shows something",
        )  # fmt: skip
    return stream


def _go_to(container: av.container.InputContainer, stream: VideoStream, pts: int) -> None:
    try:
        container.seek(pts, stream=stream)
    except FFmpegError as error:
        raise _SeekMissed from error
