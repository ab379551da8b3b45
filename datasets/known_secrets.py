"""Secrets that stand in addresses and in the environment: made known, so that nothing written down says them."""

import re
from collections.abc import Iterable, Mapping
from urllib.parse import unquote, urlsplit, urlunsplit

from datasets.redaction import remember

LOGIN = re.compile(r"^[\w.+-]+://(?P<user>[^:/@?#]*)(?::(?P<password>[^?]*))?@", re.ASCII)
SECRET_FIELD = re.compile(r"key|token|secret|passw|pwd|auth|credential|signature|sig$|code$", re.IGNORECASE)
ADDRESSES = (
    *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "PREFECT_API_URL"),
    *("PREFECT_API_DATABASE_CONNECTION_URL", "PREFECT_SERVER_DATABASE_CONNECTION_URL"),
)
BLOCK = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")  # what Prefect takes as a name, and shorter than most keys
PAIRS = ("PREFECT_API_AUTH_STRING", "PREFECT_SERVER_API_AUTH_STRING")  # user:password
VALUES = (
    *("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "PREFECT_API_KEY", "STILLMOTION_MASTER_KEY"),
    *("PREFECT_API_DATABASE_PASSWORD", "PREFECT_SERVER_DATABASE_PASSWORD"),
)


def remember_environment(environment: Mapping[str, str]) -> None:
    """Make known what libraries below us read from the environment for themselves."""
    given = {name.upper(): value for name, value in environment.items() if value}
    remember_addresses(given[name] for name in ADDRESSES if name in given)
    for value in (given[name] for name in (*VALUES, *PAIRS) if name in given):
        remember(value)
    for pair in (given[name] for name in PAIRS if name in given):
        remember(pair.partition(":")[2])


def remember_addresses(addresses: Iterable[str | None]) -> None:
    """Make known the passwords, keys and tokens in addresses.

    One that also stands elsewhere in its address, such as a password that is the user's name, is none: it would take
    that name out of everything.
    """
    for address in addresses:
        for value in _secrets_of(address or ""):
            if address and address.count(value) + address.count(unquote(value)) <= 1 + (unquote(value) == value):
                remember(unquote(value))


def _secrets_of(address: str) -> list[str]:
    login = LOGIN.match(address)
    found = [login["password"]] if login and login["password"] else []
    if login and not login["password"] and address.startswith(("http://", "https://")):
        found.append(login["user"])  # a token instead of a name
    for field in address.partition("?")[2].partition("#")[0].split("&"):
        name, _, value = field.partition("=")
        if value and SECRET_FIELD.search(name):
            found.append(value)
    return found


def shown_address(address: str) -> str:
    """An address as it may be told: without login, query and fragment. What is no address stays as it is."""
    if "://" not in address:
        return address
    try:
        parts = urlsplit(LOGIN.sub(lambda login: login[0][: login.start("user")], address))
    except ValueError:
        return f"{address.partition('://')[0]}://"
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def told_block(name: str) -> str:
    """The name of a block as a message may hold it: what can be none may be a secret in the wrong variable."""
    return repr(name) if BLOCK.fullmatch(name) else "as the setting says (which is no block's name, so not repeated)"
