"""The format and codec that are chosen lose as little as they can, and say what they lose."""

import pytest

from tasks.ops.video.codecs import CODECS, ClipFormatError, choose_codec, choose_pixel_format


@pytest.mark.parametrize(
    ("codec", "source", "size", "coded", "said"),
    [
        ("h264", "yuv420p", (64, 96), "yuv420p", []),
        ("h264", "yuvj422p", (64, 96), "yuv422p", []),
        ("h264", "yuv420p10le", (64, 96), "yuv420p10le", []),
        ("h264", "yuv422p12le", (64, 96), "yuv422p10le", ["depth_reduced"]),
        ("h264", "yuv420p", (240, 427), "yuv444p", ["chroma_widened"]),
        ("h264", "yuv422p", (241, 426), "yuv422p", []),
        ("h264", "yuv420p", (1, 1), "yuv444p", ["chroma_widened"]),
        ("h264", "gray", (64, 96), "yuv420p", []),
        ("h264", "yuva420p", (64, 96), "yuv420p", ["alpha_dropped"]),
        ("h264", "rgb24", (64, 96), "yuv420p", ["chroma_subsampled"]),
        ("h264", "yuv411p", (64, 96), "yuv422p", []),
        ("hevc", "yuv444p12le", (160, 128), "yuv444p12le", []),
        ("av1", "yuv444p10le", (64, 96), "yuv420p10le", ["chroma_subsampled"]),
        ("av1", "yuv420p", (241, 427), "yuv420p", []),
        ("vp9", "yuva420p", (241, 427), "yuva420p", []),
        ("vp9", "rgba", (64, 96), "yuva420p", ["chroma_subsampled"]),
        ("vp9", "yuv420p10le", (64, 96), "yuv420p", ["depth_reduced"]),
        ("prores4444", "yuva444p12le", (64, 96), "yuva444p10le", ["depth_reduced"]),
        ("prores4444", "yuv422p10le", (64, 96), "yuv444p10le", []),
        ("ffv1", "yuva422p9le", (3, 5), "yuva422p9le", []),
        ("ffv1", "rgba64le", (3, 5), "gbrap16le", []),
        ("gif", "yuv420p", (64, 96), "gbrp", []),
        ("webp", "rgba", (64, 96), "gbrap", []),
    ],
)
def test_the_pixel_format_loses_the_least(
    codec: str, source: str, size: tuple[int, int], coded: str, said: list[str]
) -> None:
    found, notices = choose_pixel_format(codec, source, height=size[0], width=size[1])
    assert (found, [each.code for each in notices]) == (coded, said)


@pytest.mark.parametrize(
    ("alpha", "depth", "container", "codec"),
    [
        (False, 8, "mp4", "h264"),
        (False, 10, "mp4", "hevc"),
        (False, 8, "webm", "vp9"),
        (False, 10, "webm", "av1"),
        (True, 8, "webm", "vp9"),
        (True, 10, "mov", "prores4444"),
        (True, 8, "mkv", "vp9"),
        (True, 12, "mkv", "ffv1"),
        (True, 8, "gif", "gif"),
        (False, 8, "webp", "webp"),
    ],
)
def test_auto_takes_what_most_players_show(alpha: bool, depth: int, container: str, codec: str) -> None:
    assert choose_codec("auto", alpha=alpha, depth=depth, container=container) == codec
    assert container in CODECS[codec].containers


def test_what_does_not_go_together_is_refused_with_what_does() -> None:
    with pytest.raises(ClipFormatError, match="mkv"):
        choose_codec("ffv1", alpha=False, depth=8, container="mp4")
    with pytest.raises(ClipFormatError, match="known: mp4"):
        choose_codec("auto", alpha=False, depth=8, container="avi")
    with pytest.raises(ClipFormatError, match="known: h264"):
        choose_codec("mpeg2", alpha=False, depth=8, container="mp4")
    with pytest.raises(ClipFormatError, match="choose h264 or ffv1"):
        choose_pixel_format("hevc", "yuv420p", height=32, width=32)
    with pytest.raises(ClipFormatError, match="convert"):
        choose_pixel_format("h264", "nv12", height=32, width=32)
