"""Which failures speak against this machine: where they pile up, nothing more is bought that could not be used here."""

import errno

from datasets.errors import DiskTooSmallError, NoResourceError, StorageUnavailableError, WorkerLostError
from model_blocks.oom import is_out_of_memory

# PlanTooLargeError is not among them: one picture is too large, and the next one may well fit.
HERE = (WorkerLostError, DiskTooSmallError, StorageUnavailableError, NoResourceError)
SYSTEM = (errno.ENOMEM, errno.ENOSPC, errno.EDQUOT, errno.EMFILE)
OPENCV_NO_MEMORY = -4  # cv::Error::StsNoMem


def is_local(error: BaseException | None) -> bool:
    """Whether memory, disk, workers or devices of this machine failed, as itself or as what an error came from."""
    while error is not None:
        if isinstance(error, HERE) or _is_system(error) or _is_library(error):
            return True
        error = error.__cause__
    return False


def _is_system(error: BaseException) -> bool:
    return isinstance(error, OSError) and error.errno in SYSTEM


def _is_library(error: BaseException) -> bool:
    if is_out_of_memory(error):
        return True
    return type(error).__module__ == "cv2" and getattr(error, "code", None) == OPENCV_NO_MEMORY
