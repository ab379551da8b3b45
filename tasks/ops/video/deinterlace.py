"""Two woven fields to one picture: FFmpeg's bwdif, one frame out for each frame in."""

from fractions import Fraction
from typing import Any

import av
import numpy as np
from av.filter import Graph
from numpy.typing import NDArray

from datasets.planar import Planes
from tasks.ops.video.clip import ClipInfo
from tasks.ops.video.colour import check_planes, planar_of

REACH = 1  # frames on each side that a frame's result depends on; measured, and held by a test
_LEAST_ROWS, _LEAST_COLUMNS = 4, 3  # bwdif takes no smaller picture
_TICK = Fraction(1, 25)  # any: the filter looks at the order of frames only


def deinterlace(planes: Planes, info: ClipInfo, *, wanted: slice) -> Planes:
    """The wanted frames with the second field replaced by what belongs to the first field's moment.

    A frame's result is the same whatever window is passed, as long as it has ``REACH`` neighbours on each side or ends
    where the clip ends. Planes are filtered one by one, which is what bwdif does inside, so that no format has to be
    converted for it. Progressive clips, and planes of fewer than 4 rows or 3 columns, pass untouched.

    Args:
        planes: each (T, h, w), wanted frames and their neighbours.
        info: ``field_order`` says which field comes first.
        wanted: frames of the window to give back; no step.

    Returns:
        The planes by name, only the wanted frames, same format.

    Raises:
        FrameShapeError: the planes are not those of the format and size.
    """
    fmt = planar_of(info)
    check_planes(planes, info, fmt)
    if info.field_order == "progressive":
        return {name: plane[wanted] for name, plane in planes.items()}
    top = 2**fmt.depth - 1
    return {name: _whole_frames(plane, info.field_order, top)[wanted] for name, plane in planes.items()}


def _whole_frames(plane: NDArray[Any], field_order: str, top: int) -> NDArray[Any]:
    count, rows, columns = plane.shape
    if count == 0 or rows < _LEAST_ROWS or columns < _LEAST_COLUMNS:
        return plane
    name = "gray" if plane.dtype == np.uint8 else "gray16le"
    graph = _graph(rows, columns, name, field_order)
    whole: NDArray[Any] = np.empty_like(plane)
    done = 0
    for number in range(count + 1):
        graph.push(_frame(plane[number], name, number) if number < count else None)
        done = _pull(graph, whole, done)
    assert done == count, f"bwdif gave {done} frames for {count}"
    np.minimum(whole, np.asarray(top, whole.dtype), out=whole)  # 16-bit samples overshoot what 10 bits hold
    return whole


def _graph(rows: int, columns: int, name: str, field_order: str) -> Graph:
    graph = Graph()
    graph.threads = 1
    source = graph.add_buffer(width=columns, height=rows, format=av.VideoFormat(name), time_base=_TICK)
    filter_ = graph.add("bwdif", f"mode=send_frame:parity={field_order}:deint=all")
    graph.link_nodes(source, filter_, graph.add("buffersink")).configure()
    return graph


def _frame(picture: NDArray[Any], name: str, number: int) -> av.VideoFrame:
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format=name)
    frame.pts, frame.time_base = number, _TICK
    return frame


def _pull(graph: Graph, whole: NDArray[Any], done: int) -> int:
    """Take what the filter has ready; it holds a frame back until it has seen the next."""
    while True:
        try:
            whole[done] = graph.vpull().to_ndarray()
        except (av.BlockingIOError, av.EOFError):
            return done
        done += 1
