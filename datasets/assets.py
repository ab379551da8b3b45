"""Assets: immutable bytes named by their sha256. A changed file behind the same path is another asset."""

from datasets.errors import OutputDamagedError
from datasets.identity import check_digest, digest_bytes
from datasets.storage import Storage


def asset_path(digest: str) -> str:
    """Where an asset lies below the tenant's folder."""
    return f"assets/{check_digest(digest)[:2]}/{digest}"


def put_asset(storage: Storage, data: bytes) -> str:
    """Keep some bytes and return their digest. Bytes that are there already are not written again."""
    digest = digest_bytes(data)
    if storage.size(asset_path(digest)) != len(data):
        storage.write_bytes(asset_path(digest), data)
    return digest


def has_asset(storage: Storage, digest: str) -> bool:
    return storage.exists(asset_path(digest))


def get_asset(storage: Storage, digest: str) -> bytes:
    """The bytes of an asset, checked against their name.

    Raises:
        NotFoundError: The asset is not there.
        OutputDamagedError: The stored bytes are not those that were put there.
    """
    data = storage.read_bytes(asset_path(digest))
    if digest_bytes(data) != digest:
        raise OutputDamagedError(
            f"the stored copy of {digest[:12]}… was changed on disk; remove it and run again", digest=digest
        )
    return data
