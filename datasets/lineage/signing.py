"""Content credentials (C2PA): a published file signed as the last thing that is done to it, and the check of that.

Nothing outside is asked: no time stamp authority, no remote manifests, no revocation lists. No thumbnails are put in.

Source: C2PA Technical Specification 2.1; digital source types of IPTC.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from datasets.errors import PermanentError
from datasets.lineage.keys import KeyFolder

MIME = {"png": "image/png", "jpg": "image/jpeg", "jpeg": "image/jpeg", "webp": "image/webp", "mp4": "video/mp4"}
SOURCE_TYPES = "http://cv.iptc.org/newscodes/digitalsourcetype/"
ENHANCED, TRAINED = "algorithmicallyEnhanced", "compositeWithTrainedAlgorithmicMedia"
LINEAGE = "stillmotion.lineage"
HEAD = 12  # bytes that tell the formats apart
OFFLINE: dict[str, Any] = {
    "builder": {"thumbnail": {"enabled": False}},
    "verify": {"remote_manifest_fetch": False, "ocsp_fetch": False},
}


class SigningError(PermanentError):
    code = "signing"


def can_sign(extension: str) -> bool:
    """Whether files with this ending are signed."""
    return extension in MIME


def sign_file(source: Path, target: Path, keys: KeyFolder, *, trained: bool, facts: Mapping[str, object]) -> None:
    """Write a signed copy of a file.

    Args:
        source: PNG, JPEG, WebP or MP4, told by its first bytes.
        target: Where the signed file goes; its folder is there.
        trained: Whether a trained model had a part in it, which the digital source type then says.
        facts: What the credentials say of the file's lineage, as plain values.

    Raises:
        SigningError: The format cannot be signed, or the key does not do.
        SettingsError: The key cannot be read.
    """
    import c2pa

    mime = mime_of(source)
    if mime is None:
        raise SigningError(f"{source.name} is none of PNG, JPEG, WebP and MP4; switch signing off for it")
    try:
        info = c2pa.C2paSignerInfo(c2pa.C2paSigningAlg.ES256, keys.chain.encode(), keys.key.encode(), None)
        with (
            c2pa.Signer.from_info(info) as signer,
            c2pa.Context(c2pa.Settings.from_dict(OFFLINE)) as context,
            c2pa.Builder(json.dumps(_manifest(trained=trained, facts=facts)), context) as builder,
            source.open("rb") as unsigned,
            target.open("w+b") as signed,
        ):
            builder.sign(signer, mime, unsigned, signed)
    except c2pa.C2paError as error:
        raise SigningError(
            f"the file could not be signed: {error}; check the key of STILLMOTION_SIGNING_KEY", key=str(keys.folder)
        ) from error


def _manifest(*, trained: bool, facts: Mapping[str, object]) -> dict[str, Any]:
    created = {"action": "c2pa.created", "digitalSourceType": SOURCE_TYPES + (TRAINED if trained else ENHANCED)}
    return {
        "claim_generator_info": [{"name": "stillmotion"}],
        "assertions": [
            {"label": "c2pa.actions", "data": {"actions": [created]}},
            {"label": LINEAGE, "data": dict(facts)},
        ],
    }


def read_credentials(file: Path, authority: str | None = None) -> dict[str, Any] | None:
    """The manifest store of a file with the results of its validation, None if it carries none.

    Args:
        file: A published file under any name.
        authority: PEM of the certificate to trust; without one nobody is, and the signature is checked all the same.

    Raises:
        SigningError: What is there cannot be read.
    """
    import c2pa

    trust: dict[str, Any] = {"trust": {"trust_anchors": authority}} if authority else {}
    mime = mime_of(file)
    if mime is None:
        return None
    try:
        with (
            c2pa.Context(c2pa.Settings.from_dict(OFFLINE | trust)) as context,
            file.open("rb") as stream,
            c2pa.Reader(mime, stream, context=context) as reader,
        ):
            return dict(json.loads(reader.json()))
    except c2pa.C2paError.ManifestNotFound:
        return None
    except c2pa.C2paError as error:
        raise SigningError(f"the content credentials cannot be read: {error}; take the file from a copy") from error


def signature_fault(file: Path, keys: KeyFolder | None = None) -> str | None:
    """What is wrong with the signature of a file that was signed, in words; None if it holds.

    Args:
        file: The file.
        keys: Whose authority must have signed it; without keys any signature that holds will do.
    """
    try:
        found = read_credentials(file, keys.authority if keys else None)
    except SigningError as error:
        return error.message
    if found is None:
        return "the file was signed, and carries no content credentials any more; take it from a copy"
    if keys and found.get("validation_state") == "Valid":
        return "the signature holds, and was made by another key than the one that is trusted here"
    if found.get("validation_state") not in ("Valid", "Trusted"):
        codes = sorted({each["code"] for each in found.get("validation_status", [])})
        return f"the signature does not hold: {', '.join(codes) or 'no reason given'}; take the file from a copy"
    return None


def mime_of(file: Path) -> str | None:
    """The format by the file's first bytes, None if it is none that is signed."""
    with file.open("rb") as stream:
        head = stream.read(HEAD)
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return MIME["png"]
    if head.startswith(b"\xff\xd8\xff"):
        return MIME["jpg"]
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return MIME["webp"]
    return MIME["mp4"] if head[4:8] == b"ftyp" else None
