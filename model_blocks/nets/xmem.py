"""XMem's network: what a frame looks like, what is worth remembering of an object, and where it is.

Source: Cheng, Schwing 2022, XMem: Long-Term Video Object Segmentation with an Atkinson-Shiffrin Memory Model.
Parameters carry the names of the authors' file, so that it loads as it is. The memory itself is no part of the network.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model_blocks.nets.xmem_blocks import (
    BasicBlock,
    Bottleneck,
    Fusion,
    Gated,
    GatedAtAllScales,
    Upsampling,
    stage,
)

STRIDE = 16  # pixels of the picture per element of the memory
KEY, VALUE, HIDDEN = 64, 512, 64  # channels
F16, F8, F4 = 1024, 512, 256  # channels of the picture's features


class Seen(NamedTuple):
    """A frame as the network sees it, all for a batch of one and h, w a sixteenth of its size.

    Attributes:
        key: (1, 64, h, w), what memory is looked up by.
        shrinkage: (1, 1, h, w), at least 1: how sharply an element is remembered.
        selection: (1, 64, h, w), 0..1: which channels of the key count when it is looked for.
        f16: (1, 1024, h, w) features.
        f8: (1, 512, 2h, 2w) features.
        f4: (1, 256, 4h, 4w) features.
    """

    key: Tensor
    shrinkage: Tensor
    selection: Tensor
    f16: Tensor
    f8: Tensor
    f4: Tensor


class _Stem(nn.Module):
    """The beginning of a ResNet, to a quarter of the size."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 64, 7, 2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)

    def begun(self, x: Tensor) -> Tensor:
        return F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, padding=1)


class _KeyEncoder(_Stem):
    def __init__(self) -> None:
        super().__init__(3)
        self.res2 = stage(Bottleneck, 64, 64, 3, 1)
        self.layer2 = stage(Bottleneck, 256, 128, 4, 2)
        self.layer3 = stage(Bottleneck, 512, 256, 6, 2)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        f4 = self.res2(self.begun(image))
        f8 = self.layer2(f4)
        return self.layer3(f8), f8, f4


class _KeyProjection(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.key_proj = nn.Conv2d(F16, KEY, 3, padding=1)
        self.d_proj = nn.Conv2d(F16, 1, 3, padding=1)
        self.e_proj = nn.Conv2d(F16, KEY, 3, padding=1)

    def forward(self, f16: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.key_proj(f16), self.d_proj(f16).square() + 1, torch.sigmoid(self.e_proj(f16))


class _ValueEncoder(_Stem):
    def __init__(self) -> None:
        super().__init__(3 + 2)  # the picture, the object's mask, that of all others
        self.layer1 = stage(BasicBlock, 64, 64, 2, 1)
        self.layer2 = stage(BasicBlock, 64, 128, 2, 2)
        self.layer3 = stage(BasicBlock, 128, 256, 2, 2)
        self.fuser = Fusion(F16, 256, VALUE)
        self.hidden_reinforce = Gated(VALUE, HIDDEN)

    def forward(self, pictures: Tensor, f16: Tensor) -> Tensor:
        made: Tensor = self.fuser(f16, self.layer3(self.layer2(self.layer1(self.begun(pictures)))))
        return made


class _Decoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fuser = Fusion(F16, VALUE + HIDDEN, 512)
        self.hidden_update = GatedAtAllScales((512, 256, 256 + 1), 256, HIDDEN)
        self.up_16_8 = Upsampling(F8, 512, 256)
        self.up_8_4 = Upsampling(F4, 256, 256)
        self.pred = nn.Conv2d(256, 1, 3, padding=1)

    def forward(self, seen: Seen, read: Tensor, hidden: Tensor, update: bool) -> tuple[Tensor, Tensor]:
        g16 = self.fuser(seen.f16, torch.cat((read, hidden), dim=1))
        g8 = self.up_16_8(seen.f8, g16)
        g4 = self.up_8_4(seen.f4, g8)
        logits = self.pred(F.relu(g4))
        if update:
            hidden = self.hidden_update.update(g16, g8, torch.cat((g4, logits), dim=1), hidden)
        return F.interpolate(logits, scale_factor=4, mode="bilinear", align_corners=False), hidden


class XMemNet(nn.Module):
    """The three parts that inference calls: ``encode_key``, ``encode_value``, ``segment``.

    Pictures are (1, 3, H, W), normalised, H and W multiples of 16; K objects stand along the batch axis.
    """

    def __init__(self) -> None:
        super().__init__()
        self.key_encoder = _KeyEncoder()
        self.value_encoder = _ValueEncoder()
        self.key_proj = _KeyProjection()
        self.decoder = _Decoder()

    def encode_key(self, image: Tensor) -> Seen:
        """A frame (1, 3, H, W) as the network sees it."""
        f16, f8, f4 = self.key_encoder(image)
        key, shrinkage, selection = self.key_proj(f16)
        return Seen(key, shrinkage, selection, f16, f8, f4)

    def encode_value(
        self, image: Tensor, f16: Tensor, hidden: Tensor, masks: Tensor, *, reinforce: bool
    ) -> tuple[Tensor, Tensor]:
        """What is worth remembering of K objects.

        Args:
            image: (1, 3, H, W).
            f16: Of the same frame.
            hidden: (K, 64, h, w), the sensory memory.
            masks: (K, H, W), 0..1.
            reinforce: Whether the sensory memory learns from it; otherwise it comes back as it is.

        Returns:
            Values (K, 512, h, w) and the sensory memory.
        """
        others = masks.sum(dim=0, keepdim=True) - masks if masks.shape[0] > 1 else torch.zeros_like(masks)
        shared = image.expand(masks.shape[0], -1, -1, -1)
        value = self.value_encoder(torch.cat((shared, masks[:, None], others[:, None]), dim=1), f16)
        return value, self.value_encoder.hidden_reinforce(value, hidden) if reinforce else hidden

    def segment(self, seen: Seen, read: Tensor, hidden: Tensor, *, update: bool) -> tuple[Tensor, Tensor]:
        """Where K objects are.

        Args:
            seen: The frame.
            read: (K, 512, h, w), what memory holds for it.
            hidden: (K, 64, h, w), the sensory memory.
            update: Whether the sensory memory follows; otherwise it comes back as it is.

        Returns:
            Logits (K, H, W) and the sensory memory.
        """
        logits, hidden = self.decoder(seen, read, hidden, update)
        return logits[:, 0], hidden
