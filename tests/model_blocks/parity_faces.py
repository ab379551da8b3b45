"""Face restoration against its authors' outputs."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from model_blocks.codeformer import CodeformerRestorer, open_codeformer
from model_blocks.gfpgan import GfpganRestorer, open_gfpgan
from tests.model_blocks.parity import Arrays, ParityRun

Outputs = dict[str, np.ndarray[Any, Any]]
FIDELITIES = ("0", "0.5", "1")


def as_faces(inputs: Arrays) -> Tensor:
    return torch.from_numpy(inputs["face_rgb_u8"].astype(np.float32) / 255).permute(2, 0, 1)[None]


def views(prefix: str, made: Tensor) -> Outputs:
    """What the reference keeps of a network's picture of -1..1."""
    values = made[0].float().numpy()
    return {f"{prefix}_sub": values[:, ::4, ::4], f"{prefix}_crop": values[:, 101:197, 203:331]}


def as_pixels(restored: Tensor) -> np.ndarray[Any, Any]:
    pixels = np.rint(restored[0].permute(1, 2, 0).numpy() * 255).astype(np.uint8)
    return np.ascontiguousarray(pixels[::3, ::3])


def gfpgan_outputs(model: GfpganRestorer, inputs: Arrays) -> Outputs:
    with seen(model.network) as pictures:
        restored = model.restore(as_faces(inputs))
    return views("net", pictures[0][0]) | {"net_u8": as_pixels(restored)}


def codeformer_outputs(model: CodeformerRestorer, inputs: Arrays, fidelities: tuple[str, ...] = FIDELITIES) -> Outputs:
    made: Outputs = {}
    for fidelity in fidelities:
        encoder = model.network.get_submodule("encoder.blocks")[-1]  # type: ignore[index]
        with seen(model.network) as pictures, seen(encoder) as features:
            restored = model.restore(as_faces(inputs), float(fidelity))
        picture, logits = pictures[0]
        made |= views(f"w{fidelity}", picture)
        made |= {"w0.5_u8": as_pixels(restored)} if fidelity == "0.5" else {}
        made |= {
            "code_idx": logits[0].argmax(dim=1).numpy().astype(np.uint16),
            "logits_sub": logits[0, ::4, ::16].float().numpy(),
            "lq_feat_sub": features[0][0, ::4, ::2, ::2].float().numpy(),
        }
    return made


class seen:
    """What a module gives while the block lasts."""

    def __init__(self, module: nn.Module) -> None:
        self._module, self._made = module, list[Any]()

    def __enter__(self) -> list[Any]:
        self._hook = self._module.register_forward_hook(lambda _, __, made: self._made.append(made))
        return self._made

    def __exit__(self, *_: object) -> None:
        self._hook.remove()


def _run_gfpgan(path: Path, inputs: Arrays) -> Outputs:
    return gfpgan_outputs(open_gfpgan("gfpgan-1.4", path), inputs)


def _run_codeformer(path: Path, inputs: Arrays) -> Outputs:
    return codeformer_outputs(open_codeformer("codeformer", path), inputs)


RUNS: dict[str, ParityRun] = {
    "GFPGANv1.4": ParityRun("gfpgan-1.4", _run_gfpgan),
    "codeformer": ParityRun("codeformer", _run_codeformer),
}
