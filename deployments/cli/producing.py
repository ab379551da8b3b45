"""``stillmotion product`` and ``stillmotion demo``: photographs in, publishable pictures out."""

import json
import os
import shlex
import sys
from pathlib import Path
from typing import Any

import click

from datasets.errors import SettingsError
from deployments.api_server import ApiServer, attach_or_start, environment, wait_until_ready
from deployments.cli.options import Common, common_options, read_common
from deployments.prefect_profile import names_a_server

QUIET = {  # Prefect's own console lines would stand between ours; its server still records the run
    "PREFECT_LOGGING_LEVEL": "CRITICAL",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
}


@click.command()
@click.argument("photos", nargs=-1, required=True, metavar="PHOTO...")
@click.option("--recipe", default="packshot", show_default=True, help="A recipe's name or a .json list of stages.")
@common_options
def product(photos: tuple[str, ...], recipe: str, **values: Any) -> int:
    """Take photographs through a recipe: cutout, packshot, enlarge, thumbnails, complete, or your own list."""
    common = read_common(values)
    summary = run(photos, recipe, common)
    show_summary(summary, common)
    return int(summary.exit_status)


@click.command()
@common_options
def demo(**values: Any) -> int:
    """Make a cutout, a packshot, an enlarged picture and thumbnails of a real photograph."""
    common = read_common(values | ({"out": "demo-output"} if values["out"] == "stillmotion-output" else {}))
    photo = _demo_photo(Path(common.out))
    summary = run((str(photo),), "complete", common)
    show_summary(summary, common)
    if not common.as_json and summary.exit_status == 0:
        _what_next(common)
    return int(summary.exit_status)


def run(photos: tuple[str, ...], recipe: str, common: Common) -> Any:
    """Run the product flow in this process, attached to the embedded Prefect server or the configured one."""
    server = _prepare_environment(common)
    from deployments.cli.running import run_watched

    if server is not None:
        wait_until_ready(server)  # it came up beside the imports
    return run_watched(photos, recipe, common, command=_command())


def _prepare_environment(common: Common) -> ApiServer | None:
    """What Prefect reads when it is first imported, and the settings that the flow reads for itself."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    settings = common.settings
    os.environ["STILLMOTION_TENANT"] = settings.tenant
    os.environ["STILLMOTION_DEVICE"] = settings.device
    os.environ["STILLMOTION_WORKERS"] = str(settings.workers)
    home = Path(os.environ.get("PREFECT_HOME", "~/.prefect")).expanduser()
    if common.dry_run or names_a_server(home):
        return None
    server = attach_or_start(home)
    os.environ.update(environment(server))
    return server


def _command() -> str:
    return shlex.join(["stillmotion", *sys.argv[1:]])


def _demo_photo(folder: Path) -> Path:
    """A photograph of a cup of coffee that comes with scikit-image, read from that package."""
    try:
        from skimage import data, io
    except ImportError as error:
        raise SettingsError("the demo reads its photograph from scikit-image; install stillmotion[demo]") from error
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "coffee.png"
    if not path.exists():
        io.imsave(path, data.coffee(), check_contrast=False)  # type: ignore[no-untyped-call]
    return path


def show_summary(summary: Any, common: Common) -> None:
    """The run's document on standard output with ``--json``, else a few lines in words."""
    if common.as_json:
        click.echo(json.dumps(summary.to_json(), indent=1, default=str))
        return
    from deployments.cli.words import describe

    for line in describe(summary):
        click.echo(line)


def _what_next(common: Common) -> None:
    click.echo("")
    click.echo("Try next:")
    click.echo(f"  open {common.out}/report.html in a browser")
    click.echo("  stillmotion demo                                  # again: everything comes from the cache")
    click.echo("  stillmotion product your-photo.jpg --recipe packshot --out pictures")
    click.echo("  stillmotion runs                                  # what was done so far")
