"""Keys of paid services: fetched for each try, put on the wire and nowhere else."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache

from pydantic import SecretStr

from datasets.errors import SettingsError
from datasets.redaction import remember
from datasets.redaction_forms import Known

HIDDEN = "**********"
SHORTEST = 8  # signs; a shorter key might stand in an image by chance, and is none anyway
Secret = SecretStr | Callable[[], SecretStr]


@dataclass(frozen=True)
class Credential:
    """A header that proves who pays.

    Attributes:
        secret: The key, or what yields it for each try, so that a changed key needs no restart.
        header: The header's name.
        prefix: What stands before the key, with its space.
    """

    secret: Secret = field(repr=False)
    header: str = "Authorization"
    prefix: str = "Bearer "

    def reveal(self) -> SecretStr:
        """The key for one try.

        Raises:
            SettingsError: There is none, or it holds signs that no header may hold.
        """
        secret = self.secret if isinstance(self.secret, SecretStr) else self.secret()
        value = secret.get_secret_value()
        if len(value) < SHORTEST or not value.isascii() or not value.isprintable() or " " in value:
            raise SettingsError(
                f"the key for the header {self.header} is shorter than 8 signs or holds spaces, line ends or signs "
                "beyond ASCII; set it anew without quotes and line ends",
                header=self.header,
            )
        remember(value)
        return secret

    def on_the_wire(self, secret: SecretStr) -> tuple[bytes, bytes]:
        """Name and value of the header."""
        return self.header.encode("ascii"), f"{self.prefix}{secret.get_secret_value()}".encode("ascii")


def redact(text: str, secret: SecretStr | None) -> str:
    """The text without the key: a service may repeat it in what it says."""
    return _known(secret.get_secret_value()).sub(text, HIDDEN) if secret is not None else text


def redact_bytes(content: bytes, secret: SecretStr | None) -> bytes:
    """The bytes without the key as it is: quick enough for a picture of any size."""
    return content.replace(secret.get_secret_value().encode(), HIDDEN.encode()) if secret is not None else content


def redact_document(content: bytes, secret: SecretStr | None) -> bytes:
    """Bytes that are no picture without the key in any spelling."""
    if secret is None:
        return content
    found = _known(secret.get_secret_value()).sub(content.decode("latin-1"), HIDDEN)  # a key is ASCII
    return found.encode("latin-1")


@lru_cache(maxsize=8)
def _known(value: str) -> Known:
    known = Known()
    known.add(value)
    return known
