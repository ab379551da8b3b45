"""Prefect's own scheduling of runs, on a database of its own, with the SQLAlchemy that is installed."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

PROGRAM = """
    import asyncio
    from deployments.scheduler_repair import let_schedules_fire
    let_schedules_fire()
    from prefect.server import models, schemas
    from prefect.server.database import provide_database_interface

    async def main():
        db = provide_database_interface()
        await db.create_db()
        async with db.session_context(begin_transaction=True) as session:
            flow = await models.flows.create_flow(session=session, flow=schemas.core.Flow(name="one"))
            schedule = schemas.core.DeploymentSchedule(
                schedule=schemas.schedules.CronSchedule(cron="* * * * *"), active=True
            )
            made = await models.deployments.create_deployment(
                session=session,
                deployment=schemas.core.Deployment(name="one", flow_id=flow.id, schedules=[schedule]),
            )
            runs = await models.deployments.schedule_runs(session=session, deployment_id=made.id)
            made = [await models.flow_runs.read_flow_run(session=session, flow_run_id=run) for run in runs]
            print(len(made), {run.state.name for run in made})

    asyncio.run(main())
"""


@pytest.mark.slow
def test_a_cron_schedule_makes_runs(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(PROGRAM)],
        env={
            **{name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")},
            "PYTHONPATH": str(Path(__file__).parents[2]),
            "PREFECT_HOME": str(tmp_path),
        },
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    count, _, states = done.stdout.strip().splitlines()[-1].partition(" ")
    assert (int(count) >= 3, states) == (True, "{'Scheduled'}")
