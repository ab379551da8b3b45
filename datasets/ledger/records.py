"""Rows of the ledger as plain frozen values."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


@dataclass(frozen=True)
class RunRecord:
    """One run of a flow. Times are UTC; ``host`` and ``pid`` tell whether its process still lives."""

    run_id: str
    flow_run_id: str | None
    flow: str
    recipe: str
    parameters: dict[str, Any]
    status: str
    started_at: datetime
    finished_at: datetime | None
    heartbeat_at: datetime
    host: str
    pid: int
    version: str
    purpose: str
    summary: dict[str, Any] | None = None


@dataclass(frozen=True)
class ItemRecord:
    """One item of a run; ``status`` is None while it is on its way, and ``percent`` says how far it is."""

    run_id: str
    item: str
    position: int
    source: str
    asset_digest: str | None = None
    status: str | None = None
    reasons: list[dict[str, Any]] = field(default_factory=list)
    percent: float | None = None


@dataclass(frozen=True)
class StageRecord:
    """One stage of one item: computed, taken from the cache, skipped, or failed with a code."""

    stage_run_id: str
    run_id: str
    item: str
    position: int
    stage: str
    fingerprint: str
    model: str | None
    device: str | None
    seconds: float
    peak_memory_bytes: int | None
    cached: bool
    chunks: int
    skipped: str | None
    error_code: str | None
    task_run_id: str | None
    started_at: datetime


@dataclass(frozen=True)
class OutputRecord:
    """One delivered file."""

    run_id: str
    item: str
    role: str
    path: str
    sha256: str
    bytes: int
    width: int
    height: int
    format: str
    fingerprint: str
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ErrorRecord:
    """One failure, with the stable code and the facts of its error."""

    error_id: str
    run_id: str
    item: str | None
    stage: str | None
    code: str
    message: str
    facts: dict[str, Any]
    at: datetime
