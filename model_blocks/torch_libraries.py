"""Importing the libraries that hold networks: quietly, offline, and beside any build of torch.

transformers and spandrel import torchvision, and torchvision's ordinary build registers operators that need the same
kind of build of torch: beside one for the CPU alone its import ends in ``operator torchvision::nms does not exist``.
None of the networks used here calls those operators, so they are declared, without code, where they are missing.
"""

import os
import sys
from functools import cache

OPERATORS = ("nms", "qnms")
SIGNATURE = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


@cache
def prepare() -> None:
    """Call before importing torchvision, transformers or spandrel: they ask no server and tell none."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    try:
        import torchvision  # noqa: F401 - only whether it can be imported
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]  # half of it is there
        _declare_operators()


def _declare_operators() -> None:
    import torch

    for name in OPERATORS:
        torch.library.define(f"torchvision::{name}", SIGNATURE)
