"""A model whose output is no numbers has failed, whatever it was given."""

from typing import TYPE_CHECKING

from datasets.errors import PermanentError
from model_blocks import runtime

if TYPE_CHECKING:
    from torch import Tensor


class ModelOutputError(PermanentError):
    code = "model_output"


def refuse_not_finite(values: "Tensor", model: str, device: str) -> "Tensor":
    """The values as they are.

    Raises:
        ModelOutputError: Some are NaN or infinite; the shelf's events say so.
    """
    if not bool(values.isfinite().all()):
        runtime.SHELF.note("not_finite", model, device, "its output has values that are not finite")
        raise ModelOutputError(
            f"{model} on {device} made values that are not finite; compare its weights with `stillmotion models check "
            f"{model}`, or choose another model",
            model=model,
            device=device,
        )
    return values
