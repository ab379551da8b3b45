"""The command ``stillmotion``: its groups, its errors, its exit statuses. Heavy imports wait until they are needed."""

import gc
import json
import os
import signal
import sys
import threading
from types import FrameType
from typing import NoReturn

import click

from datasets import redaction
from datasets.errors import PermanentError, PipelineError, RecipeError, SettingsError, UsageError
from datasets.known_secrets import remember_environment
from deployments.cli.approving import approve
from deployments.cli.cataloguing import catalogue
from deployments.cli.checking import check, quarantine, release
from deployments.cli.inspecting import report, runs, show
from deployments.cli.keys import keys
from deployments.cli.lineage import lineage, rebuild, verify
from deployments.cli.models import models
from deployments.cli.producing import demo, product, video
from deployments.cli.retaining import retention
from deployments.cli.secrets import secrets
from deployments.cli.serving import limits, serve
from deployments.cli.spending import spend
from deployments.cli.stats import stats
from deployments.cli.upkeep import upkeep
from tasks.allocation import share_freed_memory

BAD_USAGE = (UsageError, SettingsError, RecipeError)
BAD_CHOICE = (
    "model_unknown",
    "no_model_fits",
    "licence_refused",
    "weights_missing",
)  # of models; by code, so that nothing of theirs is imported
INTERRUPTED = 130
GRACE_S = 3.5  # for the run to say in ledger and server that it was interrupted


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="stillmotion")
def stillmotion() -> None:
    """Turn product photographs and video clips into publishable media.

    Exit status: 0 everything delivered, 1 something failed, 2 bad usage or not one readable input, 3 delivered except
    items that were stopped or deferred, or paused for an approval, 130 interrupted.
    """


COMMANDS = (
    *(product, video, catalogue, demo, check, quarantine, release, approve),
    *(runs, show, report, spend, stats, lineage, verify, rebuild),
    *(upkeep, serve, limits, keys, secrets, models),
)
for command in COMMANDS:
    stillmotion.add_command(command)
upkeep.add_command(retention)


def entry() -> None:
    """Run the command line and leave with its exit status. A user sees sentences, never a traceback."""
    share_freed_memory()
    redaction.install()
    remember_environment(os.environ)
    interruption = _Interruption()
    signal.signal(signal.SIGINT, interruption)
    signal.signal(signal.SIGTERM, interruption)
    try:
        status = stillmotion(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        status = error.exit_code
    except (KeyboardInterrupt, click.Abort):
        _leave_interrupted()
    except PipelineError as error:
        status = _refuse(error)
    except Exception as error:
        if os.environ.get("STILLMOTION_DEBUG"):
            raise
        status = _refuse(_UnexpectedError(_unexpected_words(error), type=type(error).__name__))
    gc.freeze()  # or the interpreter looks through all it loaded once more before it ends, for half a second
    sys.exit(status if isinstance(status, int) else 0)


class _Interruption:
    """Turns a signal into ``KeyboardInterrupt`` and gives what follows a few seconds; a second signal gives none."""

    def __init__(self) -> None:
        self._came = False

    def __call__(self, number: int, frame: FrameType | None) -> NoReturn:
        if self._came:
            _leave_interrupted()
        self._came = True
        watchdog = threading.Timer(GRACE_S, _leave_interrupted)
        watchdog.daemon = True
        watchdog.start()
        raise KeyboardInterrupt


def _leave_interrupted() -> NoReturn:
    """End now: stages that still compute in other threads are left where they are, as a kill would leave them."""
    sys.stdout.flush()
    os.write(2, b"stillmotion: interrupted; the same command goes on where this one stopped\n")
    os._exit(INTERRUPTED)


class _UnexpectedError(PipelineError):
    code = "unexpected"


def _unexpected_words(error: Exception) -> str:
    return (
        f"an unexpected {type(error).__name__}: {error}; what was finished is kept, the same command goes on there; "
        "with STILLMOTION_DEBUG=1 it shows where this happened, please report that"
    )


def _refuse(error: PipelineError) -> int:
    click.echo(redaction.redact(f"stillmotion: {error.message} [{error.code}]"), err=True)
    if "--json" in sys.argv[1:]:
        reason = {"code": error.code, "message": error.message, "facts": error.facts}
        document = {"status": "failed", "reasons": [reason], "items": [], "stages": []}
        click.echo(redaction.redact(json.dumps(document, default=str)))
    usage = isinstance(error, BAD_USAGE) or (isinstance(error, PermanentError) and error.code in BAD_CHOICE)
    return 2 if usage else 1
