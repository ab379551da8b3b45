"""Settings from the environment (``STILLMOTION_*``) and ``.env``, read once at the edge and handed down as values."""

import os
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote, urlsplit

import platformdirs
from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict
from pydantic_settings import SettingsError as UnreadableError

from datasets.errors import SettingsError
from datasets.identity import TENANT
from datasets.known_secrets import remember_addresses, remember_environment

MEBIBYTE = 1 << 20
ADDRESSES = ("ledger_url", "ledger_owner_url", "lineage_url", "weights_mirror")  # may hold a login


class Settings(BaseSettings):
    """Everything an installation decides. Every field is an environment variable ``STILLMOTION_<NAME>``."""

    model_config = SettingsConfigDict(
        env_prefix="STILLMOTION_", env_file=".env", extra="ignore", frozen=True, env_ignore_empty=True
    )

    storage_root: str = Field(
        default_factory=lambda: platformdirs.user_data_dir("stillmotion"),
        description="Where assets, frame stores and outputs live: a folder or an fsspec URL (file, s3, memory).",
    )
    storage_block: str = Field(
        default="", description="Name of a saved Prefect block with the S3 service's address and credentials."
    )
    s3_endpoint: str | None = Field(default=None, description="Address of an S3 service that is not Amazon's.")
    s3_region: str | None = Field(default=None, description="Region of the S3 service.")
    s3_path_style: bool = Field(default=False, description="Whether buckets are paths rather than host names.")
    ledger_url: str = Field(
        default="",
        repr=False,
        description="SQLAlchemy URL of the ledger; empty: a SQLite file beside the local storage root.",
    )
    ledger_owner_url: str = Field(
        default="",
        repr=False,
        description="On PostgreSQL, the role that owns the ledger's tables: brings them up to date, lets the other in.",
    )
    tenant: str = Field(default="default", description="Whose work this is; kept apart from everybody else's.")
    weights_dir: Path | None = Field(default=None, description="Folder with the model authors' weight files.")
    weights_mirror: str | None = Field(
        default=None, repr=False, description="fsspec URL of a mirror of the weight files."
    )
    dask_address: str | None = Field(default=None, description="Scheduler of an existing Dask cluster.")
    workers: int = Field(default=1, ge=1, le=256, description="Worker processes; 1 works inside the process itself.")
    memory_limit_mb: int | None = Field(
        default=None, ge=64, description="Memory that one worker may plan with, in MiB; empty: a share of what is free."
    )
    model_memory_mb: int | None = Field(
        default=None,
        ge=1,
        description="What one worker's models may take of a device's memory, in MiB; empty: a share of it.",
    )
    model_idle_s: float = Field(
        default=300.0, gt=0, description="How long a model that nobody asks for is kept, in seconds."
    )
    disk_reserve_mb: int = Field(default=256, ge=0, description="Disk space in MiB that a plan must leave free.")
    device: Literal["auto", "cpu", "cuda"] = Field(default="auto", description="Where models run.")
    max_input_mb: int = Field(default=256, ge=1, description="Largest photograph file, in MiB.")
    max_megapixels: float = Field(default=120.0, gt=0, description="Largest photograph, in millions of pixels.")
    min_side: int = Field(default=1, ge=1, description="Smallest accepted width or height, in pixels.")
    read_timeout_s: float = Field(default=30.0, gt=0, description="Longest time to decode one photograph, in seconds.")
    fetch_allow: str = Field(
        default="",
        description="Own image servers, as host:port,host:port: reached also over http and on private addresses.",
    )
    fetch_max_mb: int = Field(default=64, ge=1, le=1024, description="Largest picture fetched by URL, in MiB.")
    fetch_timeout_s: float = Field(default=60.0, gt=0, description="Longest time to fetch one picture, in seconds.")
    fetch_per_host: int = Field(default=8, ge=1, le=64, description="Requests that one host gets at once.")
    fetch_interval_s: float = Field(default=0.0, ge=0, description="Pause between requests to one host, in seconds.")
    fetch_media: str = Field(
        default="image/", min_length=1, description="Accepted beginnings of a fetched picture's media type, by commas."
    )
    lease_s: float = Field(default=15.0, ge=1, description="How long a silent holder keeps an output to itself.")
    lineage_url: str = Field(
        default="",
        repr=False,
        description="HTTP address that takes OpenLineage events, as Marquez does; empty: a file in the storage.",
    )
    place_service: str = Field(
        default="",
        repr=False,
        description="The paid image service: name of a saved Prefect block, or path of a JSON file.",
    )
    paid_calls: int = Field(default=8, ge=1, le=64, description="Calls to a paid service that may be on their way.")
    service_patience_s: float = Field(
        default=900.0, ge=0, description="How long an item waits for a paid service that is away, in seconds."
    )
    unknown_outcomes: Literal["hold", "resend_once"] = Field(
        default="hold",
        description="Where a paid service may have charged and cannot be asked: hold it, or send it again once.",
    )
    gates: dict[str, dict[str, dict[str, Any] | None]] = Field(
        default_factory=dict,
        repr=False,
        description="JSON: what this tenant's gates want different, by gate and expectation.",
    )
    signing_key: Path | None = Field(
        default=None, description="Folder made by `stillmotion keys make`; published files are signed with its key."
    )
    routing: Path | None = Field(
        default=None, description="JSON file with this tenant's rules for the choice of models."
    )
    catalogue_roots: str = Field(
        default="",
        description="Folders that paths in product tables may lead into, separated as in PATH; empty: the parent of "
        "each table's folder.",
    )
    chunk_retries: int = Field(default=3, ge=0, le=20, description="How often a chunk is tried again when it may help.")

    @field_validator("lineage_url")
    @classmethod
    def _lineage_url_is_http(cls, value: str) -> str:
        if value and not value.startswith(("http://", "https://")):
            raise ValueError("give an http:// or https:// address")
        return value

    @field_validator("storage_root", "s3_endpoint", "dask_address")
    @classmethod
    def _no_login_in_address(cls, value: str | None) -> str | None:
        if value and "@" in urlsplit(value).netloc:
            raise ValueError("leave the login out of the address")
        return value

    @field_validator("tenant")
    @classmethod
    def _tenant_is_valid(cls, value: str) -> str:
        if not TENANT.fullmatch(value):
            raise ValueError("use 1 to 63 lower-case letters, digits, '_' and '-', beginning with a letter or digit")
        return value

    @property
    def local_root(self) -> Path | None:
        """The storage root as a local folder, or None if it is elsewhere."""
        if "://" not in self.storage_root:
            return Path(self.storage_root).expanduser().absolute()
        if self.storage_root.startswith("file://"):
            return Path(self.storage_root.removeprefix("file://")).absolute()
        return None

    @property
    def ledger(self) -> str:
        """The ledger's URL with the default filled in."""
        if self.ledger_url:
            return self.ledger_url
        folder = self.local_root or Path(platformdirs.user_data_dir("stillmotion"))
        return f"sqlite:///{quote(str(folder / 'ledger.db'))}"


def read_settings(**overrides: object) -> Settings:
    """The settings of this process; overrides (from a command line) win over the environment.

    Raises:
        SettingsError: A value is out of its bounds; the message names the variable.
    """
    given = {name: value for name, value in overrides.items() if value is not None}
    remember_environment(os.environ)
    try:
        settings = Settings(**given)  # type: ignore[arg-type]  # checked by pydantic itself
    except ValidationError as error:
        first = error.errors(include_input=False, include_context=False)[0]
        name = str(first["loc"][0]).upper() if first["loc"] else ""
        raise SettingsError(
            f"the setting STILLMOTION_{name} does not hold: {first['msg']}; what it says is not repeated here",
            setting=name,
        ) from None
    except UnreadableError as error:  # its text names the field, its cause holds the value
        raise SettingsError(f"a setting is no JSON: {error}; what it says is not repeated here") from None
    remember_addresses(getattr(settings, name) for name in ADDRESSES)
    return settings
