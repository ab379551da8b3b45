"""An adapter that tints: the same words, style and seed always give the same colour. For trying a workflow."""

from dataclasses import dataclass
from hashlib import sha256
from typing import Literal

import numpy as np

from model_blocks.adapters.frames_adapter import AdapterDeclaration, Frames, FramesRequest, Report, unheard

STRENGTH = 0.4  # share of the tint in what is seen


class MockDeclaration(AdapterDeclaration):
    """The tint; it needs nothing from outside."""

    kind: Literal["mock"] = "mock"
    name: str = "mock"
    version: str = "1"


@dataclass(frozen=True)
class MockAdapter:
    """Tints frames."""

    declaration: MockDeclaration

    def restyle(self, frames: Frames, request: FramesRequest, report: Report = unheard) -> Frames:
        top = np.float32(np.iinfo(frames.dtype).max)
        colour = np.asarray(tint(request), np.float32) * (top * np.float32(STRENGTH))
        made = np.stack([np.rint(frame * np.float32(1 - STRENGTH) + colour) for frame in frames])
        report(100)
        return made.astype(frames.dtype)

    def ping(self) -> str:
        return "ready"


def tint(request: FramesRequest) -> tuple[float, float, float]:
    """The colour of a request in sRGB, 0..1: the first three bytes of a digest of its words, style and seed."""
    digest = sha256(f"{request.prompt}\0{request.style}\0{request.seed}".encode()).digest()
    return digest[0] / 255, digest[1] / 255, digest[2] / 255
