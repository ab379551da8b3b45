"""What SAM 2 sees of a picture: the whole of it squashed to a square, normalised as the authors do.

Pictures and frames are resized differently, as in their code: pictures in float with a bilinear filter, frames as bytes
with Pillow's bicubic one.
"""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from datasets.errors import FrameShapeError
from model_blocks.sam2.configs import SIDE

MEAN = (0.485, 0.456, 0.406)  # of ImageNet, RGB
STD = (0.229, 0.224, 0.225)


def as_image(image: Tensor | NDArray[Any]) -> Tensor:
    """A picture as a tensor (3, H, W), float32, 0..1.

    Args:
        image: RGB: an array (H, W, 3) or a tensor (3, H, W), uint8 0..255 or float 0..1.

    Raises:
        FrameShapeError: It has another shape.
    """
    tensor = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1) if _is_colour_array(image) else image
    if not isinstance(tensor, Tensor) or tensor.ndim != 3 or tensor.shape[0] != 3 or not tensor.numel():
        raise FrameShapeError(
            f"expected an RGB picture, an array (H, W, 3) or a tensor (3, H, W), got {tuple(image.shape)}",
            shape=list(image.shape),
        )
    return tensor.float() / 255 if tensor.dtype == torch.uint8 else tensor.float()


def _is_colour_array(image: Tensor | NDArray[Any]) -> bool:
    return isinstance(image, np.ndarray) and image.ndim == 3 and image.shape[2] == 3


def picture_pixels(image: Tensor) -> Tensor:
    """The network's input (3, 1024, 1024) for a picture (3, H, W), float32, 0..1."""
    return _normalised(
        F.interpolate(image[None], (SIDE, SIDE), mode="bilinear", align_corners=False, antialias=True)[0]
    )


def frame_pixels(image: Tensor) -> Tensor:
    """The network's input (3, 1024, 1024) for a frame (3, H, W), float32, 0..1, rounded to bytes first."""
    pixels = (image.cpu().clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    square = Image.fromarray(np.ascontiguousarray(pixels)).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    return _normalised(torch.from_numpy(np.array(square)).permute(2, 0, 1).float() / 255)


def _normalised(image: Tensor) -> Tensor:
    mean = torch.tensor(MEAN, device=image.device).view(3, 1, 1)
    std = torch.tensor(STD, device=image.device).view(3, 1, 1)
    return (image - mean) / std
