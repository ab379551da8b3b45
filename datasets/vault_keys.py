"""The master key of an installation, and the keys of tenants made of it."""

import base64
import contextlib
import os
import secrets
import stat
from pathlib import Path
from typing import NoReturn

import platformdirs
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from datasets.redaction import remember
from datasets.vault_errors import MasterKeyError

KEY_BYTES = 32  # AES-256
KEY_ID_BYTES = 8
SALT = b"stillmotion vault 1"
HOW_TO_MAKE = "`openssl rand -base64 32` makes one"


class KeySettings(BaseSettings):
    """Where the master key is. Apart from the other settings, which travel to workers and into messages."""

    model_config = SettingsConfigDict(
        env_prefix="STILLMOTION_", env_file=".env", extra="ignore", frozen=True, env_ignore_empty=True
    )

    master_key: SecretStr | None = Field(default=None, description="Master key of the vault: base64 of 32 bytes.")
    master_key_file: Path | None = Field(
        default=None, description="File with the master key; empty: one in the user's data folder, made on first use."
    )


class MasterKey:
    """32 bytes that all credentials are sealed under, shown to nobody."""

    __slots__ = ("__key", "id")

    def __init__(self, key: bytes) -> None:
        """
        Args:
            key: 32 bytes.

        Raises:
            MasterKeyError: They are not 32.
        """
        if len(key) != KEY_BYTES:
            raise MasterKeyError(f"the master key has {len(key)} bytes instead of {KEY_BYTES}; {HOW_TO_MAKE}")
        self.__key = key
        self.id = self._derived(b"key id", KEY_ID_BYTES).hex()

    def of_tenant(self, tenant: str) -> bytes:
        """The key of one tenant, 32 bytes. Source: RFC 5869, HKDF-SHA256."""
        return self._derived(b"tenant:" + tenant.encode(), KEY_BYTES)

    def _derived(self, info: bytes, length: int) -> bytes:
        return HKDF(algorithm=SHA256(), length=length, salt=SALT, info=info).derive(self.__key)

    def __repr__(self) -> str:
        return f"<master key {self.id}>"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a master key does not leave its process")


def read_master_key(*, create: bool = False) -> MasterKey:
    """The master key of ``STILLMOTION_MASTER_KEY``, else of the key file.

    Args:
        create: Make the key file if there is none.

    Raises:
        MasterKeyError: There is none, it is not one, or others may read the file.
    """
    settings = KeySettings()
    if settings.master_key is not None:
        return _decoded(settings.master_key.get_secret_value(), "STILLMOTION_MASTER_KEY")
    path = settings.master_key_file or Path(platformdirs.user_data_dir("stillmotion")) / "master.key"
    try:
        if create and not path.exists():
            _make(path)
        return _decoded(_read_private(path), str(path))
    except FileNotFoundError as error:
        raise MasterKeyError(
            f"there is no master key: neither STILLMOTION_MASTER_KEY nor the file {path}; bring the key that the "
            "credentials were sealed with, or begin with `stillmotion secrets set`"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise MasterKeyError(f"the master key at {path} cannot be read or made ({type(error).__name__})") from error


def _make(path: Path) -> None:
    """A new key file, whole or not at all; of several processes at once, one makes it."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    part = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(base64.b64encode(secrets.token_bytes(KEY_BYTES)) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            path.hardlink_to(part)  # unlike a rename, it leaves the key of whoever was first
    finally:
        part.unlink()


def _read_private(path: Path) -> str:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        facts = os.fstat(file.fileno())
        if facts.st_mode & 0o077 or facts.st_uid not in (os.getuid(), 0):
            raise MasterKeyError(
                f"the master key at {path} may be read by others (mode {stat.S_IMODE(facts.st_mode):04o}); make it "
                f"yours alone: chmod 600 {path}",
                path=str(path),
            )
        return file.read(4096).decode("ascii")


def _decoded(text: str, place: str) -> MasterKey:
    remember(text.strip())
    try:
        return MasterKey(base64.b64decode(text.strip(), validate=True))
    except ValueError:  # binascii.Error among them
        raise MasterKeyError(f"the master key in {place} is not base64; {HOW_TO_MAKE}") from None
