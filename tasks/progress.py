"""What a stage tells whoever watches. The command line draws it; the ledger and the logs may listen too."""

from typing import Protocol


class Progress(Protocol):
    """Told of every stage's start, its chunks and its end. Called from several threads."""

    def expect(self, stages: int) -> None:
        """How many stages the run will go through in all."""
        ...

    def started(self, item: str, stage: str) -> None:
        """A stage begins; said a second time when one that began before its source was done goes on."""
        ...

    def advanced(self, item: str, stage: str, done: int, total: int) -> None: ...

    def finished(self, item: str, stage: str, *, seconds: float, cached: bool, skipped: str | None) -> None: ...

    def dropped(self, item: str, stages: int) -> None:
        """An item ended early; this many of its stages will not come."""
        ...

    def again(self, item: str, stages: int) -> None:
        """An item begins again; this many of its finished stages will come once more."""
        ...

    def noted(self, message: str) -> None:
        """Something about the run that its user should know."""
        ...


class Silent:
    """For callers that watch nothing."""

    def expect(self, stages: int) -> None: ...

    def started(self, item: str, stage: str) -> None: ...

    def advanced(self, item: str, stage: str, done: int, total: int) -> None: ...

    def finished(self, item: str, stage: str, *, seconds: float, cached: bool, skipped: str | None) -> None: ...

    def dropped(self, item: str, stages: int) -> None: ...

    def again(self, item: str, stages: int) -> None: ...

    def noted(self, message: str) -> None: ...
