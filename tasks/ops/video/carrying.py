"""What goes into the delivered clip beside its pictures: sound, subtitles, chapters and names, as they are if possible."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import av
from av.container import InputContainer
from av.stream import Stream

from datasets.notices import Notice
from tasks.ops.video.codecs import ContainerName
from tasks.ops.video.containers import Source, open_container
from tasks.ops.video.reading import MAX_PIXELS

if TYPE_CHECKING:
    from av.container.core import Chapter  # only in its stubs

Kind = Literal["audio", "subtitle"]
Action = Literal["copy", "transcode"]

_MP4_AUDIO = frozenset({"aac", "mp3", "ac3", "eac3", "opus", "flac", "alac"})
_COPIED_AUDIO: Mapping[str, frozenset[str]] = {
    "mp4": _MP4_AUDIO,
    "mov": frozenset({"aac", "mp3", "ac3", "eac3", "alac", "pcm_s16le", "pcm_s24le", "pcm_f32le", "pcm_s16be"}),
    "mkv": _MP4_AUDIO
    | {"vorbis", "mp2", "dts", "truehd", "pcm_s16le", "pcm_s24le", "pcm_f32le", "pcm_s16be", "pcm_u8"},
    "webm": frozenset({"opus", "vorbis"}),
}
_TEXT = frozenset({"mov_text", "subrip", "srt", "ass", "ssa", "webvtt", "text"})
_COPIED_SUBTITLES: Mapping[str, frozenset[str]] = {
    "mp4": frozenset({"mov_text"}),
    "mov": frozenset({"mov_text"}),
    "mkv": frozenset({"subrip", "ass", "ssa", "webvtt"}),
    "webm": frozenset({"webvtt"}),
}
_AUDIO_CODEC = {"mp4": "aac", "mov": "aac", "mkv": "aac", "webm": "libopus"}
_SUBTITLE_CODEC = {"mp4": "mov_text", "mov": "mov_text", "mkv": "subrip", "webm": "webvtt"}
_SAFE = ("title", "artist", "album", "genre", "copyright", "comment", "description", "show", "track")
ANIMATION = "webp"  # FFmpeg does not read these; pictures are all they hold
_SILENT: tuple[ContainerName, ...] = ("gif", "webp")


@dataclass(frozen=True)
class Carried:
    """One stream that goes along.

    Attributes:
        index: In the source.
        kind: Sound or subtitles.
        action: Copied packet by packet, or decoded and coded again.
        codec: FFmpeg's name of what it is (copied) or of the encoder (transcoded).
    """

    index: int
    kind: Kind
    action: Action
    codec: str


@dataclass(frozen=True)
class ClipChapter:
    """A named part of the source.

    Attributes:
        start: Seconds.
        end: Seconds.
        title: Empty where it has none.
    """

    start: Fraction
    end: Fraction
    title: str = ""


@dataclass(frozen=True)
class CarryPlan:
    """What is taken over from a source, and how.

    Attributes:
        streams: In the source's order.
        metadata: Of the file: title and the like; never a place, a device or a date.
        stretch: How many times longer the clip is than its source.
        notices: What changes or is left out.
        chapters: In the source's time.
        demuxer: FFmpeg's name of the one that reads the source; a guessed one might open what the source names.
    """

    streams: tuple[Carried, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)
    stretch: Fraction = Fraction(1)
    notices: tuple[Notice, ...] = ()
    demuxer: str = ""
    chapters: tuple[ClipChapter, ...] = ()


def plan_carry(
    source: Path,
    container: ContainerName,
    *,
    demuxer: str,
    stretch: Fraction = Fraction(1),
    keep_sound: bool = True,
) -> CarryPlan:
    """Decide what of a source goes into a container.

    Args:
        source: A local media file that has been let in already.
        container: What is delivered.
        demuxer: FFmpeg's name of the one that the source was let in by.
        stretch: How many times longer the clip becomes; sound is then stretched, its pitch kept.
        keep_sound: False leaves sound out.
    """
    if demuxer == ANIMATION:
        return CarryPlan(stretch=stretch, demuxer=demuxer)
    with open_source(source, demuxer) as opened:
        streams = [(each.index, each.type, _codec(each)) for each in opened.streams]
        metadata = {name: opened.metadata[name] for name in _SAFE if name in opened.metadata}
        chapters = tuple(_chapter(each) for each in opened.chapters()) if container not in _SILENT else ()
    carried: list[Carried] = []
    notices: list[Notice] = []
    for index, kind, codec in streams[: None if container not in _SILENT else 0]:
        one, notice = _decide(index, kind, codec, container, stretched=stretch != 1, keep_sound=keep_sound)
        carried += [one] if one else []
        notices += [notice] if notice else []
    if container in _SILENT and any(kind == "audio" for _, kind, _ in streams):
        notices.append(Notice("sound_dropped", f"{container} holds no sound; the clip is delivered without."))
    return CarryPlan(tuple(carried), metadata, stretch, tuple(notices), demuxer, chapters)


def _chapter(chapter: "Chapter") -> ClipChapter:
    tick = chapter["time_base"] or Fraction(1)
    return ClipChapter(chapter["start"] * tick, chapter["end"] * tick, chapter["metadata"].get("title", ""))


def _codec(stream: Stream) -> str:
    return stream.codec_context.codec.canonical_name if stream.codec_context is not None else ""


def _decide(
    index: int, kind: str, codec: str, container: str, *, stretched: bool, keep_sound: bool
) -> tuple[Carried | None, Notice | None]:
    facts: dict[str, object] = {"stream": index, "codec": codec, "container": container}
    if kind == "audio" and keep_sound:
        if codec in _COPIED_AUDIO[container] and not stretched:
            return Carried(index, "audio", "copy", codec), None
        reason = "the clip's time is stretched" if stretched else f"{container} does not hold {codec}"
        notice = Notice("sound_transcoded", f"Sound stream {index} was coded again: {reason}.", facts)
        return Carried(index, "audio", "transcode", _AUDIO_CODEC[container]), notice
    if kind == "subtitle":
        if codec in _COPIED_SUBTITLES[container]:
            return Carried(index, "subtitle", "copy", codec), None
        if codec in _TEXT:
            message = f"Subtitles {index} became {_SUBTITLE_CODEC[container]}: {container} does not hold {codec}."
            one = Carried(index, "subtitle", "transcode", _SUBTITLE_CODEC[container])
            return one, Notice("subtitles_converted", message, facts)
    if kind == "video" and index == 0:
        return None, None
    code = {"audio": "sound_dropped", "subtitle": "subtitles_dropped"}.get(kind, "stream_dropped")
    if kind == "video":
        return None, None
    return None, Notice(code, f"Stream {index} ({kind} {codec}) is left out of {container}.", facts)


def open_source(source: Path, demuxer: str) -> AbstractContextManager[InputContainer]:
    """The source by the demuxer that it was let in by, with no leave to open anything else."""
    return open_container(Source(source), demuxer, max_pixels=MAX_PIXELS)


def copied_packets(source: Path, demuxer: str, index: int) -> Iterator["av.Packet[Stream]"]:
    """Packets of one stream as they lie in the file, in its own time.

    Each stream has a reader of its own, so that a badly interleaved source is not held in memory.
    """
    with open_source(source, demuxer) as opened:
        for packet in opened.demux(opened.streams[index]):
            if packet.size:
                yield packet
