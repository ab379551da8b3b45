"""What is known about a model before it is loaded."""

from dataclasses import dataclass, field
from typing import Literal

Capability = Literal[
    "segment",
    "matte",
    "upscale",
    "upscale_blend",
    "interpolate",
    "propagate",
    "inpaint",
    "detect_faces",
    "restore_faces",
    "estimate_depth",
]
Device = Literal["cpu", "cuda"]
Precision = Literal["float32", "bfloat16", "float16"]
Purpose = Literal["commercial", "research", "personal"]
MEBIBYTE = 1 << 20
EVERY_PURPOSE: tuple[Purpose, ...] = ("commercial", "research", "personal")


@dataclass(frozen=True)
class ModelFacts:
    """What is known about a model before it is loaded.

    Attributes:
        name: The name it is chosen by.
        capability: What it can be asked to do.
        architecture: The method or network, with its source.
        factory: ``module:callable`` that makes it; imported when it is first used. Models without weights are made by
            ``factory()``, others by ``factory(name, path, *, sha256, device, precision)``.
        version: Raised whenever the same input would give other pixels; part of every fingerprint.
        embedded: True for models that need no weights.
        file_url: Where the authors publish the weights.
        file_name: What they call the file; empty: the last part of its address.
        bytes: Size of that file, where it is known.
        sha256: Digest of that file; None where its authors publish none.
        format: What kind of file it is: ``torch`` for state dicts, safetensors among them, or ``onnx``.
        container_key: Where the state dict lies in the file; None: the file is one.
        key_prefix: What every key of the network begins with in the file; keys without it belong to something else.
        ignored_keys: Patterns (``*`` and ``?``) of keys that official files carry and inference does not use.
        archive_member: Where the weights lie in an archive of the authors: the end of the path inside, with ``*``. The
            file alone is taken as well.
        inert_classes: Classes, ``module.name``, that a checkpoint names beside its tensors; stand-ins without code take
            their place.
        torchscript_sha256: Digests of the authors' programs whose tensors may be taken.
        licence: SPDX name.
        purposes: What the licence allows a run to be for.
        licence_note: Why its purposes are not all there are, as a sentence.
        conventions: Value range, colour order, size rule.
        halo_pixels: Input pixels around an output pixel that it depends on; None: the whole picture.
        receptive_radius: Input pixels that an output pixel can depend on at all, where the halo was chosen smaller or
            the network's depth is to be checked.
        halo_error: Largest difference, of 0..1, that tiles with this halo made to the whole picture; 0 where the halo
            holds all there is to see.
        halo_errors: For networks that see far: pairs of a halo in pixels and the largest difference, of 0..1, that a
            seam with this halo made to the whole. Measured in float64 on black and white noise, with weights drawn at
            random, since none of the authors' files of this kind was at hand; trained ones may look farther, so the
            halo in use is at least twice the one from which on the difference is rounding alone.
        tile_pixels: Where the halo does not: side in input pixels of the tiles, the same on every machine, because the
            tiles then decide pixels. None: any tiles give the same.
        scale: Output pixels per input pixel along a side; None where the caller chooses.
        memory_factor: Working bytes per value of the larger of input and output, measured.
        fixed_bytes: What it takes whatever the picture: while it is loaded, or loaded and at work at a size of its own;
            measured.
        auto_on: Devices on which ``auto`` may choose it; elsewhere it is chosen by its name. Empty: made for something
            else than photographs, or too slow everywhere.
        half_on: Devices on which it computes in float16, as its authors do there; float32 elsewhere.
        blend: The model whose weights can be blended with its own, registered as ``upscale_blend``.
        finds_alpha: Of those that matte: an ``AlphaFinder``, which needs no mask; else a ``Matter``.
        needs_background: Of those that find alpha: the same view without the object must be given.
        libraries: Installed packages whose version decides the pixels.
        extra: The optional part of the installation that its libraries come with.
    """

    name: str
    capability: Capability
    architecture: str
    factory: str
    version: int
    embedded: bool
    licence: str
    conventions: str
    memory_factor: float
    fixed_bytes: int = 0
    purposes: tuple[Purpose, ...] = EVERY_PURPOSE
    licence_note: str = ""
    file_url: str | None = None
    file_name: str = ""
    bytes: int | None = None
    sha256: str | None = None
    format: Literal["torch", "onnx"] = "torch"
    container_key: str | None = None
    key_prefix: str = ""
    ignored_keys: tuple[str, ...] = ()
    archive_member: str | None = None
    inert_classes: tuple[str, ...] = ()
    torchscript_sha256: tuple[str, ...] = ()
    halo_pixels: int | None = None
    receptive_radius: int | None = None
    halo_error: float = 0.0
    halo_errors: tuple[tuple[int, float], ...] = ()
    tile_pixels: int | None = None
    scale: int | None = None
    auto_on: tuple[Device, ...] = ("cpu", "cuda")
    half_on: tuple[Device, ...] = ()
    blend: str | None = None
    finds_alpha: bool = False
    needs_background: bool = False
    libraries: tuple[str, ...] = field(default=())
    extra: str = ""

    def working_bytes(self, values: int) -> int:
        """Memory it takes, loaded and at work, for that many values of the larger of what goes in and comes out."""
        return self.fixed_bytes + int(values * self.memory_factor)

    def precision_on(self, device: str) -> Precision:
        """What it computes in on a device."""
        return "float16" if device in self.half_on else "float32"
