from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydantic import ValidationError

from datasets.errors import FrameShapeError
from tasks.ops.geometry import Region, Shape
from tasks.ops.grade import GradeConfig, grade_frames, temperature_gains
from tasks.ops.lut import CubeLut
from tasks.ops.statistics import ToneStatistics, measure
from tasks.ops.transfer import linear_to_srgb_uint8, srgb_to_linear

INVERTED = CubeLut(1.0 - np.linspace(0, 1, 2, dtype=np.float32)[:, None].repeat(3, axis=1))


def noise(shape: tuple[int, ...], dtype: Any = np.uint8, seed: int = 0) -> NDArray[Any]:
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max + 1, shape, dtype=dtype)


def flat(*codes: int, size: int = 12, dtype: Any = np.uint8) -> NDArray[Any]:
    return np.broadcast_to(np.array(codes, dtype=dtype), (1, size, size, len(codes))).copy()


def light(*linear: float) -> NDArray[Any]:
    return flat(*linear_to_srgb_uint8(np.array(linear)))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_off_is_the_identity(dtype: Any) -> None:
    frames = noise((2, 5, 7, 4), dtype)
    assert GradeConfig().is_off
    assert GradeConfig(white_balance="temperature").is_off
    assert np.array_equal(grade_frames(frames, GradeConfig()), frames)


def test_one_stop_doubles_the_light() -> None:
    out = grade_frames(light(0.1, 0.2, 0.4), GradeConfig(exposure_stops=1))
    np.testing.assert_allclose(srgb_to_linear(out[0, 0, 0]), [0.2, 0.4, 0.8], rtol=0.02)
    assert grade_frames(light(0.9, 0.9, 0.9), GradeConfig(exposure_stops=2)).min() == 255


def test_no_saturation_is_the_luminance() -> None:
    out = grade_frames(flat(255, 0, 0), GradeConfig(saturation=0))
    assert out[0, 0, 0].tolist() == [127, 127, 127]  # 0.2126 of light


def test_grey_has_nothing_to_saturate() -> None:
    assert np.array_equal(grade_frames(flat(90, 90, 90), GradeConfig(saturation=2)), flat(90, 90, 90))


def test_contrast_keeps_black_middle_and_white() -> None:
    frames = np.array([0, 64, 191, 255], dtype=np.uint8).reshape(1, 1, 4, 1).repeat(3, axis=3)
    out = grade_frames(frames, GradeConfig(contrast=1))[0, 0, :, 0]
    # smoothstep(64/255) = 0.15736, smoothstep(191/255) = 0.84264
    assert out.tolist() == [0, 40, 215, 255]
    soft = grade_frames(frames, GradeConfig(contrast=-1))[0, 0, :, 0]
    assert soft.tolist() == [0, 88, 167, 255]


def test_gray_world_takes_the_cast_away() -> None:
    frames = light(0.3, 0.4, 0.2)
    out = grade_frames(frames, GradeConfig(white_balance="gray_world"), statistics=measure(frames))
    assert np.ptp(out[0, 0, 0].astype(int)) <= 1


def test_auto_exposure_uses_the_statistics_of_the_clip() -> None:
    frames = light(0.045, 0.045, 0.045)
    config = GradeConfig(auto_exposure=True)
    assert config.needs_statistics
    out = grade_frames(frames, config, statistics=measure(frames))
    assert srgb_to_linear(out[0, 0, 0])[0] == pytest.approx(0.18, rel=0.03)
    with pytest.raises(TypeError, match="statistics"):
        grade_frames(frames, config)


def test_undoing_warm_light_cools() -> None:
    red, green, blue = temperature_gains(3000, 0)
    assert red < green < blue
    assert 0.2126 * red + 0.7152 * green + 0.0722 * blue == pytest.approx(1.0)
    # CIE illuminant A (x 0.44757, y 0.40745) is a black body of 2856 K; its linear sRGB colour is 1.845, 0.826, 0.233
    colour = 1 / np.array(temperature_gains(2856, 0))
    np.testing.assert_allclose(colour / colour[1], [2.233, 1.0, 0.282], rtol=0.08)
    assert temperature_gains(6504, 0) == pytest.approx((1.0, 1.0, 1.0))
    assert temperature_gains(9000, 0)[0] > 1.0 > temperature_gains(9000, 0)[2]


def test_tint_takes_green_away() -> None:
    magenta, green = temperature_gains(6504, 1), temperature_gains(6504, -1)
    assert magenta[1] / magenta[0] == pytest.approx(2**-0.5)
    assert green[1] / green[0] == pytest.approx(2**0.5)


def test_the_table_is_applied_to_srgb_codes() -> None:
    out = grade_frames(flat(0, 55, 255), GradeConfig(lut="inverted.cube"), lut=INVERTED)
    assert out[0, 0, 0].tolist() == [255, 200, 0]
    with pytest.raises(TypeError, match="table"):
        grade_frames(flat(0, 0, 0), GradeConfig(lut="inverted.cube"))


def test_denoise_calms_noise_and_keeps_edges() -> None:
    rng = np.random.default_rng(0)
    clean = np.full((1, 40, 40, 3), 80.0)
    clean[:, :, 20:] = 180
    noisy = np.clip(clean + rng.normal(0, 6, clean.shape), 0, 255).astype(np.uint8)
    out = grade_frames(noisy, GradeConfig(denoise=0.6)).astype(float)
    assert np.abs(out - clean).std() < 0.5 * np.abs(noisy - clean).std()
    assert (out[:, :, 20].mean() - out[:, :, 19].mean()) > 97  # of 100


def test_denoise_leaves_flat_areas_alone() -> None:
    frames = flat(10, 200, 30, size=9)
    assert np.array_equal(grade_frames(frames, GradeConfig(denoise=1)), frames)


def test_sharpen_adds_the_difference_to_the_blur() -> None:
    frames = flat(100, 100, 100, size=15)
    frames[0, 7, 7] = 130
    out = grade_frames(frames, GradeConfig(sharpen=1))[0, :, :, 0].astype(int)
    # the middle tap of the normalised Gaussian (sigma 1, seven taps) is 0.3991; 0.3991**2 = 0.1592; 30 * (1 - 0.1592)
    assert out[7, 7] == 155
    assert out[7, 8] == 97  # 30 * 0.3991 * 0.2420 = 2.9 less
    assert out[7, 11] == 100
    assert np.array_equal(grade_frames(flat(9, 99, 199), GradeConfig(sharpen=2)), flat(9, 99, 199))


ALL_ON = GradeConfig(
    white_balance="gray_world", exposure_stops=0.4, saturation=1.2, contrast=0.3, denoise=0.8, sharpen=1.5
)


def tile_of(
    frames: NDArray[Any], region: Region, config: GradeConfig, statistics: ToneStatistics, halo: int
) -> NDArray[Any]:
    read = region.grown(0, halo, Shape(*frames.shape))
    graded = grade_frames(frames[read.slices], config, statistics=statistics)
    return graded[region.inside(read)]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_tile_equals_its_part_of_the_whole(data: st.DataObject) -> None:
    dtype = data.draw(st.sampled_from([np.uint8, np.uint16]))
    height, width = data.draw(st.integers(1, 30)), data.draw(st.integers(1, 30))
    frames = noise((2, height, width, data.draw(st.sampled_from([3, 4]))), dtype, seed=data.draw(st.integers(0, 9)))
    config = data.draw(
        st.sampled_from([ALL_ON, GradeConfig(denoise=1), GradeConfig(sharpen=2), GradeConfig(saturation=0.3)])
    )
    statistics = measure(frames)
    y0, x0 = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    region = Region(0, 2, y0, data.draw(st.integers(y0 + 1, height)), x0, data.draw(st.integers(x0 + 1, width)))
    whole = grade_frames(frames, config, statistics=statistics)
    assert np.array_equal(tile_of(frames, region, config, statistics, config.halo_pixels), whole[region.slices])


@pytest.mark.parametrize("config", [ALL_ON, GradeConfig(denoise=1), GradeConfig(sharpen=2)])
def test_a_halo_shorter_by_one_pixel_is_too_short(config: GradeConfig) -> None:
    frames = noise((1, 40, 40, 3), np.uint16) // 4 + 20000
    statistics = measure(frames)
    region = Region(0, 1, 12, 20, 12, 20)
    whole = grade_frames(frames, config, statistics=statistics)[region.slices]
    assert np.array_equal(tile_of(frames, region, config, statistics, config.halo_pixels), whole)
    assert not np.array_equal(tile_of(frames, region, config, statistics, config.halo_pixels - 1), whole)


def test_large_frames_are_worked_in_bands_and_small_ones_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    frames = noise((1, 70, 33, 4))
    whole = grade_frames(frames, ALL_ON, statistics=measure(frames))
    monkeypatch.setattr("tasks.ops.grade.BAND_SAMPLES", 1)
    assert np.array_equal(grade_frames(frames, ALL_ON, statistics=measure(frames)), whole)


def test_alpha_is_kept_and_hidden_colours_do_not_show() -> None:
    frames = noise((1, 20, 20, 4))
    frames[..., 3] = np.where(np.arange(20) < 10, 255, 0)
    other = frames.copy()
    other[:, :, 10:, :3] = noise((1, 20, 10, 3), seed=5)
    config = GradeConfig(denoise=1, sharpen=2)
    one, two = grade_frames(frames, config), grade_frames(other, config)
    assert np.array_equal(one[..., 3], frames[..., 3])
    assert np.array_equal(one[:, :, :10], two[:, :, :10])


def test_16_bit_keeps_its_steps() -> None:
    frames = np.arange(0, 60000, 50, dtype=np.uint16).reshape(1, 30, 40, 1).repeat(3, axis=3)
    out = grade_frames(frames, GradeConfig(exposure_stops=0.01))
    assert out.dtype == np.uint16
    assert np.unique(out).size == 1200


def test_halos() -> None:
    assert [GradeConfig(denoise=d, sharpen=s).halo_pixels for d, s in ((0, 0), (1, 0), (0, 1), (1, 1))] == [0, 3, 3, 6]


def test_misspelt_and_unbounded_fields_are_refused() -> None:
    for wrong in ({"exposure": 1}, {"denoise": 2}, {"white_balance": "auto"}, {"temperature": 100}):
        with pytest.raises(ValidationError):
            GradeConfig(**wrong)


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(FrameShapeError):
        grade_frames(noise((5, 5, 3)), GradeConfig(sharpen=1))
