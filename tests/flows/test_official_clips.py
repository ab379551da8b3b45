"""Clips through RIFE and LaMa with reference weights: every frame is there, and none of them is broken."""

from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from datasets.settings import read_settings
from flows.summary import ItemResult
from flows.video import run_video
from flows.video_order import VideoOrder
from tests.flows.clip_files import save_moving_clip
from tests.model_blocks.parity import checkpoint

pytestmark = pytest.mark.usefixtures("prefect_api")

LOSSLESS = {"stage": "encode", "codec": "ffv1"}


def run(clip: Path, *stages: dict[str, Any], **more: Any) -> ItemResult:
    order = VideoOrder(clips=(str(clip),), recipe=(*stages, LOSSLESS), out=str(Path("out").absolute()), **more)
    (item,) = run_video(order, read_settings(storage_root=str(Path("store").absolute()))).items
    assert item.status == "delivered", item.reasons
    return item


def frames(path: Path) -> np.ndarray[Any, Any]:
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


@pytest.mark.parametrize("name", ["rife-4.6", pytest.param("rife-4.25", marks=pytest.mark.slow)])
def test_twice_as_many_frames_with_the_filmed_ones_as_they_are(name: str, tmp_path: Path) -> None:
    clip = save_moving_clip(tmp_path / "clip.mp4", 0.2, width=96, height=64, sound=False)
    weights = {name: str(checkpoint(name, tmp_path / "flownet.pkl"))}
    item = run(clip, {"stage": "interpolate", "factor": 2}, models={"interpolate": name}, weights=weights)
    assert any(str(stage.model).startswith(f"{name} (unpublished weights ") for stage in item.stages)
    made, filmed = frames(item.outputs[0].path), frames(clip)
    assert (len(filmed), made.shape) == (5, (10, 64, 96, 3))
    between, kept = made[1:8:2], made[::2]
    assert np.abs(kept.astype(int) - filmed).mean() < 2  # 4:2:0 there and back
    assert np.array_equal(made[9], made[8])  # after the last frame there is none
    for number, frame in enumerate(between):
        assert frame.std() > 5
        assert np.abs(frame.astype(int) - filmed[number]).mean() > 1
    again = run(clip, {"stage": "interpolate", "factor": 2}, models={"interpolate": name}, weights=weights)
    assert all(stage.cached for stage in again.stages)


@pytest.mark.slow
def test_what_a_mask_covers_is_removed_from_every_frame(tmp_path: Path) -> None:
    clip = save_moving_clip(tmp_path / "clip.mp4", 0.2, width=96, height=64, sound=False)
    covered = np.zeros((64, 96), np.uint8)
    covered[20:40, 30:60] = 255
    Image.fromarray(covered).save(tmp_path / "mask.png")
    weights = {"lama": str(checkpoint("big-lama", tmp_path / "best.ckpt"))}
    propagate = {"stage": "propagate", "mask": str(tmp_path / "mask.png"), "follow": False}
    models = {"inpaint": "lama", "segment": "embedded", "propagate": "embedded"}
    item = run(clip, propagate, {"stage": "inpaint", "grow": 0}, models=models, weights=weights)
    made, filmed = frames(item.outputs[0].path), frames(clip)
    assert made.shape == filmed.shape == (5, 64, 96, 3)
    apart = np.abs(made.astype(int) - filmed).mean(axis=(0, 3))
    assert apart[:16].max() < 6
    assert apart[44:].max() < 6
    assert apart[22:38, 32:58].mean() > 20  # the weights are random: something else is there in every frame
