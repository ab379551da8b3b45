"""Clips for the tests of encoding: made-up planes, and files with a flash, a beep, subtitles and chapters."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from numpy.typing import NDArray

from datasets.planar import PLANAR, PlanarFormat, Planes
from tasks.ops.video.clip import ClipInfo, Colour
from tasks.ops.video.encoder_options import EncodeSettings
from tasks.ops.video.encoding import encode_segment

RATE = Fraction(30_000, 1001)
TICK = Fraction(1, 30_000)
FLASH = 50  # the frame that is white, of 25 a second
EVENT_S = 2.0  # when it is seen and the beep is heard


def noise(pixel_format: str, *, frames: int, height: int, width: int, seed: int = 0) -> Planes:
    """Every sample value, at random."""
    form, random = PLANAR[pixel_format], np.random.default_rng(seed)
    return {
        name: random.integers(0, 1 << form.depth, (frames, *form.plane_size(name, height, width))).astype(form.dtype)
        for name in form.planes
    }


def slope(pixel_format: str, *, frames: int, height: int, width: int) -> Planes:
    """Smooth slopes that move, different in each plane."""
    form = PLANAR[pixel_format]
    found: Planes = {}
    for number, name in enumerate(form.planes):
        rows, columns = form.plane_size(name, height, width)
        y, x, t = np.mgrid[:rows, :columns, :frames]
        wave = 0.5 + 0.4 * np.sin((x * (1 << form.shift_x if name in "uv" else 1) + y * 2 + t * 3) / 25 + number)
        found[name] = np.moveaxis(wave * ((1 << form.depth) - 1), -1, 0).round().astype(form.dtype)
    return found


def clip_info(pixel_format: str, *, height: int, width: int, **changes: Any) -> ClipInfo:
    given = {"colour": Colour("bt709", "bt709", "bt709", "tv", "left"), "average_rate": RATE, **changes}
    return ClipInfo(width, height, pixel_format, pixel_format, given.pop("time_base", TICK), **given)


def uneven(count: int) -> tuple[list[int], list[int]]:
    """Time stamps and durations of a variable frame rate, in 30,000ths of a second."""
    durations = [int(each) for each in np.random.default_rng(1).choice([1001, 2002, 500, 1502], count)]
    return [sum(durations[:place]) for place in range(count)], durations


def write_segments(
    planes: Planes,
    info: ClipInfo,
    settings: EncodeSettings,
    folder: Path,
    *,
    cuts: Sequence[int],
    times: tuple[list[int], list[int]] | None = None,
) -> list[Path]:
    """Segments that start at the cuts."""
    count = len(next(iter(planes.values())))
    pts, durations = times or uneven(count)
    found = []
    for number, (begin, end) in enumerate(zip(cuts, [*cuts[1:], count], strict=True)):
        path = folder / f"segment-{number}.mkv"
        chunks = [{name: each[part : part + 3] for name, each in planes.items()} for part in range(begin, end, 3)]
        chunks[-1] = {name: each[: (end - begin - 1) % 3 + 1] for name, each in chunks[-1].items()}
        encode_segment(chunks, pts[begin:end], durations[begin:end], info, settings, path)
        found.append(path)
    return found


def decoded(path: Path, decoder: str = "") -> list[av.VideoFrame]:
    """All frames of a file."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        if not decoder:
            return list(container.decode(stream))
        own = av.CodecContext.create(decoder, "r")
        assert isinstance(own, av.VideoCodecContext)
        frames = [each for packet in container.demux(stream) if packet.size for each in own.decode(packet)]
        return frames + own.decode(None)


def samples(frame: av.VideoFrame) -> list[NDArray[Any]]:
    """The planes of a decoded frame, without the filling at the ends of rows, in the format's order."""
    if frame.format.name in ("bgr0", "bgra"):
        pixels = _rows(frame, 0, np.uint8)[:, : frame.width * 4].reshape(frame.height, frame.width, 4)
        return [pixels[..., channel] for channel in ((1, 0, 2, 3) if frame.format.name == "bgra" else (1, 0, 2))]
    form: PlanarFormat = PLANAR[frame.format.name]
    return [
        _rows(frame, place, form.dtype)[:, : form.plane_size(name, frame.height, frame.width)[1]]
        for place, name in enumerate(form.planes)
    ]


def _rows(frame: av.VideoFrame, place: int, dtype: Any) -> NDArray[Any]:
    plane = frame.planes[place]
    return np.frombuffer(bytes(plane), dtype).reshape(plane.height, -1)


def side_data(frame: av.VideoFrame) -> dict[str, bytes]:
    """What is told beside a decoded frame, by its name."""
    beside: Any = frame.side_data
    return {each.type.name: bytes(each) for each in beside}


def packets(path: Path, kind: str, number: int = 0) -> list[tuple[Fraction, bytes]]:
    """(time of presentation in seconds, bytes) of a stream's packets."""
    with av.open(str(path)) as container:
        stream = [each for each in container.streams if each.type == kind][number]
        return [((each.pts or 0) * each.time_base, bytes(each)) for each in container.demux(stream) if each.size]


def write_beep(
    path: Path, container: str, codec: str, *, rate: int = 44_100, late_s: float = 0.0, late_frames: int = 0
) -> Path:
    """Four seconds of black with one white frame, and a beep at 2 s; the sound or the pictures start late."""
    with av.open(str(path), "w", format=container) as out:
        video = out.add_stream("libx264", rate=25, options={"crf": "20", "preset": "ultrafast"})
        sound = out.add_stream(codec, rate=rate)
        assert isinstance(video, av.VideoStream)
        assert isinstance(sound, AudioStream)
        video.width = video.height = 64
        video.pix_fmt, video.codec_context.time_base = "yuv420p", Fraction(1, 25)
        sound.codec_context.layout = "stereo"
        out.metadata.update({"title": "A lamp", "location": "+52.5+013.4/", "creation_time": "2020-01-01T00:00:00Z"})
        coded = [*_flashes(video, late_frames), *_beeps(sound, rate, late_s)]
        for packet in sorted(coded, key=lambda each: (each.dts or 0) * each.time_base):
            out.mux(packet)
    return path


def _flashes(video: av.VideoStream, late_frames: int) -> list[Any]:
    found: list[Any] = []
    for place in range(100):
        frame = av.VideoFrame(64, 64, "yuv420p")
        for plane, value in zip(frame.planes, (235 if place == FLASH else 16, 128, 128), strict=True):
            plane.update(bytes([value]) * plane.buffer_size)
        frame.pts, frame.time_base = place + late_frames, Fraction(1, 25)
        found += video.encode(frame)
    return found + video.encode(None)


def _beeps(sound: AudioStream, rate: int, late_s: float) -> list[Any]:
    times = late_s + np.arange(int((4 - late_s) * rate)) / rate
    heard = (times >= EVENT_S) & (times < EVENT_S + 0.05)
    wave = np.where(heard, 0.8 * np.sin(2 * np.pi * 1000 * (times - EVENT_S)), 0).astype(np.float32)
    found: list[Any] = []
    for begin in range(0, len(wave), 4096):
        part = np.stack([wave[begin : begin + 4096]] * 2)
        frame = AudioFrame.from_ndarray(part, format="fltp", layout="stereo")
        frame.sample_rate, frame.pts, frame.time_base = rate, round(late_s * rate) + begin, Fraction(1, rate)
        found += sound.encode(frame)
    return found + sound.encode(None)


def flash_s(path: Path) -> float:
    """When the white frame is seen."""
    return next(
        float((each.pts or 0) * (each.time_base or 0)) for each in decoded(path) if samples(each)[0].mean() > 150
    )


def beep_s(path: Path) -> tuple[float, int, int]:
    """(when the beep starts, samples in all, samples in a second)."""
    with av.open(str(path)) as container:
        frames = list(container.decode(audio=0))
    waves = []
    for frame in frames:
        wave = frame.to_ndarray().astype(np.float64)
        wave = wave if wave.shape[0] > 1 else wave.reshape(-1, len(frame.layout.channels)).T
        at = float((frame.pts or 0) * (frame.time_base or 0)) + np.arange(wave.shape[1]) / frame.sample_rate
        waves.append(np.stack([at, wave[0] / (32_768 if frame.format.name.startswith("s16") else 1)]))
    whole = np.concatenate(waves, axis=1)
    return float(whole[0, np.abs(whole[1]) > 0.2][0]), whole.shape[1], frames[0].sample_rate
