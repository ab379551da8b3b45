"""The vault: a tenant's credentials, sealed, in versions, every read on record."""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from datasets import vault_store as store
from datasets.errors import PipelineError, StorageUnavailableError, UsageError
from datasets.identity import check_tenant
from datasets.ledger.engine import Ledger, open_ledger
from datasets.ledger.secret_reads import HANDED_OUT, SecretRead, reads, record_read
from datasets.redaction_forms import SHORTEST
from datasets.secret import Secret
from datasets.settings import Settings
from datasets.vault_errors import SecretMissingError
from datasets.vault_keys import MasterKey, read_master_key
from datasets.vault_seal import Address, Sealed, seal, unseal
from datasets.vault_store import Stored
from datasets.vault_versions import WARN_AHEAD, DueWarning, Version, due, history, label_of, refuse_invalid

NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,62}")
NO_NAME = "(not a name)"  # on record instead of what was given: perhaps the credential itself
GRACE = timedelta(hours=24)  # longer than a run that holds the version before
LARGEST = 1 << 16  # bytes; a credential, not a file
TRIES = 1000  # each is lost to another writer, whose version is then there


class Vault:
    """The credentials of one tenant. Used by several threads at once; a process makes its own.

    Args:
        tenant: Whose they are.
        ledger: Takes the reads down.
        reader: Who reads: a run's id, or the command.
        key: The master key; None: the installation's own, looked up at each use.
        clock: Says what time it is, with a zone.
    """

    def __init__(
        self,
        tenant: str,
        ledger: Ledger,
        *,
        reader: str,
        key: MasterKey | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._tenant = check_tenant(tenant)
        self._ledger = ledger
        self._reader = reader
        self._key = key
        self._clock = clock

    # writing

    def put(
        self, name: str, secret: str, *, expires_at: datetime | None = None, rotate_every: timedelta | None = None
    ) -> int:
        """Keep a credential. If there is one of that name, this is its next version, current at once.

        Args:
            name: Lower-case letters, digits, ``_``, ``.`` and ``-``.
            secret: 8 characters or more: shorter ones could not be kept out of logs.
            expires_at: When the credential ends, with a zone.
            rotate_every: How long it should be in use at most.

        Returns:
            The version.

        Raises:
            UsageError: The name, the value or a date is not one.
            MasterKeyError: There is no usable master key.
            StorageUnavailableError: The Prefect server does not answer.
        """
        _check_name(name)
        return self._add(name, secret, expires_at, rotate_every, GRACE)

    def rotate(self, name: str, new: str, *, expires_at: datetime | None = None, grace: timedelta = GRACE) -> int:
        """Keep a new version, current at once; the one before stays valid for the grace period.

        The rotation schedule goes on; an end does not: that was the old credential's.

        Returns:
            The version.

        Raises:
            SecretMissingError: There is nothing of that name to rotate.
            UsageError: As ``put`` does, or the grace period is negative.
        """
        _check_name(name)
        newest = self._history(name)[0]
        if grace < timedelta(0):
            raise UsageError("a grace period is zero or longer")
        return self._add(name, new, expires_at, newest.rotate_every, grace)

    def retire(self, name: str, version: int) -> None:
        """Take a version out of use for good: its ciphertext is erased. Retired already, nothing is done.

        Raises:
            SecretMissingError: There is no such version.
        """
        _check_name(name)
        stored = next((each for each in store.versions(self._tenant, name) if each.address.version == version), None)
        if stored is None:
            raise _missing(name, version)
        if not stored.is_retired:
            store.erase(stored)

    # reading

    def get(self, name: str, *, version: int | None = None, purpose: str = "unstated") -> Secret:
        """Hand a credential out, after this was written down. A refusal is written down, too.

        Args:
            name: Which one.
            version: A version that was got before; None: the current one.
            purpose: What for, in a few words.

        Raises:
            SecretMissingError: There is none.
            SecretExpiredError: It ended.
            SecretRetiredError: The version was retired, or its grace period is over.
            SecretUnreadableError: What is stored is not what was sealed, or was sealed with another master key.
            MasterKeyError: There is no usable master key.
            StorageUnavailableError: Prefect's server or the ledger does not answer.
        """
        noted = SecretRead(
            name=name if NAME.fullmatch(name) else NO_NAME,
            version=version,
            reader=self._reader,
            purpose=purpose,
            outcome=HANDED_OUT,
            at=self._clock(),
        )
        try:
            secret = self._open(name, version)
        except PipelineError as error:
            found = error.facts.get("version", version)
            refused = replace(noted, outcome=error.code, version=found if isinstance(found, int) else version)
            record_read(self._ledger, self._tenant, refused)
            raise
        record_read(self._ledger, self._tenant, replace(noted, version=secret.version))
        return secret

    def versions(self, name: str | None = None) -> list[Version]:
        """All versions of all credentials, or of one, a name's newest first. No values: nobody is put on record."""
        if name is not None:
            return history(store.versions(self._tenant, name), self._clock())
        by_name: dict[str, list[Stored]] = {}
        for stored in store.everything(self._tenant):
            by_name.setdefault(stored.address.name, []).append(stored)
        return [version for of_name in by_name.values() for version in history(of_name, self._clock())]

    def due(self, ahead: timedelta = WARN_AHEAD, *, name: str | None = None) -> list[DueWarning]:
        """Credentials that end or should be rotated soon, or this one alone, the most urgent first."""
        return due(self.versions(name), self._clock(), ahead)

    def reads(self, *, name: str | None = None, limit: int | None = None) -> Sequence[SecretRead]:
        """Who read what, the latest first."""
        return reads(self._ledger, self._tenant, name=name, limit=limit)

    def _open(self, name: str, wanted: int | None) -> Secret:
        _check_name(name)
        newest_first = store.versions(self._tenant, name)
        found = history(newest_first, self._clock())
        for stored, version in zip(newest_first, found, strict=True):
            if version.version == wanted or (wanted is None and version.state != "retired"):
                refuse_invalid(version)
                value = unseal(stored.sealed, stored.address, self._key or read_master_key())
                return Secret(value, name=name, version=version.version)
        if wanted is None and found:
            refuse_invalid(found[0])  # all of them are retired
        raise _missing(name, wanted)

    def _history(self, name: str) -> list[Version]:
        found = history(store.versions(self._tenant, name), self._clock())
        if not found:
            raise _missing(name)
        return found

    def _add(
        self,
        name: str,
        value: str,
        expires_at: datetime | None,
        rotate_every: timedelta | None,
        grace: timedelta,
    ) -> int:
        _check_value(value)
        _check_times(expires_at, rotate_every, self._clock())
        master = self._key or read_master_key(create=True)
        Secret(value, name=name, version=0)  # known from here on, so that nothing below can say it
        address = Address(self._tenant, name, 0)
        sealed: Sealed | None = None
        for _ in range(TRIES):
            known = store.versions(self._tenant, name)
            for stored in known if sealed else []:
                if stored.sealed == sealed:  # it was taken, only the answer got lost
                    return stored.address.version
            address = replace(address, version=max([address.version, *(each.address.version for each in known)]) + 1)
            sealed = seal(value, address, label_of(self._clock(), expires_at, rotate_every, grace), master)
            if store.create(address, sealed):
                return address.version
        raise StorageUnavailableError(f"{name!r} is being written by too many at once; try again", name=name)


def open_vault(settings: Settings, *, reader: str) -> Vault:
    """The vault of the settings' tenant, reads going to the settings' ledger.

    Args:
        settings: The installation's.
        reader: Who reads: a run's id, or the command.
    """
    return Vault(settings.tenant, open_ledger(settings.ledger, owner_url=settings.ledger_owner_url), reader=reader)


def _check_name(name: str) -> None:
    if not NAME.fullmatch(name):
        raise UsageError(
            "a credential's name has 1 to 63 lower-case letters, digits, '_', '.' and '-', and begins with a letter or "
            f"digit; what was given, {len(name)} characters, is not repeated here"
        )


def _check_value(value: str) -> None:
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        raise UsageError("a credential is text that can be written as UTF-8") from None
    if len(value.strip()) < SHORTEST or size > LARGEST:
        raise UsageError(
            f"a credential has {SHORTEST} characters at least, or it could not be kept out of logs, and {LARGEST} "
            f"bytes at most; this one has {len(value.strip())} characters"
        )


def _check_times(expires_at: datetime | None, rotate_every: timedelta | None, now: datetime) -> None:
    if expires_at is not None and (expires_at.tzinfo is None or expires_at <= now):
        raise UsageError(f"an end is a time to come, with a zone; got {expires_at}")
    if rotate_every is not None and rotate_every < timedelta(seconds=1):
        raise UsageError(f"a rotation schedule is a second or longer; got {rotate_every}")


def _missing(name: str, version: int | None = None) -> SecretMissingError:
    which = f"no version {version} of" if version is not None else "no"
    facts = {} if version is None else {"version": version}
    return SecretMissingError(
        f"this tenant has {which} credential {name!r}; `stillmotion secrets list` names them", name=name, **facts
    )
