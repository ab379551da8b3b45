"""Intake: a photograph's bytes become an asset and a frame store in sRGB, or a clear refusal."""

import os
import stat
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version as installed_version
from pathlib import Path

from datasets.assets import get_asset, put_asset
from datasets.errors import NotFoundError, PermanentError
from datasets.frame_spec import FrameSpec, Pixels, chunk_key, still_spec
from datasets.frames import create_frames, frames_entry, write_chunk
from datasets.identity import digest_bytes
from datasets.notices import Notice
from datasets.outputs import FramesEntry, OutputPlace, StoredFile
from datasets.settings import MEBIBYTE, Settings
from tasks.context import current_run
from tasks.executor import peak_memory_bytes
from tasks.ops.photo import Photo, PhotoLimits, read_photo
from tasks.ops.photo_errors import TooManyBytesError
from tasks.ops.preview import make_preview
from tasks.plan import refuse_disk
from tasks.prefect_stage import stage_task
from tasks.stage import StageKey, StageOutcome, StageWork, run_stage

VERSION = 1
PREVIEW = "preview.webp"
DECODERS = ("pillow", "opencv-python-headless", "numpy")


class UnreadableError(PermanentError):
    code = "unreadable"


@dataclass(frozen=True)
class _IntakeTask:
    place: OutputPlace
    asset: str
    limits: PhotoLimits


@dataclass(frozen=True)
class _Read:
    frames: FramesEntry
    preview: StoredFile
    facts: dict[str, object]
    notices: tuple[Notice, ...]
    peak_bytes: int


def photo_limits(settings: Settings) -> PhotoLimits:
    """The limits of this installation."""
    return PhotoLimits(
        max_bytes=settings.max_input_mb * MEBIBYTE,
        max_pixels=int(settings.max_megapixels * 1e6),
        min_side=settings.min_side,
        timeout_s=settings.read_timeout_s,
    )


def read_source(path: Path, max_bytes: int) -> bytes:
    """The bytes of a photograph file, its size looked at first.

    Raises:
        NotFoundError: Nothing is there.
        UnreadableError: It is a folder or a device, or may not be read.
        TooManyBytesError: It is larger than the limit.
    """
    try:
        with path.open("rb") as stream:
            facts = os.fstat(stream.fileno())
            if not stat.S_ISREG(facts.st_mode):
                raise UnreadableError(f"{path.name} is not a regular file; give the photograph itself", path=str(path))
            if facts.st_size > max_bytes:
                raise TooManyBytesError(
                    f"{path.name} has {facts.st_size / MEBIBYTE:.0f} MiB, the most is {max_bytes / MEBIBYTE:.0f} MiB; "
                    "give a smaller file or raise STILLMOTION_MAX_INPUT_MB",
                    bytes=facts.st_size,
                    limit=max_bytes,
                )
            return stream.read()
    except FileNotFoundError as error:
        raise NotFoundError(f"there is no file {str(path)!r}; check the path", path=str(path)) from error
    except IsADirectoryError as error:
        raise UnreadableError(f"{str(path)!r} is a folder; give the photographs in it", path=str(path)) from error
    except OSError as error:
        raise UnreadableError(f"{str(path)!r} cannot be read: {error.strerror}", path=str(path)) from error


@cache
def decoder_versions() -> dict[str, str]:
    """Versions of the libraries that decide the decoded pixels."""
    return {name: installed_version(name) for name in DECODERS}


@stage_task("intake")
def intake(item: str, path: str) -> StageOutcome:
    """Read one photograph. Its identity is its content: the path and the name decide nothing."""
    run = current_run()
    data = read_source(Path(path), photo_limits(run.settings).max_bytes)
    return _take_in(item, digest_bytes(data) if run.dry else put_asset(run.storage, data))


@stage_task("intake")
def intake_asset(item: str, asset: str) -> StageOutcome:
    """The same for a photograph whose bytes are kept already."""
    return _take_in(item, asset)


def _take_in(item: str, asset: str) -> StageOutcome:
    run = current_run()
    limits = photo_limits(run.settings)
    key = StageKey(
        stage="intake",
        version=VERSION,
        parameters={},
        inputs=(("asset", asset),),
        libraries=decoder_versions(),
    )

    def compute(place: OutputPlace) -> StageWork:
        task = _IntakeTask(place, asset, limits)
        ((_, done),) = run.executor.run(_read, [task])
        return StageWork(
            frames=done.frames,
            files={PREVIEW: done.preview},
            facts=done.facts,
            notices=done.notices,
            chunks=len(done.frames.checksums),
            peak_bytes=done.peak_bytes,
        )

    return run_stage(item, key, None, compute)


def _read(task: _IntakeTask) -> _Read:
    """Decode, convert, write. Runs on a worker."""
    photo = read_photo(get_asset(task.place.storage, task.asset), task.limits)
    refuse_disk(task.place.storage, photo.pixels.nbytes, 0)
    entry = write_still(task.place, photo.pixels, source_digest=task.asset)
    preview = task.place.write_file(PREVIEW, make_preview(photo.pixels))
    return _Read(entry, preview, _facts(photo, task.asset), photo.notices, peak_memory_bytes())


def _facts(photo: Photo, asset: str) -> dict[str, object]:
    height, width, channels = photo.pixels.shape
    return {
        "asset": asset,
        "width": width,
        "height": height,
        "alpha": channels == 4,
        "bit_depth": photo.pixels.dtype.itemsize * 8,
        "source": photo.facts,
    }


def write_still(place: OutputPlace, image: Pixels, **attributes: object) -> FramesEntry:
    """Write an image (H, W, C) as a one-frame store, all its tiles, and return the manifest's entry."""
    height, width, channels = image.shape
    spec: FrameSpec = create_frames(place, still_spec(height, width, channels, image.dtype.name, **attributes))
    frames = image[None]
    checksums = {chunk_key(index): write_chunk(place, spec, index, frames[spec.box(index)]) for index in spec.indices()}
    return frames_entry(spec, checksums)
