"""The runner of ``stillmotion serve``: registers the deployments of ``prefect.yaml`` and starts their runs.

Run as ``python -m deployments.serve_runner FOLDER FILE STARTER RUNS POLL_S``.
"""

import asyncio
import sys
from pathlib import Path
from typing import Any

from deployments.deployment_file import Declared, read_deployments
from deployments.serve_child import end_with_parent, say_ready

PREFETCH_S = 10.0  # scheduled runs get their process so long before their time, and start on it


def main(folder: Path, file: Path, starter: Path, runs: int, poll_s: float) -> None:
    """Register, say so, and start runs until told to end.

    Args:
        starter: Where the process listens that starts them.
        runs: How many may be under way together.
        poll_s: How often the server is asked for runs, in seconds.
    """
    end_with_parent()
    from prefect.client.orchestration import get_client

    from deployments import limits
    from deployments.warm_start import start_through

    start_through(starter)
    declared = read_deployments(file).deployments
    limits.check_names(declared)
    with get_client(sync_client=True) as client:
        ready = [_as_runner_deployment(client, one) for one in declared]
    asyncio.run(_serve(ready, declared, folder, runs, poll_s))


async def _serve(
    deployments: list[Any], declared: tuple[Declared, ...], folder: Path, runs: int, poll_s: float
) -> None:
    from prefect.runner import Runner

    class EndingRunner(Runner):
        """Prefect's own answer to SIGTERM leaves runs under way to their fate."""

        def handle_sigterm(self, *_: Any) -> None:
            asyncio.get_running_loop().create_task(self.astop())

    runner = EndingRunner(
        name="stillmotion", query_seconds=poll_s, prefetch_seconds=PREFETCH_S, limit=runs, pause_on_shutdown=False
    )
    for deployment in deployments:
        await runner.aadd_deployment(deployment)
    await asyncio.to_thread(_verify, declared)
    say_ready(folder, "runner")
    await runner.start()


def _verify(declared: tuple[Declared, ...]) -> None:
    from prefect.client.orchestration import get_client

    from deployments import limits

    with get_client(sync_client=True) as client:
        limits.verify(client, declared, pools=())  # this runner takes runs from no pool


def _as_runner_deployment(client: Any, declared: Declared) -> Any:
    """A deployment for the runner. What was changed in the UI stays, as long as file and form are as they were.

    Kept are its default parameters and the switches of its schedules.
    """
    from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy
    from prefect.deployments.runner import RunnerDeployment
    from prefect.exceptions import ObjectNotFound
    from prefect.types.entrypoint import EntrypointType

    flow = declared.load_flow()
    version = declared.version(flow.parameters.model_dump(mode="json"))
    try:
        there = client.read_deployment_by_name(declared.full_name)
    except ObjectNotFound:
        there = None
    is_kept = there is not None and there.version == version
    limit = declared.concurrency_limit
    return RunnerDeployment.from_flow(
        flow,
        name=declared.name,
        description=declared.description,
        tags=list(declared.tags),
        parameters=there.parameters if is_kept else declared.parameters,
        schedules=_schedules(declared, _switches(there) if is_kept else {}),
        concurrency_limit=ConcurrencyLimitConfig(
            limit=limit.limit, collision_strategy=ConcurrencyLimitStrategy(limit.collision_strategy)
        ),
        version=version,
        enforce_parameter_schema=declared.enforce_parameter_schema,
        entrypoint_type=EntrypointType.MODULE_PATH,
    )


def _switches(there: Any) -> dict[str, bool]:
    """Whether schedules are on, by their slug."""
    return {schedule.slug: schedule.active for schedule in there.schedules if schedule.slug}


def _schedules(declared: Declared, switches: dict[str, bool]) -> list[Any]:
    from prefect.client.schemas.actions import DeploymentScheduleCreate
    from prefect.client.schemas.schedules import CronSchedule

    return [
        DeploymentScheduleCreate(
            schedule=CronSchedule(cron=one.cron, timezone=one.timezone),
            active=switches.get(one.slug or "", one.active),
            slug=one.slug,
        )
        for one in declared.schedules
    ]


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]), float(sys.argv[5]))
