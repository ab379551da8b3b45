"""Rotation while others read: versions are consecutive, none is lost, and no reader fails."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context  # Prefect's settings of the tests are kept there
from pathlib import Path
from typing import Any

import pytest

from tests.datasets.ledger_rows import PROCESSES, join_all, start
from tests.datasets.vaults import (
    new_value,
    new_vault,
    read_for_a_while,
    rotate_some,
    server_environment,
    work,
)

READS = 1 + 2 * 6  # of one reader


@pytest.mark.slow
@pytest.mark.usefixtures("prefect_api")
def test_rotation_under_load(tmp_path: Path) -> None:
    vault = new_vault(tmp_path)
    first = new_value()
    vault.put("api", first)
    results: Any = PROCESSES.Queue()
    given = (vault._tenant, str(tmp_path), server_environment(), results)
    processes = [start(work, task, *given) for task in (rotate_some, rotate_some, read_for_a_while)]
    with ThreadPoolExecutor(4) as threads:
        rotating = [threads.submit(copy_context().run, rotate_some, vault) for _ in range(2)]
        reading = [threads.submit(copy_context().run, read_for_a_while, vault) for _ in range(2)]
        made = [pair for one in rotating for pair in one.result()]
        seen = [pair for one in reading for pair in one.result()]
    for _ in processes:
        pairs = results.get(timeout=60)
        (seen if len(pairs) == READS else made).extend(pairs)
    assert join_all(processes) == [0, 0, 0]
    assert sorted(version for version, _ in made) == list(range(2, 10))
    assert [each.version for each in vault.versions()] == list(range(9, 0, -1))
    values = dict([(1, first), *made])
    assert len(seen) == 3 * READS
    assert all(values[version] == value for version, value in seen)
    on_record = vault.reads()
    assert len(on_record) == 3 * READS
    assert Counter(read.version for read in on_record) == Counter(version for version, _ in seen)
    assert {read.outcome for read in on_record} == {"read"}
    assert vault.get("api").reveal() == values[9]
