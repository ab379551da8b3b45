"""Woven fields become whole pictures, whatever window they come in."""

from dataclasses import replace
from typing import Any

import av
import numpy as np
import pytest
from av.filter import Graph
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from datasets.planar import Planes
from tasks.ops.video.clip import ClipInfo, FieldOrder
from tasks.ops.video.deinterlace import REACH, deinterlace
from tests.shared_data import fixture
from tests.tasks.ops.video.sample_planes import av_frame, info_of, noise


def woven(
    name: str, count: int, order: FieldOrder = "tff", height: int = 16, width: int = 24
) -> tuple[Planes, ClipInfo]:
    info = replace(info_of(name, height, width), field_order=order)
    return noise(info, count), info


def window(planes: Planes, frames: slice) -> Planes:
    return {name: plane[frames] for name, plane in planes.items()}


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(["yuv420p", "yuv422p10le", "gray", "yuva444p", "yuv410p"]), st.sampled_from(["tff", "bff"]),
    st.integers(1, 9), st.integers(1, 5),
)  # fmt: skip
def test_windows_change_nothing(name: str, order: FieldOrder, count: int, size: int) -> None:
    planes, info = woven(name, count, order)
    whole = deinterlace(planes, info, wanted=slice(0, count))
    for first in range(0, count, size):
        last = min(first + size, count)
        low, high = max(0, first - REACH), min(count, last + REACH)
        part = deinterlace(window(planes, slice(low, high)), info, wanted=slice(first - low, last - low))
        assert all((part[plane] == whole[plane][first:last]).all() for plane in whole)


def test_the_reach_is_no_shorter() -> None:
    planes, info = woven("gray", 5)
    whole = deinterlace(planes, info, wanted=slice(2, 3))["y"]
    alone = deinterlace(window(planes, slice(2, 3)), info, wanted=slice(0, 1))["y"]
    assert (whole != alone).any()


@pytest.mark.parametrize(("order", "kept"), [("tff", 0), ("bff", 1)])
def test_the_first_field_is_kept_as_it_is(order: FieldOrder, kept: int) -> None:
    planes, info = woven("yuv420p", 4, order)
    whole = deinterlace(planes, info, wanted=slice(0, 4))
    for plane in planes:
        assert (whole[plane][:, kept::2] == planes[plane][:, kept::2]).all()
        assert (whole[plane][:, 1 - kept :: 2] != planes[plane][:, 1 - kept :: 2]).any()


@pytest.mark.parametrize("name", ["yuv420p", "yuv420p10le", "yuv444p12le"])
def test_planes_alone_give_what_the_filter_makes_of_the_format(name: str) -> None:
    planes, info = woven(name, 5)
    graph = Graph()
    source = graph.add_buffer(width=24, height=16, format=av.VideoFormat(name), time_base=info.time_base)
    bwdif = graph.add("bwdif", "mode=send_frame:parity=tff:deint=all")
    graph.link_nodes(source, bwdif, graph.add("buffersink")).configure()
    for number in range(5):
        frame = av_frame(window(planes, slice(number, number + 1)), info)
        frame.pts = number
        graph.push(frame)
    graph.push(None)
    whole = deinterlace(planes, info, wanted=slice(0, 5))
    for number in range(5):
        frame = graph.vpull()
        lines = [np.frombuffer(bytes(p), whole["y"].dtype).reshape(p.height, -1)[:, : p.width] for p in frame.planes]
        assert all((line == whole[plane][number]).all() for line, plane in zip(lines, planes, strict=True))


def test_progressive_and_tiny_clips_pass() -> None:
    planes, info = woven("yuv420p", 3)
    same = deinterlace(planes, replace(info, field_order="progressive"), wanted=slice(1, 3))
    assert all(np.shares_memory(same[plane], planes[plane]) for plane in planes)
    planes, info = woven("gray", 2, height=3, width=1)
    assert (deinterlace(planes, info, wanted=slice(0, 2))["y"] == planes["y"]).all()


def combing(luma: NDArray[Any]) -> float:
    """How much more neighbouring rows differ than rows of one field do."""
    rows = luma.astype(int)
    return float(np.abs(rows[:, 1:-1] - (rows[:, :-2] + rows[:, 2:]) / 2).mean())


def test_real_woven_fields_lose_their_combs() -> None:
    with av.open(str(fixture("videos/d_interlaced_mpeg2.ts"))) as container:
        luma = np.stack([frame.to_ndarray()[: frame.height] for frame in container.decode(video=0)][:6])
    info = replace(info_of("gray", *luma.shape[1:]), field_order="tff")
    whole = deinterlace({"y": luma}, info, wanted=slice(0, 6))["y"]
    one_field = luma[:, ::2]  # every other row: no combs, coarser
    assert combing(whole) < 0.5 * combing(luma)
    assert combing(whole) < combing(one_field)
