"""A signing key of one's own: ES256 with a certificate below a self-made authority, as content credentials want it.

Source: C2PA Technical Specification 2.1, section 14.5 (certificate profile); RFC 5280.
"""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from datasets.errors import SettingsError, UsageError
from datasets.identity import digest_bytes

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

KEY, CHAIN, AUTHORITY = "signing.key", "chain.pem", "authority.pem"
PRIVATE = 0o600
VALID = timedelta(days=825)  # the longest that common verifiers accept of a leaf
AUTHORITY_VALID = timedelta(days=3650)
CLOCKS_APART = timedelta(minutes=5)


class KeyFolder:
    """A folder with a key and its certificates, read when it is needed.

    Args:
        folder: Made by ``make_keys``.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.expanduser()

    def check(self) -> None:
        """Read everything once.

        Raises:
            SettingsError: Something is missing, or the key can be read by others.
        """
        _ = (self.key, self.chain, self.authority)

    @property
    def key(self) -> str:
        path = self.folder / KEY
        if path.exists() and path.stat().st_mode & 0o077:
            raise SettingsError(f"{path} can be read by others; run `chmod 600 {path}`", path=str(path))
        return self._read(KEY)

    @property
    def chain(self) -> str:
        """The signing certificate and those above it, PEM."""
        return self._read(CHAIN)

    @property
    def authority(self) -> str:
        """The certificate that the chain ends in, PEM: whoever trusts this one trusts the signatures."""
        return self._read(AUTHORITY)

    @property
    def name(self) -> str:
        """The sha256 of the chain: which key it was."""
        return digest_bytes(self.chain.encode())

    def _read(self, name: str) -> str:
        try:
            return (self.folder / name).read_text(encoding="ascii")
        except (OSError, ValueError) as error:
            raise SettingsError(
                f"{self.folder / name} of STILLMOTION_SIGNING_KEY cannot be read; `stillmotion keys make` makes one",
                path=str(self.folder / name),
            ) from error


def make_keys(folder: Path, organisation: str) -> KeyFolder:
    """Make a key, its certificate and the authority's; the authority's own key is not kept.

    Args:
        folder: Made if it is not there, for its owner alone.
        organisation: Who signs, as others read it.

    Raises:
        UsageError: There is a key already, or the folder cannot be written.
    """
    from cryptography.hazmat.primitives.asymmetric import ec

    root, leaf = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    above = _certificate(organisation, "content authority", root, root, None)
    own = _certificate(organisation, "content signing", leaf, root, above)
    files = {KEY: _key_pem(leaf), CHAIN: _pem(own) + _pem(above), AUTHORITY: _pem(above)}
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name, data in files.items():
            with os.fdopen(os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE), "wb") as stream:
                stream.write(data)
    except FileExistsError as error:
        raise UsageError(f"there is a key in {folder} already; choose another folder with --out") from error
    except OSError as error:
        raise UsageError(f"{folder} cannot be written: {error.strerror}; choose another with --out") from error
    return KeyFolder(folder)


def _certificate(
    organisation: str,
    title: str,
    key: "EllipticCurvePrivateKey",
    issuer_key: "EllipticCurvePrivateKey",
    issuer: "x509.Certificate | None",
) -> "x509.Certificate":
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.x509.oid import NameOID

    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, organisation),
            x509.NameAttribute(NameOID.COMMON_NAME, f"{organisation} {title}"),
        ]
    )
    begin = datetime.now(UTC) - CLOCKS_APART
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + (VALID if issuer else AUTHORITY_VALID))
    )
    for extension, critical in _extensions(key, issuer_key, authority=issuer is None):
        builder = builder.add_extension(extension, critical=critical)
    return builder.sign(issuer_key, hashes.SHA256())


def _extensions(
    key: "EllipticCurvePrivateKey", issuer_key: "EllipticCurvePrivateKey", *, authority: bool
) -> "list[tuple[x509.ExtensionType, bool]]":
    from cryptography import x509
    from cryptography.x509.oid import ExtendedKeyUsageOID

    usage = x509.KeyUsage(
        digital_signature=not authority,
        key_cert_sign=authority,
        crl_sign=authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
    found: list[tuple[x509.ExtensionType, bool]] = [
        (x509.BasicConstraints(ca=authority, path_length=0 if authority else None), True),
        (usage, True),
        (x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False),
        (x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), False),
    ]
    if not authority:  # e-mail protection is the purpose that verifiers of content credentials accept by default
        found.append((x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), False))
    return found


def _pem(certificate: "x509.Certificate") -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding

    return certificate.public_bytes(Encoding.PEM)


def _key_pem(key: "EllipticCurvePrivateKey") -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
