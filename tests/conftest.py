"""What all tests share: a place of their own, and one Prefect API server for the whole run."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest

if TYPE_CHECKING:
    from tests import postgresql
    from tests.s3_server import S3Server

RUN = os.environ.setdefault("STILLMOTION_TESTS_RUN", str(os.getpid()))  # the controller's number, for its workers too
KEPT = ("STILLMOTION_SHARED", "STILLMOTION_TESTS_RUN")
HOME = Path(tempfile.gettempdir()) / f"stillmotion-tests-{RUN}"

(HOME / "prefect").mkdir(parents=True, exist_ok=True)

# Prefect reads these when it is first imported, so they stand before any test module is.
os.environ["PREFECT_HOME"] = str(HOME / "prefect")
os.environ["PREFECT_LOGGING_LEVEL"] = "CRITICAL"
os.environ["PREFECT_SERVER_ANALYTICS_ENABLED"] = "false"
os.environ["DO_NOT_TRACK"] = "1"
os.environ["STAMINA_TESTING"] = "1"
if "PYTEST_XDIST_WORKER" in os.environ:  # as many processes as cores: threads of theirs would only wait for each other
    os.environ.setdefault("OMP_NUM_THREADS", "1")
for name in [name for name in os.environ if name.startswith("STILLMOTION_") and name not in KEPT]:
    del os.environ[name]

# A slow moment of the machine says nothing about the code.
hypothesis.settings.register_profile("house", deadline=None)
hypothesis.settings.load_profile("house")


def pytest_unconfigure(config: pytest.Config) -> None:
    """The controller removes what the run left; its server ends by itself."""
    if not hasattr(config, "workerinput"):
        shutil.rmtree(HOME, ignore_errors=True)


@pytest.fixture(scope="session")
def prefect_api() -> Iterator[str]:
    """The address of the run's API server, set for Prefect in this process and for its children."""
    from deployments.api_server import attach_or_start, environment, wait_until_ready

    server = attach_or_start(HOME / "prefect", idle_s=10)
    wait_until_ready(server, timeout_s=90)
    os.environ.update(environment(server))
    from prefect.settings import (
        PREFECT_API_AUTH_STRING,
        PREFECT_API_URL,
        PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
        temporary_settings,
    )

    updates = {
        PREFECT_API_URL: server.url,
        PREFECT_API_AUTH_STRING: server.auth_string,
        PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None,
    }
    with temporary_settings(updates):
        yield server.url


@pytest.fixture(autouse=True)
def _own_storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test keeps its storage and ledger to itself."""
    monkeypatch.setenv("STILLMOTION_STORAGE_ROOT", str(tmp_path / "store"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session")
def s3_service() -> "Iterator[S3Server]":
    """A real S3 service, one per test process."""
    from tests.s3_server import serve

    with serve() as server:
        yield server


@pytest.fixture
def s3(s3_service: "S3Server", monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> "Iterator[S3Server]":
    """The service without faults, with a new bucket at its ``url``; its address stands in the environment."""
    for name, value in s3_service.environment.items():
        monkeypatch.setenv(name, value)
    s3_service.new_bucket()
    yield s3_service
    s3_service.rate, s3_service.conditional, s3_service.instead = 0.0, "yes", lambda _: None


@pytest.fixture
def s3_root(s3: "S3Server", monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> "S3Server":
    """The same as the storage root of this process and of those that inherit its environment."""
    monkeypatch.setenv("STILLMOTION_STORAGE_ROOT", f"{s3.url}/some/prefix")
    monkeypatch.setenv("STILLMOTION_LEDGER_URL", f"sqlite:///{tmp_path / 'ledger.db'}")
    return s3


@pytest.fixture(scope="session")
def postgres_server() -> "Iterator[postgresql.Server]":
    """A real PostgreSQL, one per test process."""
    from tests.postgresql import serve

    with serve() as server:
        yield server


@pytest.fixture
def postgres(postgres_server: "postgresql.Server") -> "postgresql.Database":
    """A new, empty database with a role that owns it and one that only works in it."""
    return postgres_server.new_database()


@pytest.fixture
def postgres_ledger(postgres_server: "postgresql.Server") -> "postgresql.Database":
    """A new database with an empty ledger in it."""
    return postgres_server.new_ledger()
