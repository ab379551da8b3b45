"""The product flow's tests once more: storage on an S3 service that fails now and then, ledger on PostgreSQL."""

import pytest

from tests.flows import test_product
from tests.postgresql import Database
from tests.s3_server import S3Server

pytestmark = [pytest.mark.usefixtures("prefect_api"), pytest.mark.slow]

FAULTS = 0.05
LOCAL = (  # reach into the local folder; test_backends does the same on S3
    "test_cached_bytes_deleted_by_hand_are_made_again",
    "test_flipped_bits_in_the_store_are_noticed_and_made_again_in_the_same_run",
    "test_fused_stages_give_the_bytes_of_unfused_ones",
    "test_workers_give_the_same_bytes_as_one_process",
)


@pytest.fixture(autouse=True)
def _services(_own_storage: None, s3: S3Server, postgres: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (s3.environment | postgres.environment).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("STILLMOTION_STORAGE_ROOT", f"{s3.url}/shop")
    s3.rate = FAULTS


globals().update(
    {name: test for name, test in vars(test_product).items() if name.startswith("test_") and name not in LOCAL}
)
