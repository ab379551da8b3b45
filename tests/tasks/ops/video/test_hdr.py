"""High dynamic range is refused with a remedy, or mapped by the standards' curves."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.errors import FrameShapeError, PermanentError
from tasks.ops.video.hdr import HdrUnsupportedError, refuse_hdr, tonemap, tonemapped
from tests.tasks.ops.video.sample_planes import info_of

PQ, HLG = "smpte2084", "arib-std-b67"


def grey(*signal: float) -> Any:
    codes = np.rint(np.array(signal) * 65535).astype(np.uint16)
    return np.repeat(codes[None, None, :, None], 3, axis=3)


def test_hdr_is_refused_with_its_remedy() -> None:
    refuse_hdr(info_of("yuv420p10le", transfer="bt709"))
    with pytest.raises(HdrUnsupportedError, match="set hdr: tonemap") as caught:
        refuse_hdr(info_of("yuv420p10le", transfer=HLG))
    assert isinstance(caught.value, PermanentError)
    assert caught.value.code == "hdr_unsupported"


def test_landmarks_of_pq() -> None:
    # BT.2408 table 1: a PQ signal of 0.581 is 203 cd/m², 0.508 is 100, 0.752 is 1000. BT.2390 with a peak of 1000:
    # ceiling 0.5807 / 0.7518 = 0.7724, knee 0.6586 of it, which is a signal of 0.4951 or about 88 cd/m²
    dark, mid, white, peak, beyond = (int(v) for v in tonemap(grey(0.2, 0.45, 0.5807, 0.7518, 1.0), PQ)[0, 0, :, 0])
    assert dark == pytest.approx(65535 * (2.4293 / 203) ** (1 / 2.4), abs=60)  # PQ 0.2 is 2.43 cd/m²; below the knee
    assert mid == pytest.approx(65535 * (55.36 / 203) ** (1 / 2.4), rel=0.002)
    # white: t = (0.7724 - 0.6586) / 0.3414 = 0.3333; (20/27) * 0.6586 + (4/27) * 0.3414 + (7/27) * 0.7724 = 0.7387
    # signal 0.5553, which is 159 cd/m²
    assert white == pytest.approx(65535 * (159.0 / 203) ** (1 / 2.4), rel=0.01)
    assert peak == pytest.approx(65535, abs=20)
    assert beyond == peak


def test_hlg_and_pq_of_the_same_light_look_the_same() -> None:
    # BT.2408: HLG 0.75 is reference white, 203 cd/m² on the nominal display; 1.0 is 1000
    of_hlg, of_pq = tonemap(grey(0.75, 1.0), HLG).astype(int), tonemap(grey(0.5807, 0.7518), PQ).astype(int)
    assert np.abs(of_hlg - of_pq).max() < 65535 * 0.003


@pytest.mark.parametrize("transfer", [PQ, HLG])
def test_greys_stay_grey_and_rise(transfer: str) -> None:
    ramp = tonemap(grey(*np.linspace(0, 1, 4096)), transfer).astype(int)
    assert ramp[0, 0, 0].tolist() == [0, 0, 0]
    assert ramp.max() >= 65500
    assert (np.diff(ramp[..., 1], axis=2 if ramp.ndim == 5 else -1) >= -1).all()
    assert np.ptp(ramp, axis=-1).max() <= 20  # the matrix of BT.2087 has four digits


def test_a_pure_colour_keeps_its_hue_as_far_as_bt709_goes() -> None:
    red = np.zeros((1, 1, 1, 3), np.uint16)
    red[..., 0] = 30000
    mapped = tonemap(red, PQ)[0, 0, 0]
    assert mapped[0] > 0
    assert mapped[1] == mapped[2] == 0


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 5), st.sampled_from([PQ, HLG]), st.sampled_from([3, 4]), st.integers(0, 2**16))
def test_frames_at_once_change_nothing(cut: int, transfer: str, channels: int, seed: int) -> None:
    rgb = np.random.default_rng(seed).integers(0, 65536, (5, 7, 9, channels)).astype(np.uint16)
    whole = tonemap(rgb, transfer)
    assert (np.concatenate([tonemap(rgb[at : at + cut], transfer) for at in range(0, 5, cut)]) == whole).all()
    assert (whole[..., 3:] == rgb[..., 3:]).all()


def test_the_facts_say_bt709_afterwards() -> None:
    info = tonemapped(info_of("yuv420p10le", transfer=PQ, matrix="bt2020nc", primaries="bt2020", range="tv"))
    assert (info.colour.transfer, info.colour.matrix, info.colour.primaries, info.colour.range) == (
        "bt709", "bt709", "bt709", "tv",
    )  # fmt: skip
    refuse_hdr(info)


def test_other_pixels_and_transfers_are_refused() -> None:
    with pytest.raises(FrameShapeError, match="uint16"):
        tonemap(np.zeros((1, 1, 1, 3), np.uint8), PQ)
    with pytest.raises(HdrUnsupportedError, match="bt709"):
        tonemap(np.zeros((1, 1, 1, 3), np.uint16), "bt709")
