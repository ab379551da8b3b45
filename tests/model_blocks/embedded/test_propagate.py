"""Mask propagation: against clips whose truth is known, resumed, on any threads, and where there is little to see."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from datasets.errors import FrameShapeError
from expectations.mask_metrics import mean_similarity, region_similarity
from model_blocks.embedded.propagate import EmbeddedPropagator
from model_blocks.embedded.propagation_state import PropagationState
from tests.moving_object import Clip, Scene, render
from tests.shared_data import fixture

LEMUR = Scene(
    object="truth/matting_lemur/lemur.png",
    alpha="truth/matting_lemur/lemur_alpha.png",
    background="images/astronaut.png",
    occluder="images/flower.webp",
    object_height=120,
    turn=20,
    zoom=0.85,
    pan=(40, -10),
    path=((0.4, 0.5), (0.6, 0.5)),
)
MUG = Scene(
    object="images/saleor_mug.png",
    background="images/Landscape_6.jpg",
    occluder="images/teddy-bear.jpg",
    object_height=80,
    turn=-40,
    zoom=0.8,
    pan=(-50, 30),
    path=((0.65, 0.6), (0.35, 0.4)),
)
HIDDEN_BY_ITS_LIKE = Scene(
    background="images/brick.png",
    occluder="images/tshirt_man_03.jpg",
    turn=-60,
    zoom=0.7,
    gain=0.8,
    pan=(-80, 0),
    path=((0.5, 0.5), (0.5, 0.5)),
)
WHOLLY_HIDDEN = Scene(
    background="images/coffee.png",
    occluder="images/brick.png",
    occluder_width=130,
    object_height=80,
    turn=20,
    zoom=1.0,
)
QUICK = Scene(size=(120, 160), frames=12, object_height=60, pan=(15, 4), turn=10, zoom=1.1, occluder_width=25)


def to_tensor(frame: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(frame.astype(np.float32) / 255).permute(2, 0, 1)


def followed(clip: Clip, first: NDArray[Any] | None = None, *, saved_after: int | None = None) -> NDArray[np.float32]:
    """Masks (T, H, W); with ``saved_after`` the state goes through a file after that frame."""
    model = EmbeddedPropagator()
    start = clip.mask[0] if first is None else first
    state: Any = model.begin(to_tensor(clip.frames[0]), torch.from_numpy(start.astype(np.float32))[None])
    masks = [start.astype(np.float32)]
    for index, frame in enumerate(clip.frames[1:], start=1):
        mask, state = model.step(state, to_tensor(frame))
        assert mask.shape == (1, *frame.shape[:2])
        assert mask.dtype == torch.float32
        masks.append(mask[0].numpy())
        if index == saved_after:
            state = EmbeddedPropagator().restore(through_a_file(state.to_arrays()))
    return np.stack(masks)


def through_a_file(arrays: dict[str, Any]) -> dict[str, Any]:
    path = Path("state.npz").absolute()
    np.savez(path, **arrays)
    with np.load(path) as read:
        return dict(read)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("scene", "least"),
    [
        pytest.param(Scene(), 0.9, id="bottle"),
        pytest.param(MUG, 0.95, id="mug"),
        pytest.param(LEMUR, 0.95, id="lemur"),
        pytest.param(HIDDEN_BY_ITS_LIKE, 0.9, id="hidden-by-its-like"),
        pytest.param(WHOLLY_HIDDEN, 0.9, id="wholly-hidden"),
    ],
)
def test_an_object_is_followed_and_found_again(scene: Scene, least: float) -> None:
    clip = render(scene)
    masks = followed(clip) > 0.5
    region, contour = mean_similarity(masks, clip.mask)
    sys.stdout.write(f"J {region:.3f}, F {contour:.3f}, J&F {(region + contour) / 2:.3f}\n")
    assert region >= least
    assert min(region_similarity(a, b) for a, b in zip(masks[-10:], clip.mask[-10:], strict=True)) > 0.95


def seen_as_white(frame: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """A white thing on brown wood: its largest bright piece, with its shaded spots."""
    bright = (cv2.GaussianBlur(frame, (0, 0), 0.7)[..., 2] > 95).astype(np.uint8)
    _, labels, facts, _ = cv2.connectedComponentsWithStats(bright)
    piece = (labels == 1 + int(facts[1:, cv2.CC_STAT_AREA].argmax())).astype(np.uint8)
    closed = cv2.morphologyEx(piece, cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8))
    return np.asarray(ndimage.binary_fill_holes(closed))


@pytest.mark.slow
def test_a_real_thing_is_followed_while_the_camera_goes_around_it() -> None:
    import av

    with av.open(str(fixture("videos/rabbit320.mp4"))) as container:
        every = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    frames = np.stack([np.asarray(frame, dtype=np.uint8) for frame in every[::2]])
    truth = np.stack([seen_as_white(frame) for frame in frames])
    region, contour = mean_similarity(followed(Clip(frames, frames, truth)) > 0.5, truth)
    sys.stdout.write(f"J {region:.3f}, F {contour:.3f}, J&F {(region + contour) / 2:.3f}\n")
    assert region > 0.88


def test_a_short_small_clip_is_followed() -> None:
    clip = render(QUICK)
    region, contour = mean_similarity(followed(clip) > 0.5, clip.mask)
    assert region > 0.85
    assert contour > 0.85


def test_a_resumed_run_equals_an_uninterrupted_one_to_the_last_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    clip = render(QUICK)
    whole = followed(clip)
    assert followed(clip, saved_after=6).tobytes() == whole.tobytes()


def test_a_state_survives_its_arrays() -> None:
    clip = render(QUICK)
    model = EmbeddedPropagator()
    state = model.begin(to_tensor(clip.frames[0]), torch.from_numpy(clip.mask[0].astype(np.float32))[None])
    _, state = model.step(state, to_tensor(clip.frames[1]))
    arrays, again = state.to_arrays(), PropagationState.from_arrays(state.to_arrays()).to_arrays()
    assert all(isinstance(value, np.ndarray | int | float) for value in arrays.values())
    for name, value in arrays.items():
        assert np.asarray(again[name]).dtype == np.asarray(value).dtype
        assert np.asarray(again[name]).tobytes() == np.asarray(value).tobytes()


def test_threads_do_not_show() -> None:
    clip = render(replace(QUICK, size=(240, 320), object_height=110, frames=4))
    threads = cv2.getNumThreads(), torch.get_num_threads()
    results = []
    for count in (1, 2, 5):
        cv2.setNumThreads(count)
        torch.set_num_threads(count)
        results.append(followed(clip).tobytes())
    cv2.setNumThreads(threads[0])
    torch.set_num_threads(threads[1])
    assert results[0] == results[1] == results[2]


def test_nothing_stays_nothing_and_everything_nearly_everything() -> None:
    clip = render(replace(QUICK, frames=5, occluder=None))
    assert followed(clip, np.zeros(clip.mask.shape[1:])).max() == 0
    assert (followed(clip, np.ones(clip.mask.shape[1:])) > 0.5).mean() > 0.9


def test_an_object_that_leaves_the_picture_leaves_no_mask_and_is_found_when_it_comes_back() -> None:
    away = render(replace(QUICK, occluder=None, frames=16, path=((0.5, 0.5), (1.5, 0.5)), turn=0, zoom=1))
    there_and_back = Clip(*(np.concatenate([part, part[::-1]]) for part in (away.frames, away.background, away.mask)))
    assert not away.mask[-1].any()
    masks = followed(there_and_back) > 0.5
    assert masks[15].sum() == 0
    assert region_similarity(masks[-1], there_and_back.mask[-1]) > 0.85


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (37, 3), (97, 131), (241, 707)])
def test_any_size(size: tuple[int, int]) -> None:
    random = torch.Generator().manual_seed(1)
    model = EmbeddedPropagator()
    mask = torch.zeros(1, *size)
    mask[:, size[0] // 3 : size[0] // 3 + max(1, size[0] // 2), : max(1, size[1] // 2)] = 1
    image = torch.rand(3, *size, generator=random)
    state = model.begin(image, mask)
    for _ in range(2):
        found, state = model.step(state, image)
        assert found.shape == mask.shape
        assert torch.isfinite(found).all()
        assert 0 <= float(found.min()) <= float(found.max()) <= 1


def test_what_does_not_belong_together_is_refused() -> None:
    model = EmbeddedPropagator()
    with pytest.raises(FrameShapeError, match=r"\(3, 8, 8\) and \(1, 8, 9\)"):
        model.begin(torch.zeros(3, 8, 8), torch.zeros(1, 8, 9))
    state = model.begin(torch.zeros(3, 8, 8), torch.zeros(1, 8, 8))
    with pytest.raises(FrameShapeError, match="size"):
        model.step(state, torch.zeros(3, 8, 9))
