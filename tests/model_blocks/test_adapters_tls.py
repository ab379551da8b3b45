"""Paid services speak TLS: the same deadline, and nobody whose certificate is not trusted sees a request."""

import ipaddress
import socket
import ssl
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from datasets.authorities import trusted_authorities
from model_blocks.adapters.outcomes import FailedFree, Settled, Unknown
from model_blocks.adapters.waiting import Retries
from tests.model_blocks.paid_calls import PLAIN, buy
from tests.services.paid_adapters import google
from tests.services.paid_books import Books
from tests.services.paid_service import Core, Rules, make_server


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate for 127.0.0.1 with its key, signed by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "loopback")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now - timedelta(days=1), now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path = tmp_path / "loopback.pem"
    path.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return path


@pytest.fixture
def secured(tmp_path: Path, certificate: Path) -> Iterator[tuple[str, Core, Books]]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    core = Core(Rules(), Books(tmp_path / "books"))
    server: ThreadingHTTPServer = make_server(core)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield f"https://127.0.0.1:{server.server_port}", core, core.books
    core.stopping.set()
    server.shutdown()
    server.server_close()


@pytest.fixture
def trusted(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An operator's own authority, named as usual."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    trusted_authorities.cache_clear()
    yield
    trusted_authorities.cache_clear()


@pytest.mark.usefixtures("trusted")
def test_a_purchase_over_tls(secured: tuple[str, Core, Books]) -> None:
    done, _ = buy(google(secured[0], PLAIN))
    assert isinstance(done, Settled)
    assert (done.fault, secured[2].totals()["charges"]) == (None, 1)


@pytest.mark.usefixtures("trusted")
def test_the_deadline_holds_over_tls(secured: tuple[str, Core, Books]) -> None:
    secured[1].schedule.append({"kind": "drip_headers", "seconds": 0.2})
    begun = time.monotonic()
    done, _ = buy(google(secured[0], PLAIN, deadline_s=0.8))
    assert isinstance(done, Unknown)
    assert time.monotonic() - begun < 0.8 + 2


def test_a_service_without_a_trusted_certificate_sees_nothing(secured: tuple[str, Core, Books]) -> None:
    done, _ = buy(google(secured[0], PLAIN), retries=Retries(attempts=1))
    assert isinstance(done, FailedFree)
    assert "CERTIFICATE_VERIFY_FAILED" in done.proof
    assert secured[2].totals()["requests"] == 0


def test_a_handshake_that_never_comes_ends(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        begun = time.monotonic()
        done, _ = buy(google(f"https://127.0.0.1:{silent.getsockname()[1]}", PLAIN, deadline_s=0.5))
    assert isinstance(done, FailedFree)
    assert time.monotonic() - begun < 0.5 + 2
