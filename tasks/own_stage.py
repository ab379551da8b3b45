"""Stages that other installed packages bring: a configuration with a function on frames, run as any chunk-local stage.

A package declares, in its ``pyproject.toml``::

    [project.entry-points."stillmotion.stages"]
    negative = "my_package.negative:NegativeConfig"

and has there::

    class NegativeConfig(OwnStageConfig):
        stage: Literal["negative"] = "negative"
        strength: float = Field(default=1.0, ge=0, le=1)
        halo_pixels: ClassVar[int] = 0

        def work(self, frames):
            ...

It is then a stage of recipes, as ``{"stage": "negative", "strength": 0.5}``, for photographs and for clips.
"""

from dataclasses import dataclass
from functools import cache
from importlib.metadata import version as installed
from typing import ClassVar

from datasets.frame_spec import Pixels
from model_blocks.own import STAGES, broken, brought, load
from tasks.config import StageConfig
from tasks.ops.geometry import Shape
from tasks.passes import ChunkPass, LocalPass
from tasks.stage import StageKey


class OwnStageConfig(StageConfig):
    """Base of the configuration of a stage that comes with another package. What a subclass says of itself:

    Attributes:
        stage: A ``Literal``, the name of the stage, the same as its entry point's.
        version: Raised whenever the same input gives other pixels.
        halo_pixels: Input pixels on each side that an output pixel depends on.
        halo_frames: Frames on each side.
        scale: Output pixels per input pixel along a side, a whole number.
        memory_factor: Working bytes per output value.
    """

    stage: str
    version: ClassVar[int] = 1
    halo_pixels: ClassVar[int] = 0
    halo_frames: ClassVar[int] = 0
    scale: ClassVar[int] = 1
    memory_factor: ClassVar[float] = 16.0

    def work(self, frames: Pixels) -> Pixels:
        """The stage's function; it sees tiles and chunks, with their halos, and travels to workers.

        Args:
            frames: (T, H, W, C), sRGB, uint8 or uint16, straight alpha last where there is one.

        Returns:
            (T, scale*H, scale*W, C), same dtype.
        """
        raise NotImplementedError


@dataclass(frozen=True)
class OwnStage:
    """A stage of another package as a chunk-local stage."""

    config: OwnStageConfig

    @property
    def name(self) -> str:
        return self.config.stage

    @property
    def resources(self) -> dict[str, float]:
        return {}

    def key(self, source_fingerprint: str) -> StageKey:
        """The key; the package counts by its name and version beside the stage's own."""
        config, point = self.config, brought(STAGES)[self.config.stage]
        libraries = {point.dist.name: installed(point.dist.name)} if point.dist is not None else {}
        inputs = (("output", source_fingerprint),)
        return StageKey(config.stage, config.version, config.parameters(), inputs, libraries=libraries)

    def passes(self, shape: Shape) -> tuple[ChunkPass, ...]:
        config = self.config
        return (
            LocalPass(
                config.work,
                halo_pixels=config.halo_pixels,
                halo_frames=config.halo_frames,
                scale=config.scale,
                memory_factor=config.memory_factor,
            ),
        )


@cache
def own_stage(name: str) -> type[OwnStageConfig] | None:
    """The configuration of a stage that another package brings; None if none does.

    Raises:
        OwnBrokenError: One does, and it cannot be loaded or is no configuration of that stage.
    """
    point = brought(STAGES).get(name)
    if point is None:
        return None
    found = load(point)
    if not (isinstance(found, type) and issubclass(found, OwnStageConfig)):
        raise broken(point, f"expected a subclass of OwnStageConfig, got {found!r:.200}")
    if found.model_fields["stage"].default != name:
        raise broken(point, f"its stage is called {found.model_fields['stage'].default!r}")
    return found
