"""A model whose output is no numbers has failed, whatever it was given."""

from model_blocks import runtime
from model_blocks.model_errors import ModelOutputError


def refuse_not_finite(finite: bool, model: str, device: str) -> None:
    """What is no number must not become a pixel. A sum tells: one value that is not finite makes it so.

    Raises:
        ModelOutputError: Not all values were finite; the shelf's events say so.
    """
    if finite:
        return
    runtime.SHELF.note("not_finite", model, device, "its output has values that are not finite")
    raise ModelOutputError(
        f"{model} on {device} made values that are not finite; compare its weights with `stillmotion models check "
        f"{model}`, or choose another model",
        model=model,
        device=device,
    )
