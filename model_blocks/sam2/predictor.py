"""SAM 2.1 on pictures: masks for points, boxes and masks, and the salient object by itself."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from model_blocks.capabilities import Segmentation
from model_blocks.embedded.segment import find_object
from model_blocks.facts import Precision
from model_blocks.registry import find_model
from model_blocks.sam2.configs import SIZES, Network, image_network
from model_blocks.sam2.network import Features, computing, decode, encode_image, opened
from model_blocks.sam2.pictures import as_image, picture_pixels
from model_blocks.sam2.prompts import Box, Labels, Points, prompt_at

LIMIT = 32.0  # of low-resolution logits that are handed out, by the authors


@dataclass(frozen=True)
class EncodedImage:
    """A picture, encoded once for many prompts.

    Attributes:
        features: On the model's device.
        size: (H, W) of the picture.
    """

    features: Features
    size: tuple[int, int]


@dataclass(frozen=True)
class Sam2Masks:
    """The answer to a prompt, float32, on the CPU.

    Attributes:
        logits: (M, H, W); above 0 belongs to the object.
        ious: (M,), 0..1, what the network thinks of each mask.
        low_res: (M, 256, 256), logits within ±32, to be given with the next prompt.
    """

    logits: Tensor
    ious: Tensor
    low_res: Tensor


class Sam2Predictor:
    """Masks for what is pointed at, in any picture. A Segmenter, too: it then points at what stands out.

    Args:
        network: With its weights, on its device.
        device: Where that is.
        precision: What products are taken in; results are float32.
    """

    working_side = 2048  # masks come from 256 pixels a side: more of the picture would change nothing

    def __init__(self, network: Network, *, device: str = "cpu", precision: Precision = "float32") -> None:
        self.network = network
        self._device = device
        self._precision = precision

    def encode(self, image: Tensor | NDArray[Any]) -> EncodedImage:
        """A picture: an array (H, W, 3) or a tensor (3, H, W), RGB, uint8 0..255 or float 0..1.

        Raises:
            FrameShapeError: It has another shape.
        """
        picture = as_image(image)
        with computing(self._device, self._precision):
            features = encode_image(self.network, picture_pixels(picture.to(self._device)))
            embedding = features.embedding + self.network.no_memory_embedding.view(1, -1, 1, 1)
        return EncodedImage(replace(features, embedding=embedding), (picture.shape[1], picture.shape[2]))

    def predict(
        self,
        encoded: EncodedImage,
        *,
        points: Points | None = None,
        labels: Labels | None = None,
        box: Box | None = None,
        mask: Tensor | None = None,
        multimask: bool = False,
    ) -> Sam2Masks:
        """Masks for a prompt; see ``prompt_at`` for what can be given.

        Args:
            encoded: The picture.
            points: (N, 2), x and y in its pixels.
            labels: One for each point: 1 on the object, 0 beside it.
            box: Left, top, right, bottom in its pixels.
            mask: (1, 256, 256), one of an earlier answer's ``low_res``.
            multimask: Answer with three masks, for prompts that may mean a part or the whole.

        Raises:
            UsageError: Nothing is pointed at, or something has another shape.
        """
        prompt = prompt_at(encoded.size, points=points, labels=labels, box=box, mask=mask)
        with computing(self._device, self._precision):
            decoded = decode(self.network, encoded.features, prompt, multimask=multimask)
            full = F.interpolate(decoded.masks[None], encoded.size, mode="bilinear", align_corners=False)[0]
        return Sam2Masks(full.cpu(), decoded.ious.cpu(), decoded.masks.clamp(-LIMIT, LIMIT).cpu())

    def segment(self, images: Tensor) -> Segmentation:
        """The salient object of pictures (N, 3, H, W): found by what stands out, its outline by the network.

        The confidence is the lesser of the two's: that there is an object, and that the mask is the object's.
        """
        found = [self._segment_one(image) for image in images.float().clamp(0, 1)]
        probability = torch.stack([probability for probability, _ in found]).to(images.device)
        return Segmentation(probability, tuple(confidence for _, confidence in found))

    def _segment_one(self, image: Tensor) -> tuple[Tensor, float]:
        box, confidence = salient_box(image)
        if box is None:
            return torch.zeros(1, *image.shape[1:]), 0.0
        made = self.predict(self.encode(image), box=box)
        return made.logits.sigmoid(), min(confidence, float(made.ious[0]))


def salient_box(image: Tensor) -> tuple[tuple[float, float, float, float] | None, float]:
    """Left, top, right, bottom around what stands out in a picture (3, H, W), and how sure that is; None if nothing."""
    pixels = np.ascontiguousarray(image.permute(1, 2, 0).cpu().numpy())
    mask, _, confidence = find_object(pixels)
    if not mask.any() or confidence <= 0:
        return None, 0.0
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    down, across = pixels.shape[0] / mask.shape[0], pixels.shape[1] / mask.shape[1]
    box = (columns[0] * across, rows[0] * down, (columns[-1] + 1) * across, (rows[-1] + 1) * down)
    return tuple(float(side) for side in box), confidence  # type: ignore[return-value]


def open_sam2(
    name: str,
    path: str | Path,
    *,
    sha256: str | None = None,
    device: str = "cpu",
    precision: Precision = "float32",
) -> Sam2Predictor:
    """A registered SAM 2.1 model for pictures from a file of its authors.

    Args:
        name: As in the registry.
        path: The authors' file.
        sha256: What its bytes must hash to; None takes any.
        device: Where it runs.
        precision: What products are taken in.

    Raises:
        ModelUnknownError: Nothing of that name is registered for pictures.
        WeightsMissingError, WeightsDigestError, WeightsDamagedError, WeightsUnsafeError: As ``read_state`` does.
        WeightsKeysError: The file holds something else.
    """
    facts = find_model(name, "segment")
    network = image_network(SIZES[name.removeprefix("sam2.1-")])
    return Sam2Predictor(opened(network, facts, path, sha256, device), device=device, precision=precision)
