"""What publish and thumbnails share: encoding on a worker, and the record of a published file."""

from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version as installed_version

ENCODERS = ("pillow", "opencv-python-headless", "numpy")


@cache
def encoder_versions() -> dict[str, str]:
    """Versions of the libraries that decide the encoded bytes."""
    return {name: installed_version(name) for name in ENCODERS}


@dataclass(frozen=True)
class Published:
    """A file as it is delivered.

    Attributes:
        role: cutout, packshot, enlarged, composed, thumbnail, ...
        suffix: What follows item and role in the file's name, for roles with several files.
        stored: Name of the file in the stage's output.
        unsigned_sha256: Of a signed file, the digest of the one in the stage's output.
        signed_by: Digest of the certificates that it was signed with.
    """

    role: str
    stored: str
    sha256: str
    bytes: int
    width: int
    height: int
    format: str
    fingerprint: str
    suffix: str = ""
    extra: dict[str, object] = field(default_factory=dict)
    unsigned_sha256: str | None = None
    signed_by: str | None = None
