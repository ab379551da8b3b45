"""Reads ``prefect.yaml``, the one place that says which deployments there are: for ``serve`` and ``prefect deploy``."""

import hashlib
import importlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from datasets.errors import SettingsError

FILE = "prefect.yaml"


class CronSchedule(BaseModel):
    """When a deployment runs by itself."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    cron: str
    timezone: str = "UTC"
    active: bool = True
    slug: str | None = None


class ConcurrencyLimit(BaseModel):
    """How many runs of a deployment may be under way, and what becomes of one more."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    limit: int = Field(ge=1)
    collision_strategy: Literal["ENQUEUE", "CANCEL_NEW"] = "ENQUEUE"


class WorkPool(BaseModel):
    """Where ``prefect deploy`` sends a deployment's runs."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str
    work_queue_name: str | None = None
    job_variables: dict[str, Any] = Field(default_factory=dict)


class Declared(BaseModel):
    """One deployment as the file declares it."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str
    entrypoint: str = Field(pattern=r"^[a-z_/]+\.py:[a-z_]+$")
    description: str
    tags: tuple[str, ...] = ()
    parameters: dict[str, Any] = Field(default_factory=dict)
    work_pool: WorkPool
    concurrency_limit: ConcurrencyLimit
    schedules: tuple[CronSchedule, ...] = ()
    enforce_parameter_schema: bool = True

    @property
    def module(self) -> str:
        """The flow's module, so that it is found wherever the packages are installed."""
        return self.entrypoint.partition(":")[0].removesuffix(".py").replace("/", ".")

    @property
    def full_name(self) -> str:
        """``flow/deployment``, as Prefect names it."""
        return f"{self.entrypoint.partition(':')[2]}/{self.name}"

    def load_flow(self) -> Any:
        """The flow itself; imports what it needs."""
        return getattr(importlib.import_module(self.module), self.entrypoint.partition(":")[2])

    def version(self, schema: Mapping[str, Any]) -> str:
        """Tells whether file or form changed since it was registered: 12 digits of a sha256 over both."""
        content = json.dumps([self.model_dump(mode="json"), schema], sort_keys=True, default=str)
        return hashlib.sha256(content.encode()).hexdigest()[:12]


@dataclass(frozen=True)
class DeploymentFile:
    """What the file declares."""

    path: Path
    deployments: tuple[Declared, ...] = field(default=())


def read_deployments(path: Path) -> DeploymentFile:
    """The deployments of a file, checked.

    Raises:
        SettingsError: There is no such file, or what it says does not hold; the message names deployment and field.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        content = YAML(typ="safe").load(path)
    except OSError as error:
        raise SettingsError(
            f"cannot read {path}: {error.strerror}; run this where {FILE} is, or name one with --file", path=str(path)
        ) from error
    except YAMLError as error:
        raise SettingsError(f"{path} is no YAML: {' '.join(str(error).split())}", path=str(path)) from error
    listed = content.get("deployments") if isinstance(content, dict) else None
    if not isinstance(listed, list) or not listed:
        raise SettingsError(f"{path} has no list `deployments`", path=str(path))
    return DeploymentFile(path, tuple(_declared(entry, path) for entry in listed))


def find_file() -> Path:
    """The file in this folder, else the one beside the packages, as in a clone."""
    beside = Path(__file__).parents[1] / FILE
    return beside if not Path(FILE).exists() and beside.exists() else Path(FILE)


def _declared(entry: object, path: Path) -> Declared:
    try:
        return Declared.model_validate(entry)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = entry.get("name") if isinstance(entry, dict) else None
        where = ".".join(map(str, first["loc"]))
        raise SettingsError(f"{path}: deployment {name!r}, {where}: {first['msg']}", path=str(path)) from error
