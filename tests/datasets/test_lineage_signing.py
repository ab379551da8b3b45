"""Content credentials: what is signed reads back offline, and a changed file is noticed by the signature itself."""

import stat
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from PIL import Image

from datasets.errors import SettingsError, UsageError
from datasets.lineage.keys import KeyFolder, make_keys
from datasets.lineage.signing import LINEAGE, SigningError, read_credentials, sign_file, signature_fault
from tests.flows.made_clips import planes_clip
from tests.photographs import product_pixels

FACTS = {"unsigned_sha256": "ab" * 32, "fingerprint": "cd" * 32}
KINDS = ("png", "jpg", "webp", "mp4")


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> KeyFolder:
    return make_keys(tmp_path_factory.mktemp("keys") / "own", "Cup Shop")


def unsigned(folder: Path, kind: str) -> Path:
    path = folder / f"plain.{kind}"
    if kind == "mp4":
        return planes_clip(path, "libx264", "yuv420p")
    Image.fromarray(product_pixels(64, 48)).save(path)
    return path


def sign(folder: Path, kind: str, keys: KeyFolder, *, trained: bool = False) -> Path:
    target = folder / "signed.bin"
    sign_file(unsigned(folder, kind), target, keys, trained=trained, facts=FACTS)
    return target


@pytest.mark.parametrize("kind", KINDS)
def test_a_signed_file_reads_back(tmp_path: Path, keys: KeyFolder, kind: str) -> None:
    signed = sign(tmp_path, kind, keys)
    assert signature_fault(signed, keys) is None
    found = read_credentials(signed, keys.authority)
    assert found is not None
    assert found["validation_state"] == "Trusted"
    manifest = found["manifests"][found["active_manifest"]]
    assert "thumbnail" not in manifest
    assert manifest["signature_info"]["issuer"] == "Cup Shop"
    assertions = {each["label"]: each["data"] for each in manifest["assertions"]}
    (actions,) = [data for label, data in assertions.items() if label.startswith("c2pa.actions")]
    assert actions["actions"][0]["action"] == "c2pa.created"
    assert actions["actions"][0]["digitalSourceType"].endswith("/algorithmicallyEnhanced")
    assert assertions[LINEAGE] == FACTS
    assert signed.stat().st_size - unsigned(tmp_path, kind).stat().st_size < 20_000


def test_pixels_are_those_of_the_unsigned_file(tmp_path: Path, keys: KeyFolder) -> None:
    with Image.open(sign(tmp_path, "png", keys)) as picture:
        assert (product_pixels(64, 48) == picture).all()


def test_a_trained_model_is_named_in_the_source_type(tmp_path: Path, keys: KeyFolder) -> None:
    found = read_credentials(sign(tmp_path, "jpg", keys, trained=True))
    assert "compositeWithTrainedAlgorithmicMedia" in str(found)


@pytest.mark.parametrize("kind", KINDS)
def test_a_flipped_bit_in_the_picture_breaks_the_signature(tmp_path: Path, keys: KeyFolder, kind: str) -> None:
    signed = sign(tmp_path, kind, keys)
    data = bytearray(signed.read_bytes())
    mark = {"png": b"IDAT", "jpg": b"\xff\xda", "webp": b"VP8 ", "mp4": b"mdat"}[kind]
    data[data.rindex(mark) + 40] ^= 1
    signed.write_bytes(data)
    fault = signature_fault(signed, keys)
    assert fault is not None
    assert "mismatch" in fault


def test_a_file_without_credentials_and_one_by_another_authority_are_told(tmp_path: Path, keys: KeyFolder) -> None:
    plain = unsigned(tmp_path, "png")
    assert "no content credentials" in str(signature_fault(plain, keys))
    signed = sign(tmp_path, "png", keys)
    other = make_keys(tmp_path / "other", "Somebody")
    assert "another key" in str(signature_fault(signed, other))
    assert signature_fault(signed) is None


def test_the_key_is_for_its_owner_alone_and_is_not_overwritten(tmp_path: Path) -> None:
    made = make_keys(tmp_path / "keys", "Cup Shop")
    assert {path.name for path in made.folder.iterdir()} == {"signing.key", "chain.pem", "authority.pem"}
    assert {stat.S_IMODE(path.stat().st_mode) for path in made.folder.iterdir()} == {0o600}
    assert stat.S_IMODE(made.folder.stat().st_mode) == 0o700
    with pytest.raises(UsageError, match="already"):
        make_keys(made.folder, "Cup Shop")
    (made.folder / "signing.key").chmod(0o644)
    with pytest.raises(SettingsError, match="chmod 600"):
        _ = made.key
    with pytest.raises(SettingsError, match="keys make"):
        _ = KeyFolder(tmp_path / "none").chain


def test_the_chain_leads_to_the_authority(keys: KeyFolder) -> None:
    leaf, above = x509.load_pem_x509_certificates(keys.chain.encode())
    leaf.verify_directly_issued_by(above)
    above.verify_directly_issued_by(above)
    key = leaf.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert isinstance(key.curve, ec.SECP256R1)
    assert keys.authority in keys.chain


def test_what_cannot_be_signed_is_said(tmp_path: Path, keys: KeyFolder) -> None:
    (tmp_path / "a.txt").write_text("no picture at all")
    with pytest.raises(SigningError, match="none of PNG"):
        sign_file(tmp_path / "a.txt", tmp_path / "b", keys, trained=False, facts={})
    (tmp_path / "c.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    with pytest.raises(SigningError, match="could not be signed"):
        sign_file(tmp_path / "c.png", tmp_path / "d", keys, trained=False, facts={})
