"""How object stores are spoken to: endpoint and credentials, patience with their faults."""

import os
import socket
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

from datasets.settings import Settings

S3 = ("s3://", "s3a://")
ATTEMPTS = 8  # of every request, with exponential backoff and jitter
CONNECT_TIMEOUT_S = 5
READ_TIMEOUT_S = 60
CONNECTIONS = 32


def object_store_options(settings: Settings) -> dict[str, Any]:
    """What the settings say about the S3 service, as fsspec takes it. Credentials are left to the AWS environment."""
    return s3_options(endpoint=settings.s3_endpoint, region=settings.s3_region, path_style=settings.s3_path_style)


def s3_options(
    *,
    endpoint: str | None = None,
    region: str | None = None,
    path_style: bool = False,
    key: str | None = None,
    secret: str | None = None,
    token: str | None = None,
) -> dict[str, Any]:
    """Options of an S3 file system; what is None is left to the AWS environment."""
    given = {"endpoint_url": endpoint, "key": key, "secret": secret, "token": token}
    options: dict[str, Any] = {name: value for name, value in given.items() if value}
    if region:
        options["client_kwargs"] = {"region_name": region}
    if path_style:
        options["config_kwargs"] = {"s3": {"addressing_style": "path"}}
    return options


def filesystem_options(root: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options for a root, completed by how this project deals with such a service."""
    if not root.startswith(S3):
        return dict(options)
    manners = {
        "retries": {"mode": "standard", "total_max_attempts": ATTEMPTS},
        "connect_timeout": CONNECT_TIMEOUT_S,
        "read_timeout": READ_TIMEOUT_S,
        "max_pool_connections": CONNECTIONS,
    }
    return {
        "use_listings_cache": False,  # other processes write, too
        **options,
        "config_kwargs": {**manners, **options.get("config_kwargs", {})},
    }


def unreachable(options: Mapping[str, Any]) -> str | None:
    """Why nobody answers at the service's address; None if somebody does, or if a proxy stands between.

    A request would find out as well, after minutes of patience.
    """
    if getproxies():
        return None
    region = options.get("client_kwargs", {}).get("region_name") or os.environ.get("AWS_REGION", "us-east-1")
    address = urlsplit(str(options.get("endpoint_url") or f"https://s3.{region}.amazonaws.com"))
    port = address.port or (80 if address.scheme == "http" else 443)
    try:
        socket.create_connection((address.hostname or "", port), timeout=CONNECT_TIMEOUT_S).close()
    except OSError as error:
        return f"nobody answers at {address.hostname}:{port} ({error.strerror or error})"
    return None


def service_errors(root: str) -> tuple[type[Exception], ...]:
    """What a file system raises when the storage does not do what it should."""
    if not root.startswith(S3):
        return (OSError,)
    from botocore.exceptions import BotoCoreError, ClientError

    return (OSError, BotoCoreError, ClientError)
