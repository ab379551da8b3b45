"""Stand-ins for classes that a checkpoint names and inference does not need: made without importing anything.

Frameworks for training keep their own objects beside the tensors. Their names are let through one by one, and what
stands for them takes whatever it is given and does nothing.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any, Self

DEFAULTDICT = "collections.defaultdict"
_ONE_AT_A_TIME = Lock()  # PyTorch keeps what it lets through for the whole process


class Inert:
    """Takes any arguments and any state, and keeps none of it."""

    def __new__(cls, *_: object, **__: object) -> Self:
        return object.__new__(cls)

    def __init__(self, *_: object, **__: object) -> None: ...

    def __setstate__(self, state: object) -> None: ...


def plain_dict(*_: object) -> dict[Any, Any]:
    """Stands for a dictionary of another kind: the reader fills no other class."""
    return {}


def stand_ins(names: Iterable[str]) -> list[tuple[Callable[..., Any], str]]:
    """Something harmless for each of the names ``module.class``."""
    return [(plain_dict if name == DEFAULTDICT else type(name, (Inert,), {}), name) for name in names]


@contextmanager
def let_through(names: tuple[str, ...]) -> Iterator[None]:
    """While it lasts, PyTorch's reader takes stand-ins for these names; all others stay refused."""
    if not names:
        yield
        return
    import torch

    with _ONE_AT_A_TIME, torch.serialization.safe_globals(stand_ins(names)):  # type: ignore[arg-type]
        yield
