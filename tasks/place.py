"""Place: the cutout is set into a scene by a paid outside service, bought once for all who want the same.

The cutout is laid out on a canvas here and sent with its prompt; what comes back is kept as it came, as an asset, and
decoded. Where on the canvas the product lies is known, so the delivery gate can look for it there.
"""

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from datasets.assets import get_asset
from datasets.errors import PermanentError
from datasets.frame_spec import Pixels
from datasets.frames import FrameReader
from datasets.identity import digest_bytes
from datasets.ledger import Look, Purchase, Wanted, purchase_key
from datasets.outputs import FramesEntry, OutputPlace, StoredFile
from expectations.fidelity import Placement
from expectations.hashing import perceptual_hash
from model_blocks.adapters.declaration import ServiceDeclaration
from model_blocks.adapters.outcomes import PaidRequest
from tasks.buying import Buyer
from tasks.context import current_run
from tasks.executor import peak_memory_bytes
from tasks.intake import photo_limits, write_still
from tasks.ops.compose import ComposeConfig, compose_image
from tasks.ops.depth import to_uint8
from tasks.ops.encode import encode_picture
from tasks.ops.photo import PhotoLimits, read_photo
from tasks.ops.preview import make_preview
from tasks.ops.resample import resize_image
from tasks.place_config import PlaceConfig
from tasks.plan import refuse_disk, refuse_memory
from tasks.prefect_stage import stage_task
from tasks.stage import Picture, StageKey, StageOutcome, StageWork, run_stage

VERSION = 1
REQUEST = "request.png"
PREVIEW = "preview.webp"
MEMORY_FACTOR = 16  # bytes per canvas value, as for composing
LOOK_SIDE = 32  # px of the small copy that tells the same picture in other bytes
SAME_ASPECT = 0.02  # share by which a scene may be wider or narrower than the canvas and still be the same layout
LARGEST_ANSWER = 64 << 20  # bytes of disk that are kept free for an answer before anything is paid


class NoObjectError(PermanentError):
    """There is no product on the picture, so nothing can be placed."""

    code = "no_object"


@dataclass(frozen=True)
class _LayOutTask:
    source: OutputPlace
    place: OutputPlace
    canvas: ComposeConfig


@dataclass(frozen=True)
class _LaidOut:
    """The canvas as it is sent: its file, the digest of its pixels, where the whole cutout lies on it, its look."""

    file: StoredFile
    pixels: str
    placement: Placement
    phash: str | None
    signature: bytes
    peak_bytes: int


@dataclass(frozen=True)
class _DecodeTask:
    place: OutputPlace
    asset: str
    limits: PhotoLimits


@dataclass(frozen=True)
class _Decoded:
    frames: FramesEntry
    preview: StoredFile
    width: int
    height: int
    bit_depth: int
    peak_bytes: int


@stage_task("place")
def place(item: str, source: Picture, config: PlaceConfig, *, released: bool = False) -> StageOutcome:
    """Have one product placed.

    Args:
        item: Whose picture it is.
        source: The cutout.
        config: What is wanted.
        released: Buy it even if a picture that shows the same was bought already.

    Raises:
        NotDeliveredError: It was stopped, deferred or is held; see ``tasks.ends``.
        PipelineError: The service refused, or what was paid for cannot be used.
    """
    run = current_run()
    declaration = run.paid.adapter.declaration
    key = place_key(source, config, declaration)

    def compute(target: OutputPlace) -> StageWork:
        _refuse_too_large(source, config)
        ((_, sent),) = run.executor.run(
            _lay_out, [_LayOutTask(OutputPlace(run.storage, source.frames), target, config.canvas)]
        )
        purchase = _buy(item, config, sent, target, released=released)
        assert purchase.response_digest is not None
        ((_, done),) = run.executor.run(
            _decode, [_DecodeTask(target, purchase.response_digest, photo_limits(run.settings))]
        )
        return StageWork(
            frames=done.frames,
            files={REQUEST: sent.file, PREVIEW: done.preview},
            facts=_facts(config, sent, done, purchase),
            peak_bytes=max(sent.peak_bytes, done.peak_bytes),
        )

    return run_stage(item, key, source, compute)


def place_key(source: Picture, config: PlaceConfig, declaration: ServiceDeclaration) -> StageKey:
    """What decides the output: the cutout, the wish, and who fulfils it. Prices and promises do not."""
    parameters = {**config.parameters(), "service": declaration.name, "service_version": declaration.version}
    return StageKey("place", VERSION, parameters, (("output", source.fingerprint),))


def placement_of(facts: dict[str, object] | Any) -> Placement | None:
    """Where a placed picture should show the cutout; None where that cannot be told."""
    found = facts.get("placement")
    return Placement(*found) if isinstance(found, list) else None


def _buy(item: str, config: PlaceConfig, sent: _LaidOut, target: OutputPlace, *, released: bool) -> Purchase:
    run = current_run()
    service = run.paid
    declaration = service.adapter.declaration
    wanted = Wanted(
        purchase_key=purchase_key(
            run.storage.tenant, "place", declaration.name, declaration.version, config.bought, [sent.pixels]
        ),
        run_id=run.run_id,
        item=item,
        stage="place",
        adapter=declaration.name,
        adapter_version=declaration.version,
        price_micro_usd=declaration.price_of(1),
        price_list=declaration.price_list,
        policy=run.settings.unknown_outcomes,
        can_resolve=declaration.can_look_up or declaration.honours_idempotency_keys,
    )
    request = PaidRequest(prompt=config.prompt, image=target.read_file(REQUEST, sent.file), parameters=config.options)
    look = (
        None
        if released or sent.phash is None
        else Look(config.wish(declaration.name, declaration.version), sent.phash, sent.signature)
    )
    return Buyer(run.ledger, run.storage, service, wanted, request, look, run.refuse_if_stopping).buy()


def _facts(config: PlaceConfig, sent: _LaidOut, done: _Decoded, purchase: Purchase) -> dict[str, object]:
    return {
        "width": done.width,
        "height": done.height,
        "alpha": False,
        "bit_depth": done.bit_depth,
        "purchase": purchase.purchase_key,
        "answer": purchase.response_digest,
        "placement": _on_scene(sent.placement, config, done),
    }


def _on_scene(placement: Placement, config: PlaceConfig, done: _Decoded) -> list[float] | None:
    """The layout on the canvas, in pixels of the scene; None if that has another shape."""
    across, down = done.width / config.width, done.height / config.height
    if abs(across / down - 1) > SAME_ASPECT:
        return None
    return [placement.x * across, placement.y * down, placement.width * across]


def _refuse_too_large(source: Picture, config: PlaceConfig) -> None:
    """Whatever could fail here must fail before anything is paid."""
    run = current_run()
    _, height, width, channels = FrameReader(OutputPlace(run.storage, source.frames)).shape
    needed = (height * width * channels + config.width * config.height * 4) * MEMORY_FACTOR
    refuse_memory(needed, run.limits.memory_bytes, f"laying out {width}×{height} on {config.width}×{config.height}")
    refuse_disk(run.storage, LARGEST_ANSWER, run.limits.disk_reserve_bytes)


def _lay_out(task: _LayOutTask) -> _LaidOut:
    """The canvas that is sent. Runs on a worker."""
    image = to_uint8(FrameReader(task.source).read()[0])
    composed = compose_image(image, task.canvas, None)
    where, box = composed.placement, composed.object_box_xyxy
    if where is None or box is None:
        raise NoObjectError("there is no product on the picture; a cutout with something on it can be placed")
    pixels = np.ascontiguousarray(composed.pixels)
    across = where.width / (box[2] - box[0])
    down = where.height / (box[3] - box[1])
    placement = Placement(where.x - box[0] * across, where.y - box[1] * down, image.shape[1] * across)
    file = task.place.write_file(REQUEST, encode_picture(pixels, format="png", quality=100))
    shape = ",".join(str(each) for each in pixels.shape)
    phash, signature = _look(pixels)
    digest = digest_bytes(shape.encode() + b":" + pixels.tobytes())
    return _LaidOut(file, digest, placement, phash, signature, peak_memory_bytes())


def _look(pixels: Pixels) -> tuple[str | None, bytes]:
    """What tells the same picture in other bytes: a hash, and a small copy on middle grey."""
    rgb: NDArray[np.float32] = pixels[..., :3].astype(np.float32)
    if pixels.shape[2] == 4:
        alpha = pixels[..., 3].astype(np.float32) / np.float32(255)
        rgb = rgb * alpha[..., None] + np.float32(128) * (1 - alpha[..., None])
    small = resize_image(np.round(rgb).astype(np.uint8), LOOK_SIDE, LOOK_SIDE)
    return perceptual_hash(rgb), np.ascontiguousarray(small).tobytes()


def _decode(task: _DecodeTask) -> _Decoded:
    """The answer as a picture. Runs on a worker."""
    photo = read_photo(get_asset(task.place.storage, task.asset), task.limits)
    pixels = np.ascontiguousarray(photo.pixels[..., :3])
    entry = write_still(task.place, pixels, source_digest=task.asset)
    preview = task.place.write_file(PREVIEW, make_preview(pixels))
    height, width = cast("tuple[int, int]", pixels.shape[:2])
    return _Decoded(entry, preview, width, height, pixels.dtype.itemsize * 8, peak_memory_bytes())
