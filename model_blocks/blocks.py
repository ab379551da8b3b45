"""Prefect Blocks: a choice of models, kept on the server under a name and edited in its UI."""

from typing import Any, ClassVar, get_args

from prefect.blocks.core import Block
from pydantic import Field, SecretStr

from datasets.errors import ModelUnknownError, SettingsError
from datasets.known_secrets import told_block
from datasets.object_store import s3_options
from datasets.redaction import remember
from model_blocks.registry import Capability, Purpose

WAYS = "auto, official, embedded, or a model's name"


class ModelSelection(Block):
    """Which model does what. ``auto`` takes the best one that is present and whose licence allows the purpose."""

    _block_type_name: ClassVar[str] = "Stillmotion models"
    _block_type_slug: ClassVar[str] = "stillmotion-models"

    segment: str = Field(default="auto", description=f"Finds the product: {WAYS}.")
    matte: str = Field(default="auto", description=f"Makes its edge soft: {WAYS}.")
    propagate: str = Field(default="auto", description=f"Follows it through a clip: {WAYS}.")
    inpaint: str = Field(default="auto", description=f"Fills what was removed: {WAYS}.")
    upscale: str = Field(default="auto", description=f"Enlarges: {WAYS}.")
    interpolate: str = Field(default="auto", description=f"Makes frames between two others: {WAYS}.")
    detect_faces: str = Field(default="auto", description=f"Finds faces: {WAYS}.")
    restore_faces: str = Field(default="auto", description=f"Restores faces: {WAYS}.")
    purpose: Purpose = Field(default="commercial", description="What the run is for; licences are checked against it.")

    def selection(self) -> dict[str, str]:
        """The choice as plain values, a name or policy per capability."""
        return {name: getattr(self, name) for name in type(self).model_fields if name in get_args(Capability)}


def load_selection(name: str) -> dict[str, str]:
    """The saved choice of that name.

    Raises:
        ModelUnknownError: The Prefect server has no such block.
    """
    try:
        block = ModelSelection.load(name)
    except ValueError as error:
        raise ModelUnknownError(
            f"there is no saved choice of models called {name!r}; save one as a block of type "
            f"{ModelSelection._block_type_slug} in the Prefect UI",
            name=name,
        ) from error
    assert isinstance(block, ModelSelection)
    return block.selection()


class ObjectStore(Block):
    """An S3 service: where it is and how to get in. Empty fields are left to the worker's AWS environment."""

    _block_type_name: ClassVar[str] = "Stillmotion object store"
    _block_type_slug: ClassVar[str] = "stillmotion-object-store"

    endpoint: str | None = Field(default=None, description="Address of a service that is not Amazon's.")
    region: str | None = Field(default=None, description="Region of the service.")
    path_style: bool = Field(default=False, description="Whether buckets are paths rather than host names.")
    access_key_id: SecretStr | None = Field(default=None, description="Access key.")
    secret_access_key: SecretStr | None = Field(default=None, description="Its secret.")
    session_token: SecretStr | None = Field(default=None, description="Token of temporary credentials.")

    def options(self) -> dict[str, Any]:
        """The same as options of an S3 file system."""
        return s3_options(
            endpoint=self.endpoint,
            region=self.region,
            path_style=self.path_style,
            key=_plain(self.access_key_id),
            secret=_plain(self.secret_access_key),
            token=_plain(self.session_token),
        )


def _plain(secret: SecretStr | None) -> str | None:
    if secret is None:
        return None
    remember(secret.get_secret_value())
    return secret.get_secret_value()


def load_object_store(name: str) -> dict[str, Any]:
    """The options of the saved object store of that name.

    Raises:
        SettingsError: The Prefect server has no such block.
    """
    try:
        block = ObjectStore.load(name)
    except ValueError:
        raise SettingsError(
            f"there is no saved object store called {told_block(name)}; save one as a block of type "
            f"{ObjectStore._block_type_slug} in the Prefect UI, or clear STILLMOTION_STORAGE_BLOCK"
        ) from None
    assert isinstance(block, ObjectStore)
    return block.options()
