"""Sound coded again: for a container that does not hold its codec, or stretched with a clip whose time is stretched."""

from collections.abc import Iterator
from fractions import Fraction
from math import prod
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.filter import Graph
from av.filter.context import FilterContext
from av.stream import Stream
from numpy.typing import NDArray

from tasks.ops.video.sources import open_source

_OPUS_RATE = 48_000  # Hz; the only one that opus plays at
_AAC_RATES = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 64_000, 88_200, 96_000)
_BITS_PER_CHANNEL = {"aac": 96_000, "libopus": 80_000}  # bits per second, beyond which few hear a difference
_SAMPLES = {"aac": "fltp", "libopus": "flt"}
_LAYOUTS = {"5.1(side)": "5.1", "5.0(side)": "5.0"}  # opus knows the other of two namesakes
_LATER_STEP = 0.37  # of half a window; see _lead
_TEMPO_STEP = 2.0  # atempo skips samples beyond, and refuses less than a half


def add_sound(container: OutputContainer, encoder: str, source: AudioStream) -> AudioStream:
    """A stream for sound that is coded again.

    FFmpeg options: ``flags=+bitexact`` (AAC would write the library's version into its first packet),
    ``strict=-2`` and a constant bit rate per channel.

    Args:
        container: What is written.
        encoder: ``aac`` or ``libopus``.
        source: Layout and sample rate are kept where the encoder has them.
    """
    rate = source.rate if encoder == "aac" and source.rate in _AAC_RATES else _OPUS_RATE
    stream = container.add_stream(encoder, rate=rate, options={"flags": "+bitexact"})
    assert isinstance(stream, AudioStream)
    layout = _LAYOUTS.get(source.layout.name, source.layout.name)
    stream.codec_context.layout = layout
    stream.codec_context.format = _SAMPLES[encoder]
    stream.codec_context.bit_rate = _BITS_PER_CHANNEL[encoder] * len(source.layout.channels)
    stream.codec_context.thread_count = 1
    stream.time_base = Fraction(1, rate)
    return stream


def coded_sound(
    source: Path, index: int, stream: AudioStream, *, stretch: Fraction, start: Fraction
) -> Iterator["av.Packet[Stream]"]:
    """Packets of a stream of sound that is decoded, stretched and coded again.

    Where the source has gaps there is silence. It lasts, to the sample, as long as the source's sound times
    ``stretch``; it begins where the source's begins, times ``stretch``, less ``start``. The pitch is kept
    (FFmpeg's ``atempo``, in steps of at most two).

    Args:
        source: Local media file.
        index: Of the stream in it.
        stream: From ``add_sound``.
        stretch: How many times longer.
        start: Seconds in the stretched clip that become zero.
    """
    context = stream.codec_context
    place: int | None = None
    for frame, first in _stretched(source, index, context.format.name, context.layout.name, context.rate, stretch):
        if place is None:
            place = round((first * stretch - start) * context.rate)
        frame.pts, frame.time_base = place, Fraction(1, context.rate)
        place += frame.samples
        yield from stream.encode(frame)
    if place is not None:
        yield from stream.encode(None)


def _stretched(
    source: Path, index: int, samples: str, layout: str, rate: int, stretch: Fraction
) -> Iterator[tuple[AudioFrame, Fraction]]:
    """Frames of exactly the length wanted, each with the time at which the source's sound begins."""
    taken = given = 0
    out: _Chain | None = None
    source_rate, first = rate, Fraction(0)
    for frame, first in _steady(source, index):
        source_rate = frame.sample_rate
        out = out or _tempo(frame, [_format(samples, layout, rate)], stretch)
        taken += frame.samples
        for each in out.push(frame):
            given += each.samples
            yield each, first
    if out is None:
        return
    wanted = round(taken * stretch * rate / source_rate)
    for each in out.push(None):
        if kept := _cut(each, wanted - given):
            given += kept.samples
            yield kept, first
    if given < wanted:
        yield _silence(samples, layout, rate, wanted - given), first


def _tempo(like: AudioFrame, last: list[tuple[str, str]], stretch: Fraction) -> "_Chain":
    """A chain that stretches, its lead of silence already in it."""
    steps = tempo_steps(1 / stretch) if stretch != 1 else []
    tempo = [("atempo", f"tempo={each}") for each in steps]
    chain = _Chain(like, [*tempo, ("aresample", ""), *last])
    if lead := _lead(steps, like.sample_rate):
        chain.feed(_silence(like.format.name, like.layout.name, like.sample_rate, lead))
    return chain


def _steady(source: Path, index: int) -> Iterator[tuple[AudioFrame, Fraction]]:
    """Decoded frames without gaps, as numbers of 32 bits, with the time of the first."""
    with open_source(source) as opened:
        stream = opened.streams[index]
        assert isinstance(stream, AudioStream)
        chain: _Chain | None = None
        first = Fraction(0)
        for frame in opened.decode(stream):
            assert isinstance(frame, AudioFrame)
            if chain is None:
                first = (frame.pts or 0) * (frame.time_base or Fraction(1))
                shape = _format("fltp", frame.layout.name, frame.sample_rate)
                chain = _Chain(frame, [("aresample", "async=1"), shape])
            for each in chain.push(frame):
                yield each, first
        if chain is not None:
            for each in chain.push(None):
                yield each, first


def tempo_steps(tempo: Fraction) -> list[float]:
    """Factors between a half and two whose product is ``tempo``."""
    value, steps = float(tempo), []
    while not 1 / _TEMPO_STEP <= value <= _TEMPO_STEP:
        step = _TEMPO_STEP if value > 1 else 1 / _TEMPO_STEP
        steps.append(step)
        value /= step
    return [*steps, value]


def _lead(steps: list[float], rate: int) -> int:
    """Samples of silence to put before sound so that ``atempo`` keeps it in time.

    A step leaves out the first half of its window, the power of two from a 24th of a second on; a later one less,
    which is measured: clicks came early by 42 ms at half speed and by 216 ms at an eighth without the lead.
    """
    half = (1 << (rate // 24 - 1).bit_length()) / 2
    shares = [1.0] + [_LATER_STEP] * (len(steps) - 1)
    return round(
        sum(half * share * prod(steps[:place]) for place, share in zip(range(len(steps)), shares, strict=False))
    )


def _format(samples: str, layout: str, rate: int) -> tuple[str, str]:
    return "aformat", f"sample_fmts={samples}:channel_layouts={layout}:sample_rates={rate}"


class _Chain:
    """Filters one after the other, fed with frames like the first."""

    def __init__(self, like: AudioFrame, filters: list[tuple[str, str]]) -> None:
        self._graph = Graph()
        self._graph.threads = 1
        nodes: list[FilterContext] = [
            self._graph.add_abuffer(
                sample_rate=like.sample_rate,
                format=like.format.name,
                layout=like.layout.name,
                time_base=like.time_base,
            ),
            *(self._graph.add(name, args) for name, args in filters),
            self._graph.add("abuffersink"),
        ]
        self._graph.link_nodes(*nodes).configure()

    def feed(self, frame: AudioFrame | None) -> None:
        """Put a frame in; None ends it."""
        self._graph.push(frame)

    def push(self, frame: AudioFrame | None) -> Iterator[AudioFrame]:
        """Put a frame in, take out what is ready; None ends it."""
        self.feed(frame)
        while True:
            try:
                ready = self._graph.pull()
            except (av.error.BlockingIOError, av.error.EOFError):
                return
            assert isinstance(ready, AudioFrame)
            yield ready


def _cut(frame: AudioFrame, samples: int) -> AudioFrame | None:
    if samples <= 0:
        return None
    if frame.samples <= samples:
        return frame
    values = frame.to_ndarray()
    channels = 1 if frame.format.is_planar else len(frame.layout.channels)
    return _as_frame(values[:, : samples * channels], frame.format.name, frame.layout.name, frame.sample_rate)


def _silence(samples: str, layout: str, rate: int, count: int) -> AudioFrame:
    channels = len(av.AudioLayout(layout).channels)
    shape = (channels, count) if samples.endswith("p") else (1, count * channels)
    return _as_frame(np.zeros(shape, np.float32), samples, layout, rate)


def _as_frame(values: NDArray[Any], samples: str, layout: str, rate: int) -> AudioFrame:
    frame = AudioFrame.from_ndarray(np.ascontiguousarray(values), format=samples, layout=layout)
    frame.sample_rate = rate
    return frame
