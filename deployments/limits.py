"""Work pools, queues and concurrency limits: created where they are missing, then read back and compared.

Prefect lets a misspelt limit pass in silence, and a limit that somebody set aside in the UI as well. What is declared
here and in ``prefect.yaml`` either holds on the server, or is told.
"""

import asyncio
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from datasets.errors import SettingsError
from deployments.deployment_file import Declared

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient


@dataclass(frozen=True)
class Queue:
    """A queue of a work pool. Of lower priority numbers runs are taken first."""

    name: str
    priority: int
    limit: int | None = None


@dataclass(frozen=True)
class Pool:
    """A work pool.

    Attributes:
        kind: Prefect's type of it: process, docker, kubernetes.
        limit: Most runs that its workers may have under way together.
    """

    name: str
    kind: str
    limit: int
    queues: tuple[Queue, ...]


QUEUES = (Queue("by-hand", 1), Queue("nightly", 2, 2))  # a form is never behind the night's work
POOLS = (
    Pool("stillmotion", "process", 4, QUEUES),
    Pool("stillmotion-docker", "docker", 8, QUEUES),
    Pool("stillmotion-kubernetes", "kubernetes", 16, QUEUES),
)


@dataclass(frozen=True)
class Difference:
    """A limit that is not on the server as it is declared."""

    name: str
    expected: int | None
    found: int | str | None

    def __str__(self) -> str:
        return f"{self.name}: {self.expected} declared, {'none' if self.found is None else self.found} on the server"


class LimitsDifferError(SettingsError):
    """Concurrency limits on the server are not those that are declared."""

    code = "limits_differ"


def create_pools(client: "SyncPrefectClient", pools: Iterable[Pool] = POOLS) -> None:
    """Make pools and queues that are missing, and give all of them the limits that are declared."""
    from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
    from prefect.exceptions import ObjectNotFound

    for pool in pools:
        try:
            client.read_work_pool(pool.name)
            client.update_work_pool(pool.name, WorkPoolUpdate(concurrency_limit=pool.limit))
        except ObjectNotFound:
            template = _job_template(pool.kind)
            client.create_work_pool(
                WorkPoolCreate(name=pool.name, type=pool.kind, concurrency_limit=pool.limit, base_job_template=template)
            )
        for queue in pool.queues:
            _create_queue(client, pool, queue)


def _job_template(kind: str) -> dict[str, Any]:
    """Prefect's own form for a kind of pool; it knows those of kinds whose packages are not installed, too."""
    from prefect.workers.utilities import get_default_base_job_template_for_infrastructure_type

    template = asyncio.run(get_default_base_job_template_for_infrastructure_type(kind)) or {}
    return with_settings(template) if kind == "kubernetes" else template


def with_settings(template: dict[str, Any]) -> dict[str, Any]:
    """A Kubernetes job's template with the settings of ConfigMap and Secret ``stillmotion`` in its environment.

    So no password stands in a work pool or a deployment.
    """
    (container,) = template["job_configuration"]["job_manifest"]["spec"]["template"]["spec"]["containers"]
    container["envFrom"] = [{"configMapRef": {"name": "stillmotion"}}, {"secretRef": {"name": "stillmotion"}}]
    return template


def _create_queue(client: "SyncPrefectClient", pool: Pool, queue: Queue) -> None:
    from prefect.exceptions import ObjectNotFound

    try:
        found = client.read_work_queue_by_name(queue.name, work_pool_name=pool.name)
        client.update_work_queue(found.id, concurrency_limit=queue.limit, priority=queue.priority)
    except ObjectNotFound:
        client.create_work_queue(
            queue.name, concurrency_limit=queue.limit, priority=queue.priority, work_pool_name=pool.name
        )


def check_names(deployments: Iterable[Declared], pools: Iterable[Pool] = POOLS) -> None:
    """Refuse a deployment whose pool or queue is not declared: Prefect would make one without a limit.

    Raises:
        SettingsError: Names the deployment and the names that are known.
    """
    queues = {pool.name: [queue.name for queue in pool.queues] for pool in pools}
    for deployment in deployments:
        wanted = deployment.work_pool
        if wanted.name not in queues:
            raise SettingsError(
                f"deployment {deployment.name!r} names the work pool {wanted.name!r}; known: {', '.join(queues)}"
            )
        if wanted.work_queue_name not in queues[wanted.name]:
            raise SettingsError(
                f"deployment {deployment.name!r} names the queue {wanted.work_queue_name!r}; "
                f"{wanted.name} has {', '.join(queues[wanted.name])}"
            )


def differences(
    client: "SyncPrefectClient", deployments: Iterable[Declared], pools: Iterable[Pool] = POOLS
) -> tuple[Difference, ...]:
    """Read every limit back and compare it with what is declared."""
    found = [*_of_pools(client, pools), *(_of_deployment(client, deployment) for deployment in deployments)]
    return tuple(one for one in found if one.expected != one.found)


def verify(client: "SyncPrefectClient", deployments: Iterable[Declared], pools: Iterable[Pool] = POOLS) -> None:
    """Refuse to go on where a limit is not on the server as it is declared.

    Raises:
        LimitsDifferError: Names every limit with both numbers.
    """
    found = differences(client, deployments, pools)
    if found:
        raise LimitsDifferError(
            f"concurrency limits differ: {'; '.join(map(str, found))}; `stillmotion limits` sets pools and queues, "
            "`stillmotion serve` or `prefect deploy --all` the deployments",
            limits=[one.name for one in found],
        )


def _of_pools(client: "SyncPrefectClient", pools: Iterable[Pool]) -> Iterator[Difference]:
    from prefect.exceptions import ObjectNotFound

    for pool in pools:
        try:
            yield Difference(f"pool {pool.name}", pool.limit, client.read_work_pool(pool.name).concurrency_limit)
            for queue in pool.queues:
                there = client.read_work_queue_by_name(queue.name, work_pool_name=pool.name)
                yield Difference(f"queue {pool.name}/{queue.name}", queue.limit, there.concurrency_limit)
        except ObjectNotFound:
            yield Difference(f"pool {pool.name}", pool.limit, "no such pool or queue")


def _of_deployment(client: "SyncPrefectClient", declared: Declared) -> Difference:
    from prefect.exceptions import ObjectNotFound

    name, expected = f"deployment {declared.full_name}", declared.concurrency_limit.limit
    try:
        there = client.read_deployment_by_name(declared.full_name).global_concurrency_limit
    except ObjectNotFound:
        return Difference(name, expected, "not registered")
    if there is None:
        return Difference(name, expected, None)
    return Difference(name, expected, there.limit if there.active else f"{there.limit}, but not active")
