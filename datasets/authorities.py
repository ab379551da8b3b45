"""Whose certificates are trusted."""

import ssl
from functools import cache


@cache
def trusted_authorities() -> ssl.SSLContext:
    """The usual authorities, or an operator's own by SSL_CERT_FILE."""
    import httpx

    return httpx.create_ssl_context()
