"""Faces: find the faces of a picture or of every frame, restore each of them, paste what changed back in."""

from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from datasets.frame_spec import Pixels, still_spec
from datasets.frames import FrameReader
from datasets.notices import Notice
from datasets.outputs import OutputPlace
from model_blocks.capabilities import Face
from model_blocks.choice import ModelRef, gpu_of
from model_blocks.finite import refuse_not_finite
from model_blocks.runtime import face_detector, face_restorer
from tasks.chunks import run_chunks
from tasks.config import StageConfig
from tasks.context import current_run
from tasks.executor import peak_memory_bytes
from tasks.ops.geometry import Region, Shape
from tasks.passes import ChunkPass
from tasks.plan import refuse_memory
from tasks.prefect_stage import stage_task
from tasks.stage import Picture, StageKey, StageOutcome, StageWork, open_frames, run_stage

VERSION = 1
BLEND_BYTES = 80  # per pixel of a face's box: crops, change, mask and sums in float32, counted


class FacesConfig(StageConfig):
    """Restore the faces of a picture, or of every frame of a clip by itself."""

    stage: Literal["faces"] = "faces"
    fidelity: float = Field(
        default=0.5, ge=0, le=1, description="1 keeps near the original, 0 trusts the model; for models that have it."
    )
    smallest: int = Field(
        default=32, ge=8, le=4096, description="Faces whose shorter side has fewer pixels are left alone."
    )

    def wants(self, face: Face) -> bool:
        """Whether a face is large enough to be restored."""
        return min(face.box[2:]) >= self.smallest


@dataclass(frozen=True)
class FacesPass:
    """Restores faces: those that are known of a picture, or those that are found in every frame.

    A face is restored from its own pixels of the original, whatever is asked for, so blocks do not show.

    Attributes:
        found: The faces of a photograph; None: every frame is searched.
    """

    detector: ModelRef
    restorer: ModelRef
    config: FacesConfig
    found: tuple[Face, ...] | None = None

    def output_shape(self, shape: Shape) -> Shape:
        return shape

    def read_region(self, region: Region, shape: Shape) -> Region:
        """Whole frames where faces are still to be found; else the region and the faces that reach into it."""
        if self.found is None:
            return Region(region.t0, region.t1, 0, shape.height, 0, shape.width)
        from tasks.ops.faces import face_box

        boxes = [face_box(each, shape.height, shape.width) for each in self._reaching(self.found, region, shape)]
        y0, x0 = (min(edges) for edges in zip((region.y0, region.x0), *((b.y0, b.x0) for b in boxes), strict=True))
        y1, x1 = (max(edges) for edges in zip((region.y1, region.x1), *((b.y1, b.x1) for b in boxes), strict=True))
        return Region(region.t0, region.t1, y0, y1, x0, x1)

    def apply(self, frames: Pixels, *, read: Region, region: Region, shape: Shape) -> Pixels:
        from tasks.ops.faces import restore_in

        made = np.empty_like(frames)
        for number, frame in enumerate(frames):
            faces = find_faces(self.detector, frame) if self.found is None else self.found
            matrices = self._reaching(faces, region, shape)
            made[number] = restore_in(
                frame, matrices, self._restored, origin=(read.y0, read.x0), size=(shape.height, shape.width)
            )
        return np.ascontiguousarray(made[region.inside(read)])

    def working_bytes(self, read: Region, shape: Shape, itemsize: int) -> int:
        """One face at a time; where they are still to be found, one may be as large as the picture."""
        from model_blocks.face_alignment import SIDE

        values, pixels = SIDE * SIDE * 3, read.height * read.width
        held = read.frames * pixels * shape.channels * itemsize
        finding = self.detector.facts.working_bytes(pixels * 3) if self.found is None else 0
        return max(finding, self.restorer.facts.working_bytes(values) + pixels * BLEND_BYTES) + held

    def _reaching(self, faces: tuple[Face, ...], region: Region, shape: Shape) -> list[NDArray[np.float64]]:
        """How the wanted faces that reach into a region are aligned."""
        from model_blocks.face_alignment import estimate_alignment
        from tasks.ops.faces import face_box

        wanted = (estimate_alignment(face.landmarks) for face in faces if self.config.wants(face))
        edges = (region.y0, region.y1, region.x0, region.x1)
        return [each for each in wanted if each is not None and face_box(each, shape.height, shape.width).meets(*edges)]

    def _restored(self, crop: NDArray[np.float32]) -> NDArray[np.float32]:
        import torch

        face = torch.from_numpy(np.ascontiguousarray(crop)).permute(2, 0, 1)[None]
        with torch.inference_mode():
            made = face_restorer(self.restorer).restore(face, self.config.fidelity)
        refuse_not_finite(bool(made.sum().isfinite()), self.restorer.name, self.restorer.device)
        return made[0].permute(1, 2, 0).cpu().numpy()


@dataclass(frozen=True)
class FacesStage:
    """The stage with its models, for clips: every frame by itself."""

    config: FacesConfig
    detector: ModelRef
    restorer: ModelRef
    name: str = "faces"

    @property
    def resources(self) -> dict[str, float]:
        return gpu_of(self.detector, self.restorer)

    def key(self, source_fingerprint: str) -> StageKey:
        inputs = (("output", source_fingerprint),)
        return StageKey("faces", VERSION, self.config.parameters(), inputs, (self.detector, self.restorer))

    def passes(self, shape: Shape) -> tuple[ChunkPass, ...]:
        return (FacesPass(self.detector, self.restorer, self.config),)


@dataclass(frozen=True)
class _FindTask:
    source: OutputPlace
    detector: ModelRef


@dataclass(frozen=True)
class _Found:
    faces: tuple[Face, ...]
    peak_bytes: int


@stage_task("faces")
def faces(item: str, source: Picture, config: FacesConfig) -> StageOutcome:
    """Restore the faces of a photograph. One without a face passes unchanged, with the notice ``no_face``."""
    run = current_run()
    stage = FacesStage(config, run.models["detect_faces"], run.models["restore_faces"])

    def compute(place: OutputPlace) -> StageWork:
        found = _search(source, stage.detector)
        wanted = tuple(face for face in found.faces if config.wants(face))
        facts: dict[str, object] = {"faces": len(found.faces), "faces_restored": len(wanted)}
        notices = _notices(found.faces, wanted, config)
        if not wanted:
            return StageWork(same_as=source.frames, facts=facts, notices=notices, chunks=0, peak_bytes=found.peak_bytes)
        work = _restore(item, source, place, stage, wanted)
        return replace(work, facts=facts, notices=notices, peak_bytes=max(work.peak_bytes, found.peak_bytes))

    return run_stage(item, stage.key(source.fingerprint), source, compute)


def find_faces(detector: ModelRef, frame: Pixels) -> tuple[Face, ...]:
    """The faces of a frame (H, W, 3|4), uint8 or uint16, the surest first; transparency is laid over white."""
    import torch

    from tasks.ops.cutting import working_copy

    image = torch.from_numpy(working_copy(frame, max(frame.shape[:2]))).permute(2, 0, 1)
    return face_detector(detector).detect(image)


def _search(source: Picture, detector: ModelRef) -> _Found:
    run = current_run()
    place = OutputPlace(run.storage, source.frames)
    _, height, width, _ = FrameReader(place).shape
    whole = detector.facts.working_bytes(height * width * 3)
    refuse_memory(whole, run.limits.memory_bytes, f"finding faces in a picture of {width}×{height}")
    ((_, found),) = run.executor.run(_find, [_FindTask(place, detector)])
    return found


def _find(task: _FindTask) -> _Found:
    """Search the whole picture. Runs on a worker."""
    return _Found(find_faces(task.detector, FrameReader(task.source).read()[0]), peak_memory_bytes())


def _restore(item: str, source: Picture, place: OutputPlace, stage: FacesStage, wanted: tuple[Face, ...]) -> StageWork:
    run = current_run()
    reader = open_frames(source)
    _, height, width, channels = reader.shape
    work = run_chunks(
        reader.place,
        place,
        FacesPass(stage.detector, stage.restorer, stage.config, wanted),
        still_spec(height, width, channels, reader.dtype.name),
        executor=run.executor,
        limits=run.limits,
        resources=stage.resources,
        report=partial(run.chunk_done, item, "faces"),
    )
    return StageWork(frames=work.entry, chunks=work.made + work.reused, peak_bytes=work.peak_bytes)


def _notices(found: tuple[Face, ...], wanted: tuple[Face, ...], config: FacesConfig) -> tuple[Notice, ...]:
    """What a user should know: that there was no face, or that some were too small."""
    if not found:
        return (Notice("no_face", "No face was found in this picture, so it passes as it is."),)
    left = len(found) - len(wanted)
    if not left:
        return ()
    facts: dict[str, object] = {"left": left, "restored": len(wanted), "smallest": config.smallest}
    words = f"{left} of {len(found)} faces are smaller than {config.smallest} pixels and were left as they are."
    return (Notice("faces_too_small", words, facts),)
