"""The Dask cluster of ``stillmotion serve``: a scheduler at a fixed loopback port, its dashboard, workers.

Run as ``python -m deployments.serve_dask FOLDER WORKERS PORT DASHBOARD_PORT``.
"""

import importlib
import logging
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from deployments.serve_child import end_with_parent, say_ready

HOST = "127.0.0.1"
WORKER_MODULE = "flows.items"  # all stages of photographs, and torch with them


def main(folder: Path, workers: int, port: int, dashboard_port: int) -> None:
    """Keep the cluster until told to end."""
    ending = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ending.set())
    end_with_parent()
    from distributed import Client, LocalCluster

    from tasks.dask_executor import FAILURES_BORNE, _manners
    from tasks.executor import local_resources

    logging.getLogger("distributed").setLevel(logging.ERROR)
    threads = str(max(1, (os.cpu_count() or 1) // workers))
    import dask

    with (
        dask.config.set({"distributed.scheduler.allowed-failures": FAILURES_BORNE}),
        LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            host=HOST,
            scheduler_port=port,
            dashboard_address=f"{HOST}:{dashboard_port}",
            worker_dashboard_address=None,
            memory_limit=0,
            resources=local_resources(),
            env={"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads, "DASK_LOGGING__DISTRIBUTED": "error"},
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        client.register_plugin(_manners())
        client.register_plugin(_warm())
        say_ready(folder, "dask")
        ending.wait()


def _warm() -> Any:
    """A plugin that has a worker import what stages need beside its start, and not with the first run's first stage."""
    from distributed import WorkerPlugin

    class Warm(WorkerPlugin):
        name = "warm"

        def setup(self, worker: object) -> None:
            threading.Thread(target=importlib.import_module, args=(WORKER_MODULE,), daemon=True).start()

    return Warm()


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:5]))
