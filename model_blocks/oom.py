"""Out of memory is an answer: the same work is done again under a smaller plan, and what worked is remembered."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

from model_blocks import runtime
from model_blocks.residency import free_caches

Plan = TypeVar("Plan")
Made = TypeVar("Made")
TORCH_NO_MEMORY = "OutOfMemoryError"  # by its name: importing torch takes seconds
SAID_SO = (
    "out of memory",  # CUDA and cuBLAS
    "not enough memory",  # torch's allocator on the CPU
    "can't allocate memory",
    "cannot allocate memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
)
REMEMBERED = 1024  # works whose plan is kept


class Work(NamedTuple):
    """What a plan is remembered for: a model, where it runs, and the shape of what it is given."""

    model: str
    device: str
    shape: tuple[int, ...]


_WORKED: OrderedDict[Work, object] = OrderedDict()
_LOCK = threading.Lock()


def with_smaller_plans(run: Callable[[Plan], Made], plans: Sequence[Plan], work: Work) -> Made:
    """Do a piece of work by the first plan for which memory suffices.

    Every plan does the whole work: nothing of one that failed is kept. Work that needed a smaller plan begins with that
    one the next time in this process.

    Args:
        run: Does the work by a plan.
        plans: The largest first, at least one. They all must make the same.
        work: What the outcome is remembered for.

    Raises:
        MemoryError, RuntimeError: Memory did not suffice for the smallest plan either; the shelf's events say so.
    """
    first = _first(plans, work)
    for position in range(first, len(plans) - 1):
        try:
            made = run(plans[position])
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            told = f"{type(error).__name__} under {plans[position]}"
        else:
            _remember(plans, position, work)
            return made
        _make_room(work, told)  # here, where the error and what its frames hold are gone
    return _last(run, plans, work)


def _last(run: Callable[[Plan], Made], plans: Sequence[Plan], work: Work) -> Made:
    try:
        made = run(plans[-1])
    except (MemoryError, RuntimeError) as error:
        if is_out_of_memory(error):
            runtime.SHELF.note(
                "gave_up", work.model, work.device, f"out of memory under {plans[-1]}, the smallest plan"
            )
        raise
    _remember(plans, len(plans) - 1, work)
    return made


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on the machine or on an accelerator."""
    if isinstance(error, MemoryError) or type(error).__name__ == TORCH_NO_MEMORY:
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in SAID_SO)


def forget_plans() -> None:
    """Begin with the largest plans again."""
    with _LOCK:
        _WORKED.clear()


def halvings(count: int, smallest: int = 1) -> list[int]:
    """``count`` and its halves, rounded up, down to ``smallest``."""
    sizes = [count]
    while sizes[-1] > smallest:
        sizes.append(max(smallest, -(-sizes[-1] // 2)))
    return sizes


def _first(plans: Sequence[Plan], work: Work) -> int:
    with _LOCK:
        known = _WORKED.get(work)
    return plans.index(known) if known in plans else 0


def _remember(plans: Sequence[Plan], position: int, work: Work) -> None:
    if position == 0:
        return
    with _LOCK:
        _WORKED[work] = plans[position]
        _WORKED.move_to_end(work)
        while len(_WORKED) > REMEMBERED:
            _WORKED.popitem(last=False)


def _make_room(work: Work, told: str) -> None:
    runtime.SHELF.note("out_of_memory", work.model, work.device, told)
    runtime.SHELF.release(work.device)
    free_caches()
