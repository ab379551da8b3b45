"""Grade: white balance, exposure, saturation, look-up table, noise and sharpness; off unless asked for."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from datasets.errors import NotFoundError, RecipeError
from datasets.frames import FrameReader
from datasets.identity import digest_bytes
from datasets.outputs import OutputPlace
from tasks.config import StageConfig
from tasks.context import current_run
from tasks.ops.geometry import Shape
from tasks.ops.grade import GradeConfig as GradeSettings
from tasks.ops.grade import grade_frames
from tasks.ops.lut import CubeLut, parse_cube
from tasks.ops.statistics import ToneStatistics, measure
from tasks.passes import ChunkPass, LocalPass
from tasks.stage import Picture, StageKey

VERSION = 1
MEMORY_FACTOR = 40.0  # float32 copies in linear light, luma and the filter's rows


class GradeConfig(GradeSettings, StageConfig):
    """Correct tones and colours. Everything is off by default."""

    stage: Literal["grade"] = "grade"


@dataclass(frozen=True)
class GradeStage:
    """The grade stage with its look-up table and, where it measures the picture's tones first, the picture."""

    config: GradeConfig
    lut: CubeLut | None = None
    lut_digest: str | None = None
    measured: Picture | None = None
    name: str = "grade"

    @property
    def resources(self) -> dict[str, float]:
        return {}

    def key(self, source_fingerprint: str) -> StageKey:
        parameters = {name: value for name, value in self.config.parameters().items() if name != "lut"}
        inputs = [("output", source_fingerprint)]
        if self.lut_digest:
            inputs.append(("file", self.lut_digest))
        return StageKey("grade", VERSION, parameters, tuple(inputs))

    def passes(self, shape: Shape) -> tuple[ChunkPass, ...]:
        statistics = measure_tones(self.measured) if self.measured else None
        function = partial(grade_frames, config=self.config, statistics=statistics, lut=self.lut)
        return (LocalPass(function, halo_pixels=self.config.halo_pixels, memory_factor=MEMORY_FACTOR),)


def prepare_grade(config: GradeConfig, source: Picture) -> GradeStage:
    """Read and parse the look-up table, if there is one; note the picture to be measured, if that is asked for.

    Raises:
        NotFoundError: The file is not there.
        RecipeError: It is not a valid .cube file; the message names the line.
    """
    measured = source if config.needs_statistics else None
    if config.lut is None:
        return GradeStage(config, measured=measured)
    try:
        data = Path(config.lut).read_bytes()
    except OSError as error:
        raise NotFoundError(f"the look-up table {config.lut!r} cannot be read; check the path") from error
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise RecipeError(f"{config.lut!r} is not a .cube text file") from error
    return GradeStage(config, parse_cube(text), digest_bytes(data), measured)


def measure_tones(source: Picture) -> ToneStatistics:
    """The tones of a whole picture, counted chunk by chunk on the workers. The sum does not depend on the chunks."""
    run = current_run()
    place = OutputPlace(run.storage, source.frames)
    spec = FrameReader(place).spec
    tasks = [(place, spec.box(index)) for index in spec.indices()]
    counted = [tones for _, tones in run.executor.run(_measure_chunk, tasks)]
    total = counted[0]
    for tones in counted[1:]:
        total = total + tones
    return total


def _measure_chunk(task: tuple[OutputPlace, tuple[slice, slice, slice]]) -> ToneStatistics:
    place, box = task
    return measure(FrameReader(place).read(box))
