"""A stranger's clip, opened safely: what it is, what its packets say, its frames as coded, and what is wrong."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import av
import av.container
from av.error import FFmpegError, InvalidDataError
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from datasets.notices import Notice
from tasks.ops.video.animation import Animation, open_animation, too_large
from tasks.ops.video.clip import ClipInfo
from tasks.ops.video.containers import Source, demuxer_of, open_container, promised_bytes
from tasks.ops.video.damage import DamageFact, damage_facts
from tasks.ops.video.decoding import DecodedFrame, Decoder, decoder_of, has_hidden_alpha
from tasks.ops.video.pixel_formats import kept_format
from tasks.ops.video.probing import describe, turned_oddly
from tasks.ops.video.scanning import Scan, chosen_stream, scan_packets
from tasks.ops.video.video_errors import (
    ClipBrokenError,
    ClipCodecError,
    ClipError,
    ClipPixelFormatError,
    NoFramesError,
    NoVideoStreamError,
    StillPictureError,
    refusal,
)

MAX_PIXELS = 8192 * 4320  # of one frame: 8K in both of its shapes
_LOOKED_AT = 5  # frames, for fields and orientation
_EXPORT = "export the clip as H.264 in MP4 and send that"
_TRIED = 200  # packets without a frame before a stream counts as undecodable


@dataclass
class Clip:
    """An open clip; see ``open_clip``.

    Attributes:
        info: The facts that hold for all frames.
        notices: What was normalised or repaired.
    """

    info: ClipInfo
    source: Source
    demuxer: str
    _scan: Scan
    _decoder: Decoder | Animation
    _notices: list[Notice] = field(default_factory=list)

    def scan(self) -> Scan:
        """What the packets say; read once when the clip was opened, nothing decoded."""
        return self._scan

    def frames(self, start_index: int = 0, *, after: int | None = None) -> Iterator[DecodedFrame]:
        """The frames from an index on, exactly as decoding from the start gives them.

        Args:
            start_index: Of the first frame to be given.
            after: The time stamp of the frame before it, if the caller has it: then decoding begins at the last key
                frame that is proven to be safe. Without it, and where nothing is proven, everything from the start is
                decoded and dropped.

        Raises:
            ClipChangesError: the size or the pixel format changes.
        """
        return self._decoder.frames(start_index, after)

    def damage(self) -> tuple[DamageFact, ...]:
        """What the latest run of ``frames`` came across; complete when that went from the start to the end."""
        return damage_facts(
            self._decoder.tally,
            self._scan,
            demuxer=self.demuxer,
            time_base=self.info.time_base,
            bytes_promised=promised_bytes(self.source, self.demuxer),
            bytes_there=self.source.size(),
        )

    @property
    def clean(self) -> bool:
        """Whether the run of ``frames`` that is under way, or was the latest, met nothing unusual so far."""
        return self._decoder.tally.clean and not self._decoder.repaired

    def seen_whole(self, start: int, frames: int) -> bool:
        """Whether the latest run of ``frames`` may speak for the whole clip, also if it began behind a clean beginning.

        Args:
            start: Time stamp of the clip's first frame.
            frames: How many the beginning and this run came to; every packet must have given one.
        """
        tally = self._decoder.tally
        if tally.finished:
            return True
        if not self.clean or frames != self._scan.packets:
            return False
        tally.frames, tally.start, tally.finished = frames, start, True
        return True

    @property
    def notices(self) -> tuple[Notice, ...]:
        found = list(self._notices)
        repaired = self._decoder.repaired
        if repaired:
            message = f"{repaired} time stamps were missing or not increasing and were set"
            found.append(Notice("time_stamps_repaired", message, {"count": repaired}))
        return tuple(found)


@contextmanager
def open_clip(
    file: BinaryIO | Path, name: str = "", *, max_pixels: int = MAX_PIXELS, threads: int = 0, scan: Scan | None = None
) -> Iterator[Clip]:
    """Open a clip whatever its name says: by its first bytes, with one demuxer, opening no other file and no address.

    The packets are read through once for the facts; no more than the first frames are decoded.

    Args:
        file: A path, or a seekable binary file, which stays the caller's to close.
        name: What messages call it; a path's own name by default.
        max_pixels: Of a frame.
        threads: For decoding; 0 for as many as there are cores. The frames do not depend on it.
        scan: Of the same file, from an earlier ``Clip.scan``: saves reading the packets again.

    Raises:
        ClipError: one of the leaves in ``video_errors``, if the file cannot become a clip.
    """
    source = Source(file, name or (file.name if isinstance(file, Path) else ""))
    demuxer = demuxer_of(source)
    if demuxer == "webp":
        info, found, animation = open_animation(source, max_pixels=max_pixels)
        yield Clip(info, source, demuxer, found, animation, _normalised(info))
        return
    yield _probed(source, demuxer, scan, max_pixels=max_pixels, threads=threads)


def _probed(source: Source, demuxer: str, known: Scan | None, *, max_pixels: int, threads: int) -> Clip:
    scan = known or _scanned(source, demuxer, max_pixels)
    if scan.packets < 2 and demuxer == "gif":
        raise _refused(StillPictureError, source, "a GIF that moves", "one frame", "send it to the product flow")
    if not scan.packets:
        raise _refused(NoFramesError, source, "at least one frame", "no frames", "export the clip again")
    frames = _first_frames(source, demuxer, max_pixels, alpha=False)
    with open_container(source, demuxer, max_pixels=max_pixels) as container:
        stream = _picture(container, source, max_pixels)
        alpha = has_hidden_alpha(stream)
        seen = _first_frames(source, demuxer, max_pixels, alpha=True)[0] if alpha else frames[0]
        notices = [*_odd_turn(frames[0])]
        info = describe(stream, frames, scan, pixel_format=_kept(source, seen.format.name), container=demuxer)
    info = replace(info, source_format=seen.format.name)
    decoder = Decoder(
        source, demuxer, scan, (info.height, info.width), info.source_format, max_pixels, alpha=alpha, threads=threads
    )
    return Clip(info, source, demuxer, scan, decoder, [*_normalised(info), *notices])


def _scanned(source: Source, demuxer: str, max_pixels: int) -> Scan:
    with open_container(source, demuxer, max_pixels=max_pixels) as container:
        return scan_packets(container, _picture(container, source, max_pixels))


def _picture(container: av.container.InputContainer, source: Source, max_pixels: int) -> VideoStream:
    """The stream to be read, which has a decoder and a picture that is not too large."""
    stream = chosen_stream(container)
    if stream is None:
        raise _refused(
            NoVideoStreamError, source, "a video stream", "no video stream", "send a file that shows something"
        )
    context: VideoCodecContext | None = stream.codec_context
    if context is None:
        raise _refused(ClipCodecError, source, "a codec that FFmpeg decodes", "one without a decoder", _EXPORT)
    if context.width * context.height > max_pixels:
        raise too_large(source.name, context.width, context.height, max_pixels)
    return stream


def _first_frames(source: Source, demuxer: str, max_pixels: int, *, alpha: bool) -> list[av.VideoFrame]:
    """The first few frames by one thread, without the packets that give none."""
    frames: list[av.VideoFrame] = []
    with open_container(source, demuxer, max_pixels=max_pixels) as container:
        stream = _picture(container, source, max_pixels)
        context = decoder_of(stream, alpha=alpha, threads=1, max_pixels=max_pixels)
        for packet in islice(container.demux(stream), _TRIED):
            try:
                frames += context.decode(packet if packet.size else None)
            except InvalidDataError:
                continue
            except FFmpegError as error:
                came = f"{context.codec.canonical_name}, which its decoder does not take ({error.strerror})"
                raise _refused(ClipCodecError, source, "a codec that FFmpeg decodes", came, _EXPORT) from error
            if len(frames) >= _LOOKED_AT:
                break
        if not frames:
            raise _refused(ClipBrokenError, source, "a readable video", "one without a readable frame", _EXPORT)
        if frames[0].width * frames[0].height > max_pixels:
            raise too_large(source.name, frames[0].width, frames[0].height, max_pixels)
        for frame in frames:
            frame.time_base = frame.time_base or stream.time_base
    return frames


def _kept(source: Source, name: str) -> str:
    kept = kept_format(name)
    if kept is None:
        expected = "a pixel format that fits planes of at most 16 bits"
        raise _refused(ClipPixelFormatError, source, expected, name, "export the clip as 8 or 10 bit YUV or as RGB")
    return kept


def _refused(kind: type[ClipError], source: Source, expected: str, came: str, remedy: str) -> ClipError:
    return refusal(kind, source.name, expected=expected, came=came, remedy=remedy)


def _normalised(info: ClipInfo) -> list[Notice]:
    if info.pixel_format == info.source_format:
        return []
    message = f"{info.source_format} pixels are kept as {info.pixel_format}: the same values, in planes"
    return [Notice("pixels_normalised", message, {"came": info.source_format, "kept": info.pixel_format})]


def _odd_turn(frame: av.VideoFrame) -> list[Notice]:
    degrees = turned_oddly(frame)
    if degrees is None:
        return []
    message = f"the clip asks to be turned by {-degrees} degrees and is turned by the nearest right angle"
    return [Notice("odd_rotation", message, {"degrees_clockwise": -degrees})]
