"""SAM 2.1 against its authors' outputs."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from model_blocks.sam2.memory import Sam2State
from model_blocks.sam2.pictures import as_image, frame_pixels, picture_pixels
from model_blocks.sam2.predictor import Sam2Predictor, open_sam2
from model_blocks.sam2.propagator import Sam2Propagator, Tracked, open_sam2_video
from tests.model_blocks.parity import Arrays, ParityRun, kept

Outputs = dict[str, np.ndarray[Any, Any]]
PROMPTS = ("point", "points", "box", "boxpoint")
ABSENCE = 4.0  # taken off the presence's bias, so that the object counts as absent
PATHS = {
    "sam2.1_hiera_small": "sam2.1-small",
    "sam2.1_hiera_base_plus": "sam2.1-base-plus",
    "sam2.1_hiera_large": "sam2.1-large",
}
Saving = Callable[[Sam2State], Sam2State]


def image_outputs(model: Sam2Predictor, inputs: Arrays) -> Outputs:
    """Every output of the picture path."""
    image = inputs["image_u8"]
    encoded = model.encode(image)
    features = encoded.features
    made: Outputs = {
        "pixels_sub": picture_pixels(as_image(image))[:, ::16, ::16].numpy(),
        "embed_sub": features.embedding[0, ::4, ::4, ::4].numpy(),
        "high0_sub": features.finest[0, ::4, ::16, ::16].numpy(),
        "high1_sub": features.finer[0, ::4, ::8, ::8].numpy(),
    }
    for prompt in PROMPTS:
        answer = model.predict(encoded, **prompt_of(inputs, prompt))
        made[f"{prompt}_iou"] = answer.ious.numpy()
        made[f"{prompt}_low_sub"] = answer.low_res[:, ::2, ::2].numpy()
        made[f"{prompt}_logits"] = answer.logits[answer.ious.argmax()].numpy()
        if prompt == "point":
            earlier = answer.low_res[answer.ious.argmax()][None]
    height, width = image.shape[:2]
    at = np.round([[0.6 * width, 0.6 * height]], 1).tolist()
    answer = model.predict(encoded, points=at, labels=[1], mask=earlier)
    made["maskin_iou"] = answer.ious.numpy()
    made["maskin_low_sub"] = answer.low_res[:, ::2, ::2].numpy()
    return made


def prompt_of(inputs: Arrays, prompt: str) -> dict[str, Any]:
    names = {"points": "point_coords", "labels": "point_labels", "box": "box"}
    given = {ours: inputs.get(f"p_{prompt}_{theirs}") for ours, theirs in names.items()}
    tensors = {name: None if value is None else torch.from_numpy(value) for name, value in given.items()}
    return {**tensors, "multimask": bool(inputs[f"p_{prompt}_multimask_output"])}


def followed(model: Sam2Propagator, frames: list[Tensor], begun: list[Tracked], saving: Saving) -> list[list[Tracked]]:
    """By frame, what is found of each object."""
    found = [begun]
    for frame in frames[1:]:
        found.append(model.track([saving(each.state) for each in found[-1]], frame))
    return found


def as_it_is(state: Sam2State) -> Sam2State:
    return state


def video_outputs(model: Sam2Propagator, inputs: Arrays, saving: Saving = as_it_is) -> Outputs:
    """Every output of the video path; ``saving`` is done to each state between two frames."""
    frames = [as_image(frame) for frame in inputs["frames_u8"]]
    count = len(frames)
    point, box = torch.from_numpy(inputs["vpoint"]), torch.from_numpy(inputs["vbox"])
    begun = [
        model.begin_pointing(frames[0], points=point, labels=[1], frames=count),
        model.begin_pointing(frames[0], box=box, frames=count),
    ]
    found = followed(model, frames, begun, saving)
    made: Outputs = {
        "vpixels_sub": np.stack([frame_pixels(frame)[:, ::32, ::32].numpy() for frame in frames[:2]]),
        "video_logits": np.stack([[each.logits.numpy() for each in both] for both in found]),
    }
    for number in (0, 1):
        made |= object_outputs(f"obj{number + 1}", [both[number] for both in found], 4)
    with absent(model):
        begun = [model.begin_pointing(frames[0], points=point, labels=[1], frames=count)]
        lost = followed(model, frames[:3], begun, saving)
    return made | object_outputs("occ", [only for (only,) in lost], 16)


def object_outputs(name: str, tracked: list[Tracked], step: int) -> Outputs:
    found = [each.found for each in tracked]
    return {
        f"{name}_score": np.stack([each.presence.numpy() for each in found]),
        f"{name}_ptr": np.stack([each.remembered.pointer.numpy() for each in found]),
        f"{name}_lowres_sub": np.stack([each.low_res[::step, ::step].numpy() for each in found]),
        f"{name}_mem_sub": np.stack([each.remembered.features[::8, ::8, ::8].float().numpy() for each in found]),
    }


class absent:
    """For as long, the network takes the object for absent."""

    def __init__(self, model: Sam2Propagator) -> None:
        self._bias = model.network.mask_decoder.pred_obj_score_head.proj_out.bias

    def __enter__(self) -> None:
        self._bias -= ABSENCE

    def __exit__(self, *_: object) -> None:
        self._bias += ABSENCE


def _run_image(name: str, path: Path, inputs: Arrays) -> Outputs:
    return image_outputs(open_sam2(name, path), inputs)


def _run_tiny(path: Path, inputs: Arrays) -> Outputs:
    made = image_outputs(open_sam2("sam2.1-tiny", path), inputs)
    return made | video_outputs(open_sam2_video("sam2.1-tiny-video", path), inputs)


def _run_saved(path: Path, inputs: Arrays) -> Outputs:
    model = open_sam2_video("sam2.1-tiny-video", path)
    made = image_outputs(open_sam2("sam2.1-tiny", path), inputs)
    return made | video_outputs(model, inputs, lambda state: model.restore(kept(state)))


SAVED = {"sam2.1_hiera_tiny": ParityRun("sam2.1-tiny, saved each frame", _run_saved)}
RUNS = {
    "sam2.1_hiera_tiny": ParityRun("sam2.1-tiny", _run_tiny),
    **{manifest: ParityRun(name, partial(_run_image, name)) for manifest, name in PATHS.items()},
}
