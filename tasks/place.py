"""Place: the cutout is set into a scene by a paid outside service, bought once for all who want the same.

The cutout is laid out on a canvas here and sent with its prompt; what comes back is kept as it came, as an asset, and
decoded. Where on the canvas the product lies is known, so the delivery gate can look for it there.
"""

from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from datasets.assets import get_asset
from datasets.errors import PermanentError
from datasets.frames import FrameReader
from datasets.identity import digest_bytes, fingerprint
from datasets.ledger import Look, Purchase, Wanted, purchase_key
from datasets.notices import Notice
from datasets.outputs import FramesEntry, OutputPlace, StoredFile
from expectations.fidelity import Placement
from model_blocks.adapters.declaration import ServiceDeclaration
from model_blocks.adapters.outcomes import PaidRequest
from tasks.buying import Buyer
from tasks.context import current_run
from tasks.executor import peak_memory_bytes
from tasks.intake import photo_limits, write_still
from tasks.ops.compose import Box, ComposeConfig, compose_image
from tasks.ops.compose import Placement as ObjectPlacement
from tasks.ops.depth import to_uint8
from tasks.ops.encode import encode_picture
from tasks.ops.look import SmallCopy, small_copy
from tasks.ops.photo import PhotoLimits, read_photo
from tasks.ops.preview import make_preview
from tasks.place_config import PlaceConfig
from tasks.plan import refuse_disk, refuse_memory
from tasks.prefect_stage import stage_task
from tasks.stage import Picture, StageKey, StageOutcome, StageWork, run_stage

VERSION = 1
REQUEST = "request.png"
PREVIEW = "preview.webp"
MEMORY_FACTOR = 16  # bytes per canvas value, as for composing
SAME_ASPECT = 0.02  # share by which a scene may be wider or narrower than the canvas and still be the same layout
LARGEST_ANSWER = 64 << 20  # bytes of disk that are kept free for an answer before anything is paid


class NoObjectError(PermanentError):
    """There is no product on the picture, so nothing can be placed."""

    code = "no_object"


@dataclass(frozen=True)
class Origin:
    """From what a cutout was made.

    Attributes:
        photograph: The picture as it came. What it shows stays the same when it is encoded again, which cannot be
            said of a cutout: a segmenter may decide anew.
        way: Digest of what was done to it; another cutout of the same photograph is no duplicate.
    """

    photograph: Picture
    way: str


@dataclass(frozen=True)
class _LayOutTask:
    source: OutputPlace
    photograph: OutputPlace | None
    place: OutputPlace
    canvas: ComposeConfig


@dataclass(frozen=True)
class _LaidOut:
    """The canvas as it is sent: its file, the digest of its pixels, where the whole cutout lies on it; the look."""

    file: StoredFile
    pixels: str
    placement: Placement
    look: SmallCopy | None
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
def place(item: str, source: Picture, config: PlaceConfig, *, origin: Origin | None = None) -> StageOutcome:
    """Have one product placed.

    Args:
        item: Whose picture it is.
        source: The cutout.
        config: What is wanted.
        origin: From what it was made; given, it is not bought if a photograph that shows the same was.

    Raises:
        NotDeliveredError: It was stopped, rejected, deferred or is held; see ``tasks.ends``.
        PipelineError: The service refused, or what was paid for cannot be used.
    """
    run = current_run()
    declaration = run.paid.adapter.declaration
    key = place_key(source, config, declaration)

    def compute(target: OutputPlace) -> StageWork:
        _refuse_too_large(source, config)
        ((_, sent),) = run.executor.run(_lay_out, [_lay_out_task(source, origin, target, config)])
        purchase = _buy(item, config, sent, target, _look(config, sent, origin))
        assert purchase.response_digest is not None
        ((_, done),) = run.executor.run(
            _decode, [_DecodeTask(target, purchase.response_digest, photo_limits(run.settings))]
        )
        return StageWork(
            frames=done.frames,
            files={REQUEST: sent.file, PREVIEW: done.preview},
            facts=_facts(config, sent, done, purchase),
            notices=_notices(config, done),
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


def _lay_out_task(source: Picture, origin: Origin | None, target: OutputPlace, config: PlaceConfig) -> _LayOutTask:
    storage = current_run().storage
    photograph = OutputPlace(storage, origin.photograph.frames) if origin else None
    return _LayOutTask(OutputPlace(storage, source.frames), photograph, target, config.canvas)


def _look(config: PlaceConfig, sent: _LaidOut, origin: Origin | None) -> Look | None:
    """By what a twin is known; None where nobody shall look for one, or the photograph shows nothing."""
    if origin is None or sent.look is None or sent.look.phash is None:
        return None
    declaration = current_run().paid.adapter.declaration
    wish = fingerprint({"wish": config.wish(declaration.name, declaration.version), "way": origin.way})
    return Look(wish, sent.look.phash, sent.look.pixels, sent.look.aspect)


def _buy(item: str, config: PlaceConfig, sent: _LaidOut, target: OutputPlace, look: Look | None) -> Purchase:
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
    if run.approval is not None:
        run.approval.refuse_unapproved(wanted)
    request = PaidRequest(prompt=config.prompt, image=target.read_file(REQUEST, sent.file), parameters=config.options)
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
    if not _is_same_layout(config, done):
        return None
    across, down = done.width / config.width, done.height / config.height
    return [placement.x * across, placement.y * down, placement.width * across]


def whole_placement(where: ObjectPlacement, box: Box, width: int) -> Placement:
    """Where the whole cutout lies on the canvas, by where its object does.

    The object's sides are whole pixels on the canvas, so a thin one is stretched by some per cent across. The longer
    side tells the scale, and the object's middle the place: that is right to half a pixel.

    Args:
        where: The object on the canvas.
        box: The object in the cutout, half open, px.
        width: Of the cutout, px.
    """
    across, down = box[2] - box[0], box[3] - box[1]
    scale = where.width / across if across >= down else where.height / down
    left = where.x + where.width / 2 - scale * (box[0] + box[2]) / 2
    top = where.y + where.height / 2 - scale * (box[1] + box[3]) / 2
    return Placement(left, top, width * scale)


def _notices(config: PlaceConfig, done: _Decoded) -> tuple[Notice, ...]:
    """What the owner should know of an answer that is laid out in another way than what was sent."""
    if _is_same_layout(config, done):
        return ()
    facts: dict[str, object] = {"sent": [config.width, config.height], "answer": [done.width, done.height]}
    words = (
        f"The service answered a canvas of {config.width}×{config.height} with a picture of "
        f"{done.width}×{done.height}: the product was looked for anywhere in it, its size and place were not checked."
    )
    return (Notice("another_layout", words, facts),)


def _is_same_layout(config: PlaceConfig, done: _Decoded) -> bool:
    return abs((done.width * config.height) / (done.height * config.width) - 1) <= SAME_ASPECT


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
    placement = whole_placement(where, box, image.shape[1])
    file = task.place.write_file(REQUEST, encode_picture(pixels, format="png", quality=100))
    shape = ",".join(str(each) for each in pixels.shape)
    look = small_copy(FrameReader(task.photograph).read()[0]) if task.photograph else None
    digest = digest_bytes(shape.encode() + b":" + pixels.tobytes())
    return _LaidOut(file, digest, placement, look, peak_memory_bytes())


def _decode(task: _DecodeTask) -> _Decoded:
    """The answer as a picture. Runs on a worker."""
    photo = read_photo(get_asset(task.place.storage, task.asset), task.limits)
    pixels = np.ascontiguousarray(photo.pixels[..., :3])
    entry = write_still(task.place, pixels, source_digest=task.asset)
    preview = task.place.write_file(PREVIEW, make_preview(pixels))
    height, width = cast("tuple[int, int]", pixels.shape[:2])
    return _Decoded(entry, preview, width, height, pixels.dtype.itemsize * 8, peak_memory_bytes())
