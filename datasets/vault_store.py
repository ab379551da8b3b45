"""Where sealed credentials lie: documents on the Prefect server, one per version, never written over.

The server keeps names of documents unique, so that of several processes one gets a version's number.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

from datasets.errors import SettingsError, StorageUnavailableError
from datasets.vault_seal import Address, Sealed

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

SLUG = "stillmotion-secret"  # of the Block type, which is imported with Prefect only when it is needed
PAGE = 200  # documents that the server gives at most at once
REGISTRATIONS = 10  # others may register the Block type at the same moment
SERVER_BUSY = (409, 503)


@dataclass(frozen=True)
class Stored:
    """A version as the server has it. ``sealed`` holds no ciphertext if it was retired."""

    document_id: UUID
    address: Address
    sealed: Sealed

    @property
    def is_retired(self) -> bool:
        return not self.sealed.ciphertext


def versions(tenant: str, name: str) -> list[Stored]:
    """All versions of a credential, the newest first.

    Raises:
        StorageUnavailableError: The Prefect server does not answer.
    """
    prefix = f"{_digest(tenant)}-{_digest(name)}-v"
    return [_stored(document, tenant, name) for document in _documents(prefix)]


def everything(tenant: str) -> list[Stored]:
    """All versions of all credentials of a tenant, those of a name together, the newest first.

    A document that was given another name by hand is left out; asked for by its own, it is refused.

    Raises:
        StorageUnavailableError: The Prefect server does not answer.
    """
    found = [
        _stored(document, tenant, name)
        for document in _documents(f"{_digest(tenant)}-")
        if _digest(name := str(document["data"].get("secret_name"))) == document["name"].split("-")[1]
    ]
    return sorted(found, key=lambda stored: (stored.address.name, -stored.address.version))


def create(address: Address, sealed: Sealed) -> bool:
    """Keep a new version; False if its number is taken, by whomever.

    Raises:
        StorageUnavailableError: The Prefect server does not answer.
    """
    from prefect.client.schemas.actions import BlockDocumentCreate
    from prefect.exceptions import ObjectAlreadyExists

    with _client() as client:
        block = _registered()
        document = BlockDocumentCreate(
            name=_document_name(address),
            data=_data(address, sealed),
            block_schema_id=block._block_schema_id,
            block_type_id=block._block_type_id,
        )
        try:
            client.create_block_document(document)
        except ObjectAlreadyExists:
            return False
    return True


def erase(stored: Stored) -> None:
    """Take the ciphertext of a version away, and leave what is known of it.

    Raises:
        StorageUnavailableError: The Prefect server does not answer.
    """
    from prefect.client.schemas.actions import BlockDocumentUpdate

    data = _data(stored.address, Sealed(stored.sealed.label, "", ""))
    with _client() as client:
        client.update_block_document(stored.document_id, BlockDocumentUpdate(data=data, merge_existing_data=False))


def _registered() -> Any:
    """The Block type, known to the server."""
    from prefect.exceptions import ObjectAlreadyExists, PrefectHTTPStatusError

    from datasets.vault_block import StillmotionSecret

    for left in reversed(range(REGISTRATIONS)):
        try:
            StillmotionSecret.register_type_and_schema(_sync=True)  # type: ignore[call-arg]  # Prefect's own switch
        except (ObjectAlreadyExists, PrefectHTTPStatusError) as error:
            if not left or (
                isinstance(error, PrefectHTTPStatusError) and error.response.status_code not in SERVER_BUSY
            ):
                raise
        else:
            break
    return StillmotionSecret


def _documents(prefix: str) -> Iterator[dict[str, Any]]:
    """Those whose name begins so, names from Z to A, so that a name's newest version comes first."""
    with _client() as client:
        for page in range(1_000_000):
            wanted = {
                "block_types": {"slug": {"any_": [SLUG]}},
                "block_documents": {"name": {"like_": prefix}, "is_anonymous": {"eq_": False}},
                "sort": "NAME_DESC",
                "limit": PAGE,
                "offset": page * PAGE,
            }
            documents = client.request("POST", "/block_documents/filter", json=wanted).json()
            yield from (document for document in documents if document["name"].startswith(prefix))
            if len(documents) < PAGE:
                return


def _stored(document: dict[str, Any], tenant: str, name: str) -> Stored:
    """A document as a version. Its name says whose it is; what it holds would say what somebody wrote there."""
    address = Address(tenant, name, int(document["name"].rpartition("-v")[2]))
    data = document["data"]
    label = data.get("label")
    sealed = Sealed(
        label if isinstance(label, dict) else {}, str(data.get("nonce", "")), str(data.get("ciphertext", ""))
    )
    return Stored(UUID(document["id"]), address, sealed)


def _data(address: Address, sealed: Sealed) -> dict[str, Any]:
    return {
        "tenant": address.tenant,
        "secret_name": address.name,
        "label": dict(sealed.label),
        "nonce": sealed.nonce,
        "ciphertext": sealed.ciphertext,
    }


def _document_name(address: Address) -> str:
    """Prefect's names have lower-case letters, digits and dashes only, so tenant and name go in as digests."""
    return f"{_digest(address.tenant)}-{_digest(address.name)}-v{address.version:08d}"


def _digest(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:32]


@contextmanager
def _client() -> "Iterator[SyncPrefectClient]":
    """A client of the server; what goes wrong with it is said without what was sent."""
    from httpx import HTTPError
    from prefect.client.orchestration import get_client
    from prefect.exceptions import PrefectException

    try:
        client = get_client(sync_client=True)
    except ValueError as error:
        raise SettingsError("credentials are kept on a Prefect server, and none is set: set PREFECT_API_URL") from error
    try:
        with client:
            yield client
    except (HTTPError, PrefectException) as error:
        raise StorageUnavailableError(
            f"the Prefect server that keeps the credentials cannot be used now ({type(error).__name__}); check "
            "PREFECT_API_URL and its rights, and try again"
        ) from error
