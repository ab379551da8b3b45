"""``stillmotion serve`` and ``stillmotion limits``."""

import os
import signal
import threading
import time
from importlib.util import find_spec
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from deployments.serve import ServeOptions, Serving

WATCH_S = 0.2
KILLED = 130

file_option = click.option(
    "--file", "file", type=click.Path(path_type=Path), default=None, help="The deployments; default: prefect.yaml."
)


@click.command()
@click.option("--port", type=click.IntRange(1, 65535), default=4200, show_default=True, help="Of UI and API.")
@click.option(
    "--dashboard-port", type=click.IntRange(1, 65535), default=8787, show_default=True, help="Of Dask's dashboard."
)
@click.option("--workers", type=click.IntRange(1, 256), default=None, help="Dask workers; default: one per two cores.")
@click.option(
    "--runs", type=click.IntRange(1, 64), default=4, show_default=True, help="Runs that may be under way together."
)
@file_option
def serve(port: int, dashboard_port: int, workers: int | None, runs: int, file: Path | None) -> int:
    """Serve deployments on this machine: Prefect server with UI, a runner, Dask workers with their dashboard.

    Everything listens on the loopback address. A port that is taken is replaced by a free one, and said. One Ctrl-C
    ends all of it in good order; runs under way are cancelled, and go on where they were when they are started again.
    """
    from deployments.deployment_file import find_file, read_deployments
    from deployments.serve import ServeOptions, serving

    options = ServeOptions(
        home=Path(os.environ.get("PREFECT_HOME", "~/.prefect")).expanduser(),
        file=file or find_file(),
        port=port,
        dashboard_port=dashboard_port,
        workers=workers or _workers(),
        runs=runs,
    )
    declared = read_deployments(options.file).deployments  # refused before anything is started
    ending = _on_signals()
    _say("starting; the very first time, that takes a few seconds more")
    with serving(options, _say) as served:
        ending.served = served
        _tell(served, options, [one.full_name for one in declared])
        while not ending.asked.wait(WATCH_S):
            served.watch()
        _say("ending; once more Ctrl-C kills")
    _say("ended")
    return 0


class _Ending:
    """What signals do: the first one asks for a good end, the second one kills."""

    def __init__(self) -> None:
        self.asked = threading.Event()
        self.served: Serving | None = None

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self.served is None:  # still starting: the block that starts ends what it has begun
            raise KeyboardInterrupt
        if self.asked.is_set():
            self.served.kill()
            os._exit(KILLED)
        self.asked.set()


def _on_signals() -> _Ending:
    ending = _Ending()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, ending)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as nohup has it
        signal.signal(signal.SIGHUP, ending)
    return ending


def _workers() -> int:
    """As the settings say, else one for every two cores: half of a machine stays for runs, server and their user."""
    from datasets.settings import read_settings

    settings = read_settings()
    return settings.workers if "workers" in settings.model_fields_set else max(1, (os.cpu_count() or 1) // 2)


def _tell(served: "Serving", options: "ServeOptions", deployments: list[str]) -> None:
    """Addresses, how to get in, and what is served."""
    server = served.server
    dashboard = f"http://127.0.0.1:{served.dashboard_port}/" + ("status" if find_spec("bokeh") else "health")
    _say(f"ready: {', '.join(deployments)}")
    _say(f"  Prefect UI      {server.url.removesuffix('/api')}")
    if server.url != f"http://127.0.0.1:{options.port}/api":
        _say(f"                  (port {options.port} is taken)")
    _say(f"  its password    {server.auth_string} (kept in {served.record})")
    _say(f"  Dask dashboard  {dashboard}")
    if served.dashboard_port != options.dashboard_port:
        _say(f"                  (port {options.dashboard_port} is taken)")
    _say(f"  Prefect API     {server.url}")
    _say(f"  logs            {served.record.parent}/serve-*.log")
    _say("Ctrl-C ends all of it.")


def _say(line: str) -> None:
    click.echo(f"{time.strftime('%H:%M:%S')} {line}", err=True)


@click.command()
@click.option("--check", "is_check", is_flag=True, help="Only compare; exit status 2 if something differs.")
@file_option
def limits(is_check: bool, file: Path | None) -> int:
    """Make the work pools, their queues and limits on the configured Prefect server, and compare all limits."""
    from deployments.cli.producing import begin_server, prepare_flows
    from deployments.deployment_file import find_file, read_deployments

    declared = read_deployments(file or find_file()).deployments
    prepare_flows(begin_server(dry_run=False))
    from prefect.client.orchestration import get_client

    from deployments import limits as books

    books.check_names(declared)
    with get_client(sync_client=True) as client:
        if not is_check:
            books.create_pools(client)
            for difference in books.differences(client, declared):
                click.echo(str(difference))
            return 0
        books.verify(client, declared)
    click.echo("all limits are as declared")
    return 0
