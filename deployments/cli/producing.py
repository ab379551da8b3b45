"""``stillmotion product`` and ``stillmotion demo``: photographs in, publishable pictures out."""

import gc
import json
import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from datasets.errors import SettingsError
from datasets.redaction import redact_all
from deployments.api_server import ApiServer, attach_or_start, environment, wait_until_ready
from deployments.cli.options import Common, common_options, read_common, restyle_options
from deployments.prefect_profile import names_a_server

DEMO_RECIPE = (
    {"stage": "upscale", "factor": 2},
    {"stage": "interpolate", "factor": 2},
    {"stage": "encode"},
    {"stage": "thumbnails", "sprites_every_s": 1},
)
QUIET = {  # Prefect's own console lines would stand between ours; its server still records the run
    "PREFECT_LOGGING_LEVEL": "CRITICAL",
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",  # what failed is said at the end, not across the bar
    "PREFECT_LOGGING_EXTRA_LOGGERS": "stillmotion",  # the lines of stages go to the server, too
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
}


@click.command()
@click.argument("photos", nargs=-1, required=True, metavar="PHOTO...")
@click.option("--recipe", default="packshot", show_default=True, help="A recipe's name or a .json list of stages.")
@restyle_options
@common_options
def product(photos: tuple[str, ...], recipe: str, **values: Any) -> int:
    """Take photographs through a recipe: cutout, packshot, enlarge, restyle, thumbnails, or your own list."""
    server = begin_server(dry_run=values["dry_run"])
    common = read_common(values)
    summary = run(photos, recipe, common, server)
    show_summary(summary, common)
    return int(summary.exit_status)


@click.command()
@common_options
def demo(**values: Any) -> int:
    """Make a cutout, a packshot, an enlarged picture and thumbnails of a real photograph, and a clip of it."""
    server = begin_server(dry_run=values["dry_run"])
    common = read_common(values | ({"out": "demo-output"} if values["out"] == "stillmotion-output" else {}))
    photo = _demo_photo(Path(common.out))
    summary = run((str(photo),), "complete", common, server)
    if summary.exit_status:
        show_summary(summary, common)
        return int(summary.exit_status)
    made = _demo_clip(photo, common, server)
    show_summary(summary, common, clip=made)
    if not common.as_json and made.exit_status == 0:
        _what_next(common)
    return int(made.exit_status)


def _demo_clip(photo: Path, common: Common, server: ApiServer | None) -> Any:
    """A camera movement over the photograph, enlarged and made smooth by a recipe that users can change."""
    from deployments.cli.demo_clip import make_clip_of

    folder = photo.parent / "clip"
    folder.mkdir(exist_ok=True)
    recipe = folder / "recipe.json"
    recipe.write_text(json.dumps(DEMO_RECIPE, indent=1) + "\n", encoding="utf-8")
    clip = make_clip_of(photo, folder / "coffee-camera.mp4")
    return run((str(clip),), str(recipe), replace(common, out=str(folder)), server, flow="video")


def begin_server(*, dry_run: bool) -> ApiServer | None:
    """Attach to this home's Prefect server or start it, first of all: it then comes up beside our own imports.

    Returns:
        The server, or None where the user's settings name one or none is needed.
    """
    home = Path(os.environ.get("PREFECT_HOME", "~/.prefect")).expanduser()
    if dry_run or names_a_server(home):
        return None
    return attach_or_start(home)


@click.command()
@click.argument("clips", nargs=-1, required=True, metavar="CLIP...")
@click.option("--recipe", default="upscale", show_default=True, help="A recipe's name or a .json list of stages.")
@click.option("--mask", default=None, help="A PNG for the first frame: white is what to cut out or to remove.")
@restyle_options
@common_options
def video(clips: tuple[str, ...], recipe: str, mask: str | None, **values: Any) -> int:
    """Take clips through a recipe: upscale, smooth, cutout, remove, restyle, or your own list."""
    server = begin_server(dry_run=values["dry_run"])
    common = read_common(values)
    summary = run(clips, recipe, common, server, flow="video", mask=mask)
    show_summary(summary, common)
    return int(summary.exit_status)


def run(
    sources: tuple[str, ...],
    recipe: str,
    common: Common,
    server: ApiServer | None,
    *,
    flow: str = "product",
    mask: str | None = None,
) -> Any:
    """Run a flow in this process, attached to the embedded Prefect server or the configured one."""
    hand_down(common, server)
    with _uncollected():
        from deployments.cli.running import begin_torch, run_product, run_video
    if server is not None:
        if server.started_here and common.settings.workers == 1:  # others would only take time from the server
            begin_torch()
        wait_until_ready(server)
    if flow == "video":
        return run_video(sources, recipe, common, command=command_line(), mask=mask)
    return run_product(sources, recipe, common, command=command_line())


def prepare_flows(server: ApiServer | None) -> None:
    """Make flows' bodies callable in this process: Prefect's quiet, its server up."""
    _quiet(server)
    if server is not None:
        wait_until_ready(server)


def _quiet(server: ApiServer | None) -> None:
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    os.environ.update(environment(server) if server is not None else {})


def hand_down(common: Common, server: ApiServer | None) -> None:
    """What Prefect reads when it is first imported, and the settings that the flow reads for itself."""
    _quiet(server)
    os.environ["STILLMOTION_TENANT"] = common.settings.tenant
    os.environ["STILLMOTION_DEVICE"] = common.settings.device
    os.environ["STILLMOTION_WORKERS"] = str(common.settings.workers)


@contextmanager
def _uncollected() -> Iterator[None]:
    """Libraries make no garbage while they are imported; looking for it takes a tenth of the time."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def command_line() -> str:
    """What the user typed."""
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


def show_summary(summary: Any, common: Common, *, clip: Any = None) -> None:
    """The run's document on standard output with ``--json``, else a few lines in words; a clip made of it, too."""
    if common.as_json:
        document = summary.to_json() | ({"clip": clip.to_json()} if clip else {})
        click.echo(json.dumps(redact_all(document), indent=1, default=str))
        return
    from deployments.cli.words import describe

    for each in (summary, clip) if clip else (summary,):
        for line in describe(each):
            click.echo(line)


def _what_next(common: Common) -> None:
    click.echo("")
    click.echo("Try next:")
    click.echo(f"  open {common.out}/report.html and {common.out}/clip/report.html in a browser")
    click.echo("  stillmotion demo                                  # again: everything comes from the cache")
    click.echo("  stillmotion video your-clip.mp4 --recipe smooth --out clips")
    click.echo("  stillmotion product your-photo.jpg --recipe packshot --out pictures")
    click.echo("  stillmotion runs                                  # what was done so far")
