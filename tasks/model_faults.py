"""Failures of the models that a stage runs, in one form: what ran is named, and a lack of memory has a code."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from datasets.errors import PipelineError
from model_blocks.model_errors import FAULTS, ModelMemoryError
from model_blocks.oom import is_out_of_memory


@contextmanager
def blaming(models: Sequence[str]) -> Iterator[None]:
    """While the block runs models, their failures say which these were.

    Raises:
        ModelMemoryError: Memory was lacking, of this machine or of its device.
    """
    try:
        yield
    except FAULTS as error:
        error.facts.setdefault("models", list(models))
        raise
    except PipelineError:
        raise
    except Exception as error:
        if not models or not is_out_of_memory(error):
            raise
        raise ModelMemoryError(
            f"{' and '.join(models)} needed more memory than there was; free some, lower STILLMOTION_MEMORY_LIMIT_MB, "
            "or choose another model",
            models=list(models),
        ) from error
