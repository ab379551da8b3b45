"""Which version of a credential holds when, and what should be said about it in time."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Any, Literal

from datasets.vault_errors import SecretExpiredError, SecretRetiredError, SecretUnreadableError
from datasets.vault_store import Stored

State = Literal["current", "grace", "superseded", "expired", "retired"]
WARN_AHEAD = timedelta(days=14)
WARN_SHARE = 5  # of a short life, warn in its last fifth


@dataclass(frozen=True)
class Version:
    """One version, without its value. Times are UTC.

    Attributes:
        expires_at: When the credential itself ends, if it does.
        rotate_every: How long it should be in use at most, if that was said.
        valid_until: The end of its grace period, once there is a newer one that is not retired.
    """

    name: str
    version: int
    state: State
    created_at: datetime
    expires_at: datetime | None
    rotate_every: timedelta | None
    valid_until: datetime | None
    key_id: str


@dataclass(frozen=True)
class DueWarning:
    """What its owner should do about a credential, and until when."""

    code: Literal["secret_expired", "secret_expires_soon", "secret_rotation_due"]
    name: str
    version: int
    due_at: datetime
    message: str


def label_of(
    created_at: datetime, expires_at: datetime | None, rotate_every: timedelta | None, grace: timedelta
) -> dict[str, Any]:
    """The facts of a version as they are sealed with it."""
    return {
        "created_at": created_at.astimezone(UTC).isoformat(),
        "expires_at": None if expires_at is None else expires_at.astimezone(UTC).isoformat(),
        "rotate_every_s": None if rotate_every is None else round(rotate_every.total_seconds()),
        "grace_s": round(grace.total_seconds()),
    }


def history(newest_first: Sequence[Stored], now: datetime) -> list[Version]:
    """The versions of one credential as they stand at a moment, in the same order.

    The newest that is not retired is current; those before it are valid until their successor's grace period is over.
    """
    found: list[Version] = []
    current = next((stored for stored in newest_first if not stored.is_retired), None)
    newer: Stored | None = None
    for stored in newest_first:
        until = None if newer is None or stored is current else _moment(newer, "created_at") + _span(newer, "grace_s")
        found.append(_version(stored, stored is current, until, now))
        newer = stored
    return found


def refuse_invalid(version: Version) -> None:
    """Refuse a version that does not hold any more.

    Raises:
        SecretExpiredError: Its last day is over.
        SecretRetiredError: It was retired, or its grace period is over.
    """
    facts = {"name": version.name, "version": version.version}
    if version.state == "expired":
        raise SecretExpiredError(
            f"version {version.version} of {version.name!r} ended at {version.expires_at}; rotate it", **facts
        )
    if version.state == "retired":
        raise SecretRetiredError(f"version {version.version} of {version.name!r} was retired; set a new one", **facts)
    if version.state == "superseded":
        raise SecretRetiredError(
            f"version {version.version} of {version.name!r} was followed by another and held until "
            f"{version.valid_until}; take the current one",
            **facts,
        )


def due(versions: Sequence[Version], now: datetime, ahead: timedelta = WARN_AHEAD) -> list[DueWarning]:
    """What should be done soon about credentials in use, the most urgent first.

    Args:
        versions: Of one or several names, a name's newest first.
        now: The moment.
        ahead: How early to warn; of a life shorter than five times that, in its last fifth.
    """
    warnings: list[DueWarning] = []
    for _, of_name in groupby(versions, key=lambda version: version.name):
        in_use = next((version for version in of_name if version.state != "retired"), None)
        if in_use is not None:
            warnings += [warning for warning in (_expiry(in_use, now, ahead), _rotation(in_use, now, ahead)) if warning]
    return sorted(warnings, key=lambda warning: warning.due_at)


def _expiry(version: Version, now: datetime, ahead: timedelta) -> DueWarning | None:
    end = version.expires_at
    if end is None or now < end - min(ahead, (end - version.created_at) / WARN_SHARE):
        return None
    if now >= end:
        words = f"the credential {version.name!r} ended at {end:%Y-%m-%d %H:%M} UTC and is refused"
        code: Literal["secret_expired", "secret_expires_soon"] = "secret_expired"
    else:
        words = f"the credential {version.name!r} ends at {end:%Y-%m-%d %H:%M} UTC"
        code = "secret_expires_soon"
    return DueWarning(code, version.name, version.version, end, f"{words}; stillmotion secrets rotate {version.name}")


def _rotation(version: Version, now: datetime, ahead: timedelta) -> DueWarning | None:
    if version.rotate_every is None:
        return None
    at = version.created_at + version.rotate_every
    if now < at - min(ahead, version.rotate_every / WARN_SHARE):
        return None
    words = f"the credential {version.name!r} {'was' if now >= at else 'is'} to be rotated by {at:%Y-%m-%d %H:%M} UTC"
    message = f"{words}; stillmotion secrets rotate {version.name}"
    return DueWarning("secret_rotation_due", version.name, version.version, at, message)


def _version(stored: Stored, is_current: bool, until: datetime | None, now: datetime) -> Version:
    expires_at = _moment(stored, "expires_at") if stored.sealed.label.get("expires_at") else None
    rotate_every = _span(stored, "rotate_every_s") if stored.sealed.label.get("rotate_every_s") else None
    state: State = "current" if is_current else "grace"
    if stored.is_retired:
        state = "retired"
    elif until is not None and now >= until:
        state = "superseded"
    elif expires_at is not None and now >= expires_at:
        state = "expired"
    return Version(
        name=stored.address.name,
        version=stored.address.version,
        state=state,
        created_at=_moment(stored, "created_at"),
        expires_at=expires_at,
        rotate_every=rotate_every,
        valid_until=until,
        key_id=str(stored.sealed.label.get("key_id")),
    )


def _moment(stored: Stored, name: str) -> datetime:
    with _explained(stored):
        return datetime.fromisoformat(stored.sealed.label[name]).astimezone(UTC)


def _span(stored: Stored, name: str) -> timedelta:
    with _explained(stored):
        return timedelta(seconds=stored.sealed.label[name])


@contextmanager
def _explained(stored: Stored) -> Iterator[None]:
    try:
        yield
    except (KeyError, TypeError, ValueError, OverflowError):
        name, version = stored.address.name, stored.address.version
        raise SecretUnreadableError(
            f"the dates of version {version} of {name!r} were changed; set it again", name=name, version=version
        ) from None
