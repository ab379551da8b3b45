"""``stillmotion upkeep retention``: what it says, what it leaves, what it refuses."""

import json
import os
import time
from typing import Any

import pytest
from click.testing import CliRunner

from datasets.assets import asset_path, has_asset, put_asset
from datasets.errors import UsageError
from datasets.retention import RetentionRules
from datasets.settings import read_settings
from deployments.cli.retaining import KINDS, retention
from flows.opening import open_books


def retain(*arguments: str) -> Any:
    return CliRunner().invoke(retention, [*arguments, "--days", "reports=never"], standalone_mode=False)


def test_a_dry_run_says_how_much_would_go_and_leaves_it() -> None:
    storage, _ = open_books(read_settings())
    digest = put_asset(storage, b"nobody's")
    long_ago = time.time() - 10 * 86_400
    os.utime(storage.path(asset_path(digest)), (long_ago, long_ago))
    (part,) = json.loads(retain("--dry-run", "--json", "--days", "assets=5").stdout)["parts"]
    assert (part["dry_run"], part["kinds"]) == (True, {"assets": {"things": 1, "bytes": 8}})
    assert retain("--days", "assets=20").stdout == "retention:\n  nothing is to go\n"
    assert has_asset(storage, digest)
    assert retain("--days", "assets=5").stdout == "retention:\n  gone: 1 other files, 0.0 MB\n"
    assert not has_asset(storage, digest)


@pytest.mark.parametrize("given", ["frames=0", "frames=x", "pictures=3", "frames", "frames=99999"])
def test_what_is_no_number_of_days_is_refused(given: str) -> None:
    with pytest.raises(UsageError, match="days"):
        CliRunner().invoke(retention, ["--days", given], standalone_mode=False, catch_exceptions=False)


def test_every_kind_can_be_named() -> None:
    assert [f"{kind}_days" for kind in KINDS] == [
        name for name in RetentionRules.model_fields if name.endswith("_days")
    ]
