"""How XMem's memory is kept."""

from dataclasses import dataclass

from datasets.errors import UsageError


@dataclass(frozen=True)
class MemorySettings:
    """The authors' values unless others are given. A frame of memory is one element per 16x16 pixels.

    Attributes:
        every: Frames from one that is remembered to the next.
        reinforce_every: Frames from one reinforcement of the sensory memory to the next; None: with every remembered
            frame.
        top_k: Elements that a place of the picture is looked up in.
        long_term: Whether old working memory is consolidated; otherwise it grows without end.
        most_frames: Frames of working memory at which it is consolidated.
        least_frames: Frames of working memory that stay, the first one among them.
        prototypes: Elements of long-term memory made at a time.
        most_elements: Elements of long-term memory; the least used ones make room.

    Raises:
        UsageError: Limits that leave nothing to consolidate or no room for it.
    """

    every: int = 5
    reinforce_every: int | None = None
    top_k: int = 30
    long_term: bool = True
    most_frames: int = 10
    least_frames: int = 5
    prototypes: int = 128
    most_elements: int = 10_000

    def __post_init__(self) -> None:
        if min(self.every, self.reinforce_every or 1, self.top_k, self.prototypes) < 1:
            raise UsageError("expected a memory that is kept and read: every, top_k and prototypes are at least 1")
        if not 1 <= self.least_frames < self.most_frames:
            raise UsageError(
                f"expected 1 <= least_frames < most_frames, got {self.least_frames} and {self.most_frames}",
                least_frames=self.least_frames,
                most_frames=self.most_frames,
            )
        if self.prototypes > self.most_elements:
            raise UsageError(
                f"expected room for {self.prototypes} prototypes, got most_elements {self.most_elements}",
                prototypes=self.prototypes,
                most_elements=self.most_elements,
            )
