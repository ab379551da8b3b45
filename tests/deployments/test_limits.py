"""Concurrency limits on a real Prefect server: made, read back, and missed when somebody changed them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import GlobalConcurrencyLimitUpdate, WorkPoolUpdate

from deployments.deployment_file import Declared, read_deployments
from deployments.limits import LimitsDifferError, Pool, Queue, create_pools, differences, verify, with_settings

ROOT = Path(__file__).parents[2]


@pytest.fixture
def client(prefect_api: str) -> Iterator[SyncPrefectClient]:
    with get_client(sync_client=True) as client:
        yield client


@pytest.fixture
def pool() -> Pool:
    return Pool(f"pool-{uuid4().hex[:8]}", "process", 3, (Queue("by-hand", 1), Queue("nightly", 2, 2)))


def test_pools_and_queues_are_made_with_their_limits_and_again_without_harm(
    client: SyncPrefectClient, pool: Pool
) -> None:
    for _ in range(2):
        create_pools(client, [pool])
        assert differences(client, [], [pool]) == ()
    made = client.read_work_pool(pool.name)
    assert (made.type, made.concurrency_limit) == ("process", 3)
    assert "working_dir" in made.base_job_template["variables"]["properties"]  # its form in the UI
    queues = [client.read_work_queue_by_name(queue.name, work_pool_name=pool.name) for queue in pool.queues]
    assert [(queue.priority, queue.concurrency_limit) for queue in queues] == [(1, None), (2, 2)]


def test_a_limit_that_was_changed_is_told_and_set_right(client: SyncPrefectClient, pool: Pool) -> None:
    create_pools(client, [pool])
    client.update_work_pool(pool.name, WorkPoolUpdate(concurrency_limit=99))
    queue = client.read_work_queue_by_name("nightly", work_pool_name=pool.name)
    client.update_work_queue(queue.id, concurrency_limit=50)
    words = rf"pool {pool.name}: 3 declared, 99 on the server; queue .*2 declared, 50"
    with pytest.raises(LimitsDifferError, match=words):
        verify(client, [], [pool])
    create_pools(client, [pool])
    verify(client, [], [pool])


def test_a_pool_that_is_not_there_is_told(client: SyncPrefectClient, pool: Pool) -> None:
    (found,) = differences(client, [], [pool])
    assert str(found) == f"pool {pool.name}: 3 declared, no such pool or queue on the server"


def test_the_limit_of_a_deployment_is_read_back_and_missed_when_it_was_set_aside(client: SyncPrefectClient) -> None:
    declared = _declared(f"product-{uuid4().hex[:8]}")
    assert str(differences(client, [declared], [])[0]).endswith("4 declared, not registered on the server")
    flow = client.create_flow_from_name("product")
    made = client.create_deployment(flow_id=flow, name=declared.name)
    assert str(differences(client, [declared], [])[0]).endswith("4 declared, none on the server")
    client._client.patch(f"/deployments/{made}", json={"concurrency_limit": 4})
    verify(client, [declared], [])
    limit = client.read_deployment(made).global_concurrency_limit
    assert limit is not None
    client.update_global_concurrency_limit(limit.name, GlobalConcurrencyLimitUpdate(active=False))
    with pytest.raises(LimitsDifferError, match="4 declared, 4, but not active on the server"):
        verify(client, [declared], [])


def _declared(name: str) -> Declared:
    product = read_deployments(ROOT / "prefect.yaml").deployments[0]
    return product.model_copy(update={"name": name})


def test_jobs_on_kubernetes_take_passwords_by_reference() -> None:
    container: dict[str, Any] = {}
    with_settings(
        {"job_configuration": {"job_manifest": {"spec": {"template": {"spec": {"containers": [container]}}}}}}
    )
    assert container["envFrom"] == [{"configMapRef": {"name": "stillmotion"}}, {"secretRef": {"name": "stillmotion"}}]
