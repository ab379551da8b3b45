"""``stillmotion secrets``: credentials kept sealed on the Prefect server. No command ever prints or takes a value."""

import json
import os
import re
import sys
from collections.abc import Iterable
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from datasets.errors import UsageError
from deployments.cli.inspecting import json_option

if TYPE_CHECKING:
    from datasets.vault import Vault

SPAN = re.compile(r"(\d{1,6})([smhdw])")
UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
LARGEST = 1 << 17  # characters read from standard input; the vault refuses fewer
MINUTE = "%Y-%m-%d %H:%M"

tenant_option = click.option("--tenant", default=None, help="Whose credentials.")
expires_option = click.option("--expires", default=None, metavar="WHEN", help="When it ends: 2027-01-31, or 90d.")
no_value = click.argument("value", nargs=-1, metavar="")


@click.group()
def secrets() -> None:
    """The credentials of services, kept sealed; every read is on record."""


@secrets.command("set")
@click.argument("name")
@no_value
@expires_option
@click.option("--rotate-every", default=None, metavar="SPAN", help="How long it should be in use at most: 90d.")
@tenant_option
@json_option
def set_secret(
    name: str, value: tuple[str, ...], expires: str | None, rotate_every: str | None, tenant: str | None, as_json: bool
) -> int:
    """Keep a credential under NAME. Its value is asked for, or read from standard input."""
    _refuse_argument(value)
    ends, every = _when(expires), _span(rotate_every)
    vault = _vault(tenant, f"secrets set {name}")
    return _written(name, vault.put(name, _value(name), expires_at=ends, rotate_every=every), as_json)


@secrets.command("rotate")
@click.argument("name")
@no_value
@expires_option
@click.option("--grace", default="24h", show_default=True, metavar="SPAN", help="How long the old version stays valid.")
@tenant_option
@json_option
def rotate_secret(
    name: str, value: tuple[str, ...], expires: str | None, grace: str, tenant: str | None, as_json: bool
) -> int:
    """Give NAME a new value, used at once. Jobs that hold the old one go on until its grace period is over."""
    _refuse_argument(value)
    ends, span = _when(expires), _span(grace)
    vault = _vault(tenant, f"secrets rotate {name}")
    return _written(name, vault.rotate(name, _value(name), expires_at=ends, grace=span or timedelta(0)), as_json)


@secrets.command("list")
@tenant_option
@json_option
def list_secrets(tenant: str | None, as_json: bool) -> int:
    """List names, versions, ages and ends, and what is due. Values are not shown."""
    from datasets.vault_versions import due

    vault = _vault(tenant, "secrets list")
    now = datetime.now(UTC)
    found = vault.versions()
    warnings = due(found, now)
    if as_json:
        listed = [_document(asdict(version)) | {"age_s": _seconds(now - version.created_at)} for version in found]
        _print({"secrets": listed, "warnings": [_document(asdict(warning)) for warning in warnings]})
        return 0
    headings = ("name", "version", "state", "age", "ends", "valid until", "rotate by")
    _table(
        headings,
        (
            (
                version.name,
                version.version,
                version.state,
                _age(now - version.created_at),
                _minute(version.expires_at),
                _minute(version.valid_until),
                _minute(version.created_at + version.rotate_every if version.rotate_every else None),
            )
            for version in found
        ),
    )
    for warning in warnings:
        click.echo(f"{warning.message} [{warning.code}]", err=True)
    return 0


@secrets.command("retire")
@click.argument("name")
@click.argument("version", type=click.IntRange(min=1))
@tenant_option
@json_option
def retire_secret(name: str, version: int, tenant: str | None, as_json: bool) -> int:
    """Take a VERSION of NAME out of use at once, for good."""
    _vault(tenant, f"secrets retire {name}").retire(name, version)
    if as_json:
        _print({"name": name, "version": version, "state": "retired"})
    else:
        click.echo(f"{name}: version {version} is retired")
    return 0


@secrets.command("audit")
@click.option("--name", default=None, help="Reads of this credential only.")
@click.option("--limit", type=click.IntRange(min=1), default=100, show_default=True, help="How many, the latest first.")
@tenant_option
@json_option
def audit(name: str | None, limit: int, tenant: str | None, as_json: bool) -> int:
    """Show who read which credential, and who was refused."""
    from datasets.ledger import open_ledger
    from datasets.ledger.secret_reads import reads
    from datasets.settings import read_settings

    settings = read_settings(tenant=tenant)
    ledger = open_ledger(settings.ledger, owner_url=settings.ledger_owner_url)
    found = reads(ledger, settings.tenant, name=name, limit=limit)
    if as_json:
        _print([_document(asdict(read)) for read in found])
        return 0
    rows = (
        (read.at.strftime("%Y-%m-%d %H:%M:%S"), read.name, read.version or "", read.outcome, read.reader, read.purpose)
        for read in found
    )
    _table(("when (UTC)", "name", "version", "outcome", "reader", "purpose"), rows)
    return 0


def _vault(tenant: str | None, command: str) -> "Vault":
    """The vault on the server of this Prefect home, which is started if none is set."""
    from deployments.api_server import environment, wait_until_ready
    from deployments.cli.producing import QUIET, begin_server

    server = begin_server(dry_run=False)
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    if server is not None:
        os.environ.update(environment(server))
    from datasets.settings import read_settings
    from datasets.vault import open_vault

    settings = read_settings(tenant=tenant)
    if server is not None:
        wait_until_ready(server)
    return open_vault(settings, reader=f"stillmotion {command}")


def _refuse_argument(value: tuple[str, ...]) -> None:
    if value:
        raise UsageError(
            "a credential is not given on the command line, where other programs and the shell's history see it; "
            "leave it out to be asked for it, or pipe it in. Consider the one that was given as known to others"
        )


def _value(name: str) -> str:
    """From the terminal without echo, asked twice, or all of standard input less one line end."""
    if sys.stdin.isatty():
        return str(click.prompt(f"value of {name}", hide_input=True, confirmation_prompt=True, err=True))
    data = sys.stdin.buffer.read(LARGEST)
    try:
        return data.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise UsageError("what came on standard input is not text in UTF-8") from None


def _when(given: str | None) -> datetime | None:
    """A moment: a span from now, or a date or time, in UTC unless it says otherwise."""
    if given is None:
        return None
    if SPAN.fullmatch(given):
        return datetime.now(UTC) + (_span(given) or timedelta(0))
    try:
        moment = datetime.fromisoformat(given)
    except ValueError as error:
        raise UsageError(f"--expires takes a date such as 2027-01-31, or a span such as 90d, got {given!r}") from error
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment


def _span(given: str | None) -> timedelta | None:
    if given is None:
        return None
    match = SPAN.fullmatch(given)
    if match is None:
        raise UsageError(f"a span is a number with s, m, h, d or w, such as 90d, got {given!r}")
    return timedelta(**{UNITS[match[2]]: int(match[1])})


def _written(name: str, version: int, as_json: bool) -> int:
    if as_json:
        _print({"name": name, "version": version, "state": "current"})
    else:
        click.echo(f"{name}: version {version} is current")
    return 0


def _document(record: dict[str, Any]) -> dict[str, Any]:
    return {
        f"{key}_s" if isinstance(value, timedelta) else key: _plain(value)
        for key, value in record.items()
    }  # fmt: skip


def _plain(value: object) -> object:
    if isinstance(value, timedelta):
        return _seconds(value)
    return value.isoformat() if isinstance(value, datetime) else value


def _print(document: object) -> None:
    click.echo(json.dumps(document, indent=1))


def _table(headings: Iterable[str], rows: Iterable[Iterable[object]]) -> None:
    from deployments.cli.words import table

    for line in table(headings, rows):
        click.echo(line)


def _age(span: timedelta) -> str:
    seconds = _seconds(span)
    for length, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= length:
            return f"{seconds // length}{unit}"
    return f"{max(0, seconds)}s"


def _seconds(span: timedelta) -> int:
    return round(span.total_seconds())


def _minute(moment: datetime | None) -> str:
    return "" if moment is None else moment.strftime(MINUTE)
