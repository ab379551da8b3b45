"""Animated pictures (GIF, WebP) of the segments of a clip, which were kept without loss until here."""

from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.container import OutputContainer
from av.filter import Graph
from PIL import Image
from PIL._webp import WebPAnimEncoder

from datasets.notices import Notice
from tasks.ops.video.codecs import output_codec
from tasks.ops.video.encoder_options import EncodeSettings
from tasks.ops.video.segments import Segment

_TICKS = {"gif": Fraction(1, 100), "webp": Fraction(1, 1000)}  # seconds, as the formats count
_SHORTEST = {"gif": 2, "webp": 11}  # ticks; browsers show anything shorter for a tenth of a second
_KEY_FRAMES = (3, 5)  # at least and at most so many frames apart: libwebp's own tools' choice for lossy frames


def write_animation(segments: Sequence[Segment], settings: EncodeSettings, out: Path) -> tuple[Notice, ...]:
    """Write a GIF or an animated WebP that repeats for ever.

    FFmpeg options. GIF: a palette of the whole clip (``palettegen=stats_mode=full``), ``paletteuse`` with
    ``dither=sierra2_4a:diff_mode=rectangle`` (error diffusion stays within what changed, so that still parts do not
    crawl), ``final_delay`` for the last frame. WebP is libwebp's through
    Pillow, by the encoder object behind its ``save``: ``save`` wants all frames at once, and FFmpeg's
    ``libwebp_anim`` gives the last frame the mean duration and loses transparency. Frames are read one at a time,
    twice for GIF.

    Args:
        segments: Of the whole clip.
        settings: The recipe's; quality and preset count for WebP.
        out: The file to write.

    Returns:
        A notice if frames had to be left out, because the format cannot show them that fast.
    """
    times = _shown(segments, settings.codec)
    total = sum(len(each.pts) for each in segments)
    last = times[max(times)][1]
    if settings.codec == "webp":
        out.write_bytes(_webp(segments, times, settings))
    else:
        options = {"loop": "0", "fflags": "+bitexact", "final_delay": str(last)}
        with av.open(str(out), "w", format="gif", container_options=options) as container:
            _gif(container, segments, times, settings)
    if len(times) == total:
        return ()
    facts: dict[str, object] = {"shown": len(times), "frames": total}
    message = f"{total - len(times)} of {total} frames are left out: {settings.codec} cannot show them that fast."
    return (Notice("animation_frames_dropped", message, facts),)


def _shown(segments: Sequence[Segment], codec: str) -> dict[int, tuple[int, int]]:
    """(time, duration) in the format's ticks of the frames that are shown, by their place in the clip."""
    tick, start = _TICKS[codec], segments[0].pts[0]
    stamps = [round((pts - start) * each.time_base / tick) for each in segments for pts in each.pts]
    final = segments[-1]
    end = round((final.pts[-1] + final.durations[-1] - start) * final.time_base / tick)
    kept: list[int] = []
    for place, stamp in enumerate(stamps):
        if not kept or stamp - stamps[kept[-1]] >= _SHORTEST[codec]:
            kept.append(place)
    ends = [stamps[place] for place in kept[1:]] + [max(end, stamps[kept[-1]] + _SHORTEST[codec])]
    return {place: (stamps[place], stop - stamps[place]) for place, stop in zip(kept, ends, strict=True)}


def _frames(segments: Sequence[Segment], times: dict[int, tuple[int, int]], tick: Fraction) -> Iterator[av.VideoFrame]:
    place = 0
    for segment in segments:
        with av.open(str(segment.path), "r", format="matroska") as container:
            container.streams.video[0].codec_context.thread_count = 1
            for frame in container.decode(video=0):
                if place in times:
                    frame.pts, frame.duration = times[place]
                    frame.time_base = tick
                    yield frame
                place += 1


def _gif(
    container: OutputContainer,
    segments: Sequence[Segment],
    times: dict[int, tuple[int, int]],
    settings: EncodeSettings,
) -> None:
    tick = _TICKS["gif"]
    palette = _palette(segments, times, clear=settings.pixel_format == "gbrap")
    stream = container.add_stream("gif", rate=100, options={"flags": "+bitexact"})
    assert isinstance(stream, av.VideoStream)
    stream.pix_fmt, stream.codec_context.time_base, stream.codec_context.thread_count = "pal8", tick, 1
    graph: Graph | None = None
    for frame in _frames(segments, times, tick):
        if graph is None:
            stream.width, stream.height = frame.width, frame.height
            graph = _use(frame, palette, tick)
        graph.vpush(_opaque(frame), at=0)
        for each in _pulled(graph):
            container.mux(stream.encode(each))
    assert graph is not None
    graph.vpush(None, at=0)
    for each in _pulled(graph):
        container.mux(stream.encode(each))
    container.mux(stream.encode(None))


def _palette(segments: Sequence[Segment], times: dict[int, tuple[int, int]], *, clear: bool) -> av.VideoFrame:
    graph: Graph | None = None
    for frame in _frames(segments, times, _TICKS["gif"]):
        if graph is None:
            graph = Graph()
            graph.threads = 1
            source = graph.add_buffer(
                width=frame.width, height=frame.height, format=_opaque(frame).format, time_base=_TICKS["gif"]
            )
            made = graph.add("palettegen", f"stats_mode=full:reserve_transparent={int(clear)}")
            graph.link_nodes(source, made, graph.add("buffersink")).configure()
        graph.vpush(_opaque(frame))
    assert graph is not None
    graph.vpush(None)
    return graph.vpull()


def _use(like: av.VideoFrame, palette: av.VideoFrame, tick: Fraction) -> Graph:
    graph = Graph()
    graph.threads = 1
    clip = graph.add_buffer(width=like.width, height=like.height, format=_opaque(like).format, time_base=tick)
    colours = graph.add_buffer(
        width=palette.width, height=palette.height, format=palette.format, time_base=tick, name="palette"
    )
    use = graph.add("paletteuse", "dither=sierra2_4a:diff_mode=rectangle:alpha_threshold=128")
    clip.link_to(use, 0, 0)
    colours.link_to(use, 0, 1)
    use.link_to(graph.add("buffersink"))
    graph.configure()
    palette.pts, palette.time_base = 0, tick
    graph.vpush(palette, at=1)
    graph.vpush(None, at=1)
    return graph


def _pulled(graph: Graph) -> Iterator[av.VideoFrame]:
    while True:
        try:
            yield graph.vpull()
        except (av.error.BlockingIOError, av.error.EOFError):
            return


def _opaque(frame: av.VideoFrame) -> av.VideoFrame:
    """Frames without transparency as frames that have it everywhere whole: the palette filters take only those."""
    if frame.format.name == "bgra":
        return frame
    whole = frame.reformat(format="bgra")
    whole.pts, whole.time_base, whole.duration = frame.pts, frame.time_base, frame.duration
    return whole


def _webp(segments: Sequence[Segment], times: dict[int, tuple[int, int]], settings: EncodeSettings) -> bytes:
    codec = output_codec("webp")
    quality = float((codec.quality or 0) if settings.quality is None else settings.quality)
    effort = int(settings.preset or codec.preset or 0)
    encoder: Any = None
    for frame in _frames(segments, times, _TICKS["webp"]):
        picture = Image.fromarray(_opaque(frame).to_ndarray(format="rgba"), "RGBA")
        if encoder is None:
            encoder = WebPAnimEncoder(picture.size, 0, 0, False, *_KEY_FRAMES, False, False)
        encoder.add(picture.getim(), frame.pts, False, quality, 100, effort)
    start, length = times[max(times)]
    encoder.add(None, start + length, False, quality, 100, 0)
    written: bytes = encoder.assemble(b"", b"", b"")
    return written
