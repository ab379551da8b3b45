"""How much memory a model takes, measured: what the process holds before it is loaded and after."""

import ctypes
import gc
import sys
from collections.abc import Iterable, Mapping
from typing import Any

import psutil

CPU_SHARE = 0.5  # of the machine's memory, for the models of all its workers; the rest is for pictures
CUDA_SHARE = 0.7  # of the accelerator's
DEEPEST = 8  # attributes of attributes; networks are found long before


def held_bytes(device: str) -> int:
    """What this process holds of a device's memory now: resident memory, or what torch has allocated."""
    if device == "cpu":
        _give_back_freed()
        return psutil.Process().memory_info().rss
    import torch

    return torch.cuda.memory_allocated(device)


def default_limit(device: str, workers: int) -> int:
    """Bytes that the models of one of several workers may take where nobody said how many: a share of what is there."""
    if device == "cpu":
        return int(psutil.virtual_memory().total * CPU_SHARE / workers)
    import torch

    return int(torch.cuda.get_device_properties(device).total_memory * CUDA_SHARE / workers)


def free_caches() -> None:
    """Give back what nobody uses any more: cycles of objects, what allocators kept."""
    gc.collect()
    _give_back_freed()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def tensor_bytes(model: object) -> int:
    """Memory of the tensors that an object holds, each storage once.

    The least that it takes. Resident memory may grow by less: the C library hands out again what was freed before, and
    pages of a mapped file come when they are read.
    """
    if "torch" not in sys.modules:
        return 0
    from torch import Tensor

    storages: dict[int, int] = {}
    seen: set[int] = set()
    waiting: list[tuple[object, int]] = [(model, 0)]
    while waiting:
        found, depth = waiting.pop()
        if id(found) in seen or depth > DEEPEST:
            continue
        seen.add(id(found))
        if isinstance(found, Tensor):
            storage = found.untyped_storage()
            storages[storage.data_ptr()] = storage.nbytes()
        else:
            waiting += [(part, depth + 1) for part in _parts(found)]
    return sum(storages.values())


def _parts(found: object) -> Iterable[Any]:
    from torch.nn import Module

    if isinstance(found, Module):
        return [*found.parameters(), *found.buffers()]
    if isinstance(found, Mapping):
        return list(found.values())
    if isinstance(found, list | tuple):
        return found
    if isinstance(found, type) or callable(found):
        return ()
    return list(getattr(found, "__dict__", {}).values())


def _give_back_freed() -> None:
    """Have the C library return freed pages, so that resident memory says what is in use."""
    if sys.platform.startswith("linux"):
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's; others have none
        if trim is not None:
            trim(0)
