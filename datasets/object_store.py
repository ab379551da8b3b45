"""How object stores are spoken to: endpoint and credentials, patience with their faults."""

import json
import os
import socket
from collections.abc import Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

import fsspec

from datasets.settings import Settings

S3 = ("s3://", "s3a://")
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
        "retries": {"total_max_attempts": 1},  # datasets/patient_s3.py repeats requests
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


def open_filesystem(root: str, options: Mapping[str, Any], *, asynchronous: bool = False) -> tuple[Any, str]:
    """The file system of a root and the root's path in it. One S3 client serves all threads of a process.

    Args:
        root: A local folder or an fsspec URL.
        options: What the file system needs besides.
        asynchronous: Whether it is used inside an event loop, as Zarr does.

    Raises:
        ImportError: No package for such a URL.
        ValueError: No such protocol.
    """
    if not root.startswith(S3):
        return fsspec.core.url_to_fs(root, **options)  # type: ignore[no-any-return]  # fsspec has no types
    filesystem = _client(json.dumps(filesystem_options(root, options), sort_keys=True), asynchronous, os.getpid())
    return filesystem, str(filesystem._strip_protocol(root))


@lru_cache(maxsize=16)
def _client(options: str, asynchronous: bool, _pid: int) -> Any:
    """A forked process has none of its parent's event loops, so it opens its own."""
    from datasets.patient_s3 import PatientS3

    return PatientS3(**json.loads(options), asynchronous=asynchronous, skip_instance_cache=True)


def service_errors(root: str) -> tuple[type[Exception], ...]:
    """What a file system raises when the storage does not do what it should."""
    if not root.startswith(S3):
        return (OSError,)
    from datasets.patient_s3 import FAILURES

    return FAILURES
