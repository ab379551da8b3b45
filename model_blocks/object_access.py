"""How an installation gets at what lies on S3: storage root and weights mirror alike."""

from typing import Any

from datasets.object_store import S3, object_store_options
from datasets.settings import Settings


def access_options(url: str | None, settings: Settings) -> dict[str, Any]:
    """What a URL's file system needs besides it: the settings' own, or those of the block they name.

    Raises:
        SettingsError: The Prefect server has no such block.
    """
    if not url or not url.startswith(S3):
        return {}
    if settings.storage_block:
        from model_blocks.blocks import load_object_store  # imports Prefect

        return load_object_store(settings.storage_block)
    return object_store_options(settings)
