"""Sealing a credential: AES-256-GCM under the tenant's key, bound to tenant, name, version and dates.

Source: NIST SP 800-38D; a random 96-bit nonce for each of at most 2**32 versions per tenant.
"""

import base64
import binascii
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from datasets.errors import UsageError
from datasets.identity import canonical_json
from datasets.vault_errors import SecretUnreadableError
from datasets.vault_keys import MasterKey

FORMAT = "stillmotion secret 1"
NONCE_BYTES = 12


@dataclass(frozen=True)
class Address:
    """Whose credential it is, its name, and which version."""

    tenant: str
    name: str
    version: int


@dataclass(frozen=True)
class Sealed:
    """A sealed version: facts in the clear, which cannot be changed either, nonce and ciphertext as base64."""

    label: Mapping[str, Any]
    nonce: str
    ciphertext: str


def seal(value: str, address: Address, facts: Mapping[str, Any], master: MasterKey) -> Sealed:
    """Seal a value for an address.

    Args:
        value: The credential.
        address: What it is bound to.
        facts: Dates and the like, kept in the clear, bound as well. Plain JSON values, no floats.
        master: The installation's key.
    """
    label = {**facts, "key_id": master.id}
    nonce = secrets.token_bytes(NONCE_BYTES)
    cipher = AESGCM(master.of_tenant(address.tenant))
    return Sealed(label, _text(nonce), _text(cipher.encrypt(nonce, value.encode(), _bound(address, label))))


def unseal(sealed: Sealed, address: Address, master: MasterKey) -> str:
    """The value that was sealed for just this address.

    Raises:
        SecretUnreadableError: Something was swapped or changed, or another master key sealed it.
    """
    try:
        nonce, ciphertext = _bytes(sealed.nonce), _bytes(sealed.ciphertext)
        cipher = AESGCM(master.of_tenant(address.tenant))
        return cipher.decrypt(nonce, ciphertext, _bound(address, sealed.label)).decode()
    except (InvalidTag, binascii.Error, ValueError, UsageError):
        raise SecretUnreadableError(
            f"version {address.version} of {address.name!r} cannot be opened: {_guess(sealed, master)}; set it again, "
            "or bring the right master key",
            name=address.name,
            version=address.version,
        ) from None  # what the libraries say may hold a piece of what was read


def _guess(sealed: Sealed, master: MasterKey) -> str:
    if sealed.label.get("key_id") == master.id:
        return "what is stored was changed, or belongs to another name, version or tenant"
    return f"it was not sealed with the master key {master.id} that this process has"


def _bound(address: Address, label: Mapping[str, Any]) -> bytes:
    about = {"format": FORMAT, "tenant": address.tenant, "name": address.name, "version": address.version}
    return canonical_json({**about, "label": label}).encode()


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _bytes(text: str) -> bytes:
    data = base64.b64decode(text, validate=True)
    if _text(data) != text:  # the last character may carry bits that mean nothing; one spelling only
        raise ValueError("not canonical")
    return data
