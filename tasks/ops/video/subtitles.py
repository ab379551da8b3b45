"""Subtitles as text, from one container's way of writing them to another's."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
from av.container import OutputContainer
from av.stream import Stream
from av.subtitles.stream import SubtitleStream

from tasks.ops.video.sources import open_source

_TICK = Fraction(1, 1000)


def add_subtitles(container: OutputContainer, encoder: str, source: SubtitleStream) -> SubtitleStream:
    """A stream for subtitles that are written anew; styles are kept where the encoder has them.

    Args:
        container: What is written.
        encoder: ``mov_text``, ``subrip`` or ``webvtt``.
        source: Its header of styles is handed on.
    """
    stream = container.add_stream(encoder)
    assert isinstance(stream, SubtitleStream)
    if not source.codec_context.is_open:
        source.codec_context.open()  # only then it has a header
    stream.codec_context.time_base = _TICK
    stream.codec_context.subtitle_header = source.codec_context.subtitle_header
    stream.time_base = _TICK
    return stream


def coded_subtitles(
    source: Path, index: int, stream: SubtitleStream, *, stretch: Fraction, start: Fraction
) -> Iterator["av.Packet[Stream]"]:
    """Packets of text subtitles, decoded and written anew, at the source's times ``stretch``, less ``start``.

    Args:
        source: Local media file.
        index: Of the stream in it.
        stream: From ``add_subtitles``.
        stretch: How many times longer the clip is.
        start: Seconds in the stretched clip that become zero.
    """
    with open_source(source) as opened:
        given = opened.streams[index]
        assert isinstance(given, SubtitleStream)
        for packet in opened.demux(given):
            if not packet.size or packet.pts is None:
                continue
            found = given.codec_context.decode2(packet)
            if found is None:
                continue
            written = stream.codec_context.encode_subtitle(found)
            begin = round((packet.pts * packet.time_base * stretch - start) / _TICK)
            written.pts = written.dts = begin
            written.time_base = _TICK
            written.duration = round((packet.duration or 0) * packet.time_base * stretch / _TICK)
            yield written
