"""The facts of a clip survive the way through JSON."""

import json
from fractions import Fraction

from tasks.ops.video.clip import ClipInfo, Colour


def test_a_clips_facts_come_back_from_json() -> None:
    clip = ClipInfo(
        427, 240, "yuv444p", "yuv444p", Fraction(1, 90000), Colour("bt709", "bt709", "bt709", "tv", "left"),
        Fraction(4, 3), 90, True, "tff", Fraction(24000, 1001), {"MASTERING": "AAA="}, "mov", "h264",
    )  # fmt: skip
    assert ClipInfo.from_json(json.loads(json.dumps(clip.to_json()))) == clip
    assert clip.upright == (427, 240)
    single = ClipInfo(1, 1, "rgba", "pal8", Fraction(1, 100))
    assert ClipInfo.from_json(json.loads(json.dumps(single.to_json()))) == single
    assert single.planar is None
    assert single.upright == (1, 1)
