"""Planes reach FFmpeg's frames sample by sample, tags included."""

import io

import av
import numpy as np
import pytest

from datasets.errors import FrameShapeError
from datasets.planar import PLANAR, Planes
from tasks.ops.video.clip import ClipInfo
from tasks.ops.video.planes import planes_to_frame
from tests.tasks.ops.video.sample_planes import info_of, noise


def read_back(frame: av.VideoFrame, info: ClipInfo) -> Planes:
    """Line by line, past the padding."""
    fmt = PLANAR[info.pixel_format]
    found: Planes = {}
    for name, plane in zip(fmt.planes, frame.planes, strict=True):
        rows, columns = fmt.plane_size(name, info.height, info.width)
        whole, width = bytes(plane), columns * np.dtype(fmt.dtype).itemsize
        lines = [np.frombuffer(whole, fmt.dtype, columns, row * plane.line_size) for row in range(rows)]
        assert plane.line_size >= width
        found[name] = np.stack(lines)[None]
    return found


@pytest.mark.parametrize("name", PLANAR)
@pytest.mark.parametrize("size", [(1, 1), (3, 5), (17, 33), (16, 64)])
def test_every_sample_arrives(name: str, size: tuple[int, int]) -> None:
    info = info_of(name, *size)
    planes = noise(info)
    frame = planes_to_frame(planes, info)
    assert (frame.format.name, frame.height, frame.width) == (name, *size)
    assert all((came == planes[plane]).all() for plane, came in read_back(frame, info).items())


def test_pyav_reads_the_same() -> None:
    info = info_of("yuv444p16le", 5, 7)
    planes = noise(info)
    assert (
        planes_to_frame(planes, info).to_ndarray() == np.stack([plane[0] for plane in planes.values()], axis=-1)
    ).all()
    info = info_of("yuv420p", 6, 8)
    planes = {name: plane[0] for name, plane in noise(info).items()}
    assert (planes_to_frame(planes, info).to_ndarray()[:6] == planes["y"]).all()


def test_tags_are_ffmpegs_numbers() -> None:
    info = info_of("yuv420p10le", matrix="bt2020nc", transfer="smpte2084", primaries="bt2020", range="tv")
    frame = planes_to_frame(noise(info), info)
    assert (frame.colorspace, frame.color_trc, frame.color_primaries, frame.color_range) == (9, 16, 9, 1)
    frame = planes_to_frame(noise(info_of("yuv420p")), info_of("yuv420p"))
    assert (frame.colorspace, frame.color_trc, frame.color_primaries, frame.color_range) == (2, 2, 2, 0)
    frame = planes_to_frame(noise(info_of("gbrp")), info_of("gbrp"))
    assert (frame.colorspace, frame.color_range) == (0, 2)


def test_a_lossless_codec_gives_the_planes_back() -> None:
    info = info_of("yuv422p10le", 34, 62, matrix="bt709", range="tv", primaries="bt709", transfer="bt709")
    planes = noise(info)
    target = io.BytesIO()
    with av.open(target, "w", format="matroska") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 62, 34, info.pixel_format
        container.mux(stream.encode(planes_to_frame(planes, info)))
        container.mux(stream.encode(None))
    target.seek(0)
    with av.open(target, "r") as container:
        frame = next(container.decode(video=0))
    assert all((came == planes[plane]).all() for plane, came in read_back(frame, info).items())


def test_more_than_one_frame_is_refused() -> None:
    info = info_of("gray")
    with pytest.raises(FrameShapeError, match="one by one"):
        planes_to_frame(noise(info, 2), info)
