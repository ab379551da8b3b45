"""The product flow with its storage on S3 and its ledger on PostgreSQL: the same files as on one laptop."""

import hashlib
import json
import time
from pathlib import Path

import pytest

from datasets.ledger import open_ledger
from flows.order import ProductOrder
from flows.product import product
from flows.summary import RunSummary
from tasks.prefect_stage import value_of
from tests.flows.commands import delivered, product_command, wait_for_line
from tests.photographs import save_product
from tests.postgresql import Database
from tests.s3_server import SECRET, S3Server

pytestmark = pytest.mark.usefixtures("prefect_api")

FAULTS = 0.05
RECIPE = (
    {"stage": "cutout"},
    {"stage": "upscale", "factor": 2},
    {"stage": "compose", "width": 200, "height": 160},
    {"stage": "publish", "format": "png"},
    {"stage": "thumbnails", "sizes": [48]},
)


def run(photos: list[Path], out: Path) -> RunSummary:
    order = ProductOrder(photos=tuple(map(str, photos)), recipe=RECIPE, out=str(out))
    summary = value_of(product(order, return_state=True))
    assert isinstance(summary, RunSummary)
    return summary


def digests(folder: Path) -> dict[str, str]:
    found = [path for path in folder.iterdir() if path.suffix in (".png", ".webp")]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


@pytest.fixture
def company(s3: S3Server, postgres: Database) -> dict[str, str]:
    """The environment of an installation on S3 and PostgreSQL, for commands to be given."""
    return {
        **s3.environment,
        **postgres.environment,
        "STILLMOTION_STORAGE_ROOT": f"{s3.url}/shop",
        "STILLMOTION_TENANT": "shop",
    }


def test_s3_and_postgresql_give_what_a_laptop_gives(
    tmp_path: Path, s3: S3Server, company: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = [save_product(tmp_path / "in" / f"{n}.png", 90 + n, 80, n) for n in range(2)]
    run(photos, tmp_path / "laptop")
    for name, value in company.items():
        monkeypatch.setenv(name, value)
    s3.rate = FAULTS
    first = run(photos, tmp_path / "company")
    assert [item.status for item in first.items] == ["delivered", "delivered"]
    assert digests(tmp_path / "company") == digests(tmp_path / "laptop") != {}
    assert not any(stage.cached for item in first.items for stage in item.stages)
    again = run(photos, tmp_path / "company")
    assert all(stage.cached for item in again.items for stage in item.stages)
    assert s3.faults
    with open_ledger(company["STILLMOTION_LEDGER_URL"]).session("shop", read_only=True) as session:
        assert [record.status for record in session.runs()] == ["delivered", "delivered"]
        assert SECRET not in str(session.runs())


def test_what_was_lost_on_s3_is_made_again(
    tmp_path: Path, s3: S3Server, company: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in company.items():
        monkeypatch.setenv(name, value)
    photo = save_product(tmp_path / "in" / "a.png")
    before = run([photo], tmp_path / "out")
    whole = digests(tmp_path / "out")
    from datasets.settings import read_settings
    from flows.opening import open_books

    storage, _ = open_books(read_settings())
    for name in storage.list_tree("outputs"):
        if name.endswith(("manifest.json", "c/0/0/0/0")):
            storage.remove_tree(f"outputs/{name}")
    for path in (tmp_path / "out").glob("a-*"):
        path.unlink()
    after = run([photo], tmp_path / "out")
    assert [item.status for item in (*before.items, *after.items)] == ["delivered", "delivered"]
    assert digests(tmp_path / "out") == whole


@pytest.mark.slow
def test_a_service_without_conditional_put_is_used_and_said(
    tmp_path: Path, s3: S3Server, company: dict[str, str]
) -> None:
    s3.conditional = "ignored"
    photo = save_product(tmp_path / "in" / "a.png")
    running = product_command([photo], tmp_path / "out", "--recipe", "thumbnails", environment=company)
    _, said = running.communicate(timeout=120)
    assert running.returncode == 0, said
    assert said.count("conditional put") == 1
    assert "leases" in said


def test_a_storage_that_is_not_there_is_refused_before_any_work(tmp_path: Path, company: dict[str, str]) -> None:
    photo = save_product(tmp_path / "in" / "a.png")
    company["STILLMOTION_STORAGE_ROOT"] = "s3://no-such-bucket"
    running = product_command([photo], tmp_path / "out", "--json", environment=company)
    out, said = running.communicate(timeout=120)
    assert running.returncode == 2
    assert json.loads(out)["reasons"][0]["code"] == "settings"
    assert "no-such-bucket" in said
    assert "Traceback" not in said
    assert SECRET not in out + said


@pytest.mark.slow
def test_killed_workers_and_commands_on_s3_end_with_the_same_bytes(
    tmp_path: Path, s3: S3Server, company: dict[str, str]
) -> None:
    photos = [save_product(tmp_path / "in" / f"{n}.png", 200 + n, 160, n) for n in range(6)]
    whole = product_command(photos, tmp_path / "laptop")
    _, said = whole.communicate(timeout=300)
    assert whole.returncode == 0, said
    s3.rate = FAULTS
    for seconds in (0.5, 2.0, 3.5):
        running = product_command(photos, tmp_path / "company", "--workers", "2", environment=company)
        wait_for_line(running, "intake")
        time.sleep(seconds)
        running.kill()
        running.communicate(timeout=60)
    last = product_command(photos, tmp_path / "company", "--workers", "2", environment=company)
    _, said = last.communicate(timeout=300)
    assert last.returncode == 0, said
    assert delivered(tmp_path / "company") == delivered(tmp_path / "laptop")
    assert "Traceback" not in said
