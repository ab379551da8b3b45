"""Where a cluster's own page is: said at a run's start, beside the run in the Prefect UI and to whoever watches."""

import logging

import httpx
from prefect.artifacts import create_link_artifact
from prefect.context import FlowRunContext
from prefect.exceptions import PrefectException

from tasks.cluster import OnCluster
from tasks.executor import Executor
from tasks.progress import Progress

LOG = logging.getLogger("stillmotion")


def tell_dashboard(executor: Executor, progress: Progress) -> None:
    """Say where the workers can be watched, if they are a cluster with a page. A silent server stops no work."""
    if not isinstance(executor, OnCluster) or not executor.dashboard:
        return
    progress.noted(f"{executor.workers} Dask workers; their page: {executor.dashboard}")
    if FlowRunContext.get() is None:
        return
    try:
        create_link_artifact(
            link=executor.dashboard,
            link_text="Dask dashboard",
            key="dask-dashboard",
            description="What the workers of this run are doing.",
        )
    except (PrefectException, httpx.HTTPError) as error:
        LOG.info("the link to the Dask dashboard was not kept: %s", error)
