"""What can go wrong with a model while it works, and which failures speak against the model itself.

ModelOutputError    model_output    it made values that are no numbers
ModelMemoryError    model_memory    it needed more memory than there was
"""

from datasets.errors import PermanentError
from model_blocks.weight_errors import (
    WeightsDamagedError,
    WeightsDigestError,
    WeightsKeysError,
    WeightsMissingError,
    WeightsUnsafeError,
)


class ModelOutputError(PermanentError):
    code = "model_output"


class ModelMemoryError(PermanentError):
    code = "model_memory"


FAULTS = (
    ModelOutputError,
    ModelMemoryError,
    WeightsMissingError,
    WeightsDigestError,
    WeightsDamagedError,
    WeightsUnsafeError,
    WeightsKeysError,
)
FAULT_CODES = tuple(kind.code for kind in FAULTS)
