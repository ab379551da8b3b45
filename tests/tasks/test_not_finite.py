"""What is no number never becomes a pixel: the stage fails with the model's name."""

from typing import Any

import numpy as np
import pytest
import torch

from model_blocks.choice import ModelRef
from model_blocks.model_errors import ModelOutputError
from tasks import clip_masks, found_alpha, inpaint, interpolate
from tasks.ops.geometry import Region, Shape

FRAMES = np.random.default_rng(3).integers(0, 256, (2, 12, 16, 4), dtype=np.uint8)


class Broken:
    """A model that makes one value that is no number."""

    reach, needs_background = 0, False

    def _made(self, *shape: int) -> torch.Tensor:
        made = torch.zeros(shape)
        made.view(-1)[-1] = float("nan")
        return made

    def interpolate(self, first: torch.Tensor, second: torch.Tensor, fractions: list[float]) -> torch.Tensor:
        return self._made(len(fractions), *first.shape)

    def inpaint(self, images: torch.Tensor, masks: torch.Tensor, wanted: slice) -> torch.Tensor:
        return self._made(*images[wanted].shape)

    def find_small_alpha(self, images: torch.Tensor) -> torch.Tensor:
        return self._made(1, 1, 6, 8)

    def find_alpha(self, images: torch.Tensor, backgrounds: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self._made(1, 1, *images.shape[2:]), torch.zeros(images.shape)


@pytest.fixture(autouse=True)
def _broken(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, accessor in (
        (interpolate, "interpolator"),
        (clip_masks, "inpainter"),
        (inpaint, "inpainter"),
        (found_alpha, "matter"),
    ):
        monkeypatch.setattr(module, accessor, lambda _: Broken())


def applied(work: Any, frames: Any) -> None:
    shape = Shape(*frames.shape)
    made = work.output_shape(shape)
    region = Region(0, made.frames, 0, made.height, 0, made.width)
    work.apply(frames, read=work.read_region(region, shape), region=region, shape=shape)


def work_of(stage: str) -> None:
    ref = ModelRef("lama", "", "cpu")
    if stage == "interpolate":
        times = np.zeros(1, np.int32), np.full(1, 0.5, np.float32)
        applied(interpolate.InterpolatePass(ModelRef("rife-4.6", "", "cpu"), *times), FRAMES[..., :3])
    elif stage == "inpaint a clip":
        applied(clip_masks.InpaintPass(ref, (), 0), FRAMES)
    elif stage == "inpaint a photograph":
        inpaint.filled(FRAMES[0, ..., :3], np.ones((12, 16), np.float32), ref)
    else:
        name = "modnet-photographic" if stage == "alpha" else "bmv2-mobilenetv2"
        background = None if stage == "alpha" else FRAMES[1, ..., :3]
        found_alpha.found_in(FRAMES[0, ..., :3], ModelRef(name, "", "cpu"), background)


@pytest.mark.parametrize("stage", ["interpolate", "inpaint a clip", "inpaint a photograph", "alpha", "compared"])
def test_what_is_no_number_is_refused(stage: str) -> None:
    with pytest.raises(ModelOutputError, match=r"on cpu made values that are not finite.*models check"):
        work_of(stage)
