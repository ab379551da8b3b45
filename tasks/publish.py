"""Publish: a picture as PNG, JPEG, WebP or AVIF with an sRGB profile and nothing of the camera's own data."""

from dataclasses import dataclass
from typing import Literal, cast

from pydantic import Field, model_validator

from datasets.frames import FrameReader
from datasets.outputs import OutputPlace, StoredFile
from tasks.config import StageConfig
from tasks.context import current_run
from tasks.encoding import Published, encoder_versions
from tasks.executor import peak_memory_bytes
from tasks.ops.encode import PictureFormat, encode_picture, extension
from tasks.ops.preview import make_preview
from tasks.plan import refuse_memory
from tasks.prefect_stage import stage_task
from tasks.stage import Picture, StageKey, StageOutcome, StageWork, run_stage

VERSION = 1
PREVIEW = "preview.webp"
MEMORY_FACTOR = 4  # the picture, a converted copy, the encoder's own, the encoded bytes
Role = Literal["cutout", "packshot", "enlarged", "composed", "placed", "rendered", "restored"]


class PublishConfig(StageConfig):
    """Write the picture as a file. ``auto`` keeps transparency and 16 bits in PNG and writes JPEG otherwise."""

    stage: Literal["publish"] = "publish"
    format: Literal["auto", "png", "jpeg", "webp", "avif"] = Field(default="auto", description="File format.")
    quality: int = Field(default=92, ge=1, le=100, description="Encoder quality of lossy formats.")
    lossless: bool = Field(default=False, description="WebP without loss; PNG always is.")
    role: Role | None = Field(default=None, description="What the file is; told by the stage before if empty.")

    @model_validator(mode="after")
    def _lossless_where_it_can_be(self) -> "PublishConfig":
        if self.lossless and self.format not in ("png", "webp"):
            raise ValueError("'lossless' needs the format 'webp' or 'png'")
        return self


@dataclass(frozen=True)
class _PublishTask:
    source: OutputPlace
    place: OutputPlace
    name: str
    format: PictureFormat
    quality: int
    lossless: bool


@dataclass(frozen=True)
class _Encoded:
    files: dict[str, StoredFile]
    peak_bytes: int


@stage_task("publish")
def publish(item: str, source: Picture, config: PublishConfig) -> StageOutcome:
    """Encode one picture. The bytes depend on pixels and settings alone, never on item, time or machine."""
    run = current_run()
    chosen = choose_format(config, source)
    parameters = {**config.parameters(), "format": chosen}
    key = StageKey("publish", VERSION, parameters, (("output", source.fingerprint),), libraries=encoder_versions())

    def compute(place: OutputPlace) -> StageWork:
        reader = OutputPlace(run.storage, source.frames)
        _, height, width, channels = FrameReader(reader).shape
        itemsize = FrameReader(reader).dtype.itemsize
        refuse_memory(
            height * width * channels * itemsize * MEMORY_FACTOR, run.limits.memory_bytes, f"encoding {width}×{height}"
        )
        name = f"picture.{extension(chosen)}"
        task = _PublishTask(reader, place, name, chosen, config.quality, config.lossless)
        ((_, done),) = run.executor.run(_encode, [task])
        return StageWork(
            files=done.files,
            same_as=source.frames,
            facts={"published": name, "format": chosen, "width": width, "height": height},
            peak_bytes=done.peak_bytes,
        )

    return run_stage(item, key, source, compute)


def choose_format(config: PublishConfig, source: Picture) -> PictureFormat:
    """The format asked for; ``auto``: PNG where JPEG would lose transparency or depth, else JPEG."""
    if config.format != "auto":
        return config.format
    return "png" if source.facts.get("alpha") or source.facts.get("bit_depth") == 16 else "jpeg"


def _encode(task: _PublishTask) -> _Encoded:
    """Read, encode, keep. Runs on a worker."""
    image = FrameReader(task.source).read()[0]
    data = encode_picture(image, format=task.format, quality=task.quality, lossless=task.lossless)
    files = {
        task.name: task.place.write_file(task.name, data),
        PREVIEW: task.place.write_file(PREVIEW, make_preview(image)),
    }
    return _Encoded(files, peak_memory_bytes())


def published(outcome: StageOutcome, role: str) -> Published:
    """The delivered file that a publish stage made."""
    facts = outcome.picture.facts
    name = str(facts["published"])
    entry = outcome.files[name]
    return Published(
        role=role,
        stored=name,
        sha256=entry.sha256,
        bytes=entry.bytes,
        width=cast("int", facts["width"]),
        height=cast("int", facts["height"]),
        format=str(facts["format"]),
        fingerprint=outcome.picture.fingerprint,
    )
