"""The same photograph, wherever things are kept: the same files, and nothing computed twice."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.flows.commands import delivered, product_command
from tests.photographs import save_product
from tests.s3_server import SECRET, S3Server

FAULTS = 0.05  # share of requests that the S3 service fails


def ran(photo: Path, out: Path, environment: dict[str, str], *options: str) -> tuple[dict[str, Any], str]:
    """The JSON document of a run, and what it said on standard error."""
    running = product_command([photo], out, "--recipe", "complete", "--json", *options, environment=environment)
    printed, said = running.communicate(timeout=400)
    assert running.returncode == 0, said
    assert "Traceback" not in said
    assert "Unclosed" not in said
    assert SECRET not in printed + said
    document = json.loads(printed)
    assert isinstance(document, dict)
    return document, said


@pytest.mark.slow
@pytest.mark.usefixtures("prefect_api")
@pytest.mark.parametrize("workers", ["1", "2"])
def test_s3_with_faults_delivers_what_a_disk_does(tmp_path: Path, s3_root: S3Server, workers: str) -> None:
    photo = save_product(tmp_path / "cup.png", 60, 48)
    on_disk = {
        "STILLMOTION_STORAGE_ROOT": str(tmp_path / "store"),
        "STILLMOTION_LEDGER_URL": f"sqlite:///{tmp_path / 'disk.db'}",
    }
    ran(photo, tmp_path / "disk", on_disk)
    s3_root.rate = FAULTS
    first, _ = ran(photo, tmp_path / "first", {}, "--workers", workers)
    assert s3_root.faults
    assert not any(stage["cached"] for stage in first["stages"])
    second, _ = ran(photo, tmp_path / "second", {}, "--workers", workers)
    assert all(stage["cached"] for stage in second["stages"])
    assert delivered(tmp_path / "disk") == delivered(tmp_path / "first") == delivered(tmp_path / "second")


@pytest.mark.slow
@pytest.mark.usefixtures("prefect_api")
def test_a_service_without_conditional_put_is_told_of_once(tmp_path: Path, s3_root: S3Server) -> None:
    s3_root.conditional = "refused"
    photo = save_product(tmp_path / "cup.png", 60, 48)
    _, said = ran(photo, tmp_path / "out", {})
    assert said.count("conditional put") == 1


@pytest.mark.slow
@pytest.mark.usefixtures("prefect_api")
def test_a_bucket_that_is_not_there_ends_the_command_with_a_sentence(tmp_path: Path, s3_root: S3Server) -> None:
    photo = save_product(tmp_path / "cup.png", 60, 48)
    missing = {"STILLMOTION_STORAGE_ROOT": "s3://no-such-bucket"}
    running = product_command([photo], tmp_path / "out", "--json", environment=missing)
    printed, said = running.communicate(timeout=120)
    assert running.returncode == 2, said
    assert "no-such-bucket" in printed + said
    assert "Traceback" not in printed + said
