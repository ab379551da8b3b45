"""``stillmotion upkeep retention``: remove what nothing holds on to any more, or say what would go."""

from typing import TYPE_CHECKING

import click

from datasets.errors import UsageError
from deployments.cli.inspecting import json_option, tenant_option
from deployments.cli.upkeep import do_parts

if TYPE_CHECKING:
    from datasets.retention import RetentionRules

NEVER = "never"
KINDS = ("frames", "steps", "outputs", "originals", "assets", "quarantine", "events", "reports")


@click.command("retention")
@click.option("--dry-run", is_flag=True, help="Only say what would go and how many bytes that is.")
@click.option(
    "--days",
    multiple=True,
    metavar="KIND=DAYS",
    help=f"How long a kind is kept, or KIND={NEVER}: {', '.join(KINDS)}.",
)
@click.option("--grace-hours", type=int, default=None, help="What was written or used since then stays.")
@tenant_option
@json_option
def retention(dry_run: bool, days: tuple[str, ...], grace_hours: int | None, tenant: str | None, as_json: bool) -> int:
    """Remove what nothing holds on to any more.

    What runs delivered within their days, live rows of a catalogue, what their records name, what was paid for, what is
    in quarantine and what runs are working on is never removed. Exit status 1 if it could not be done.
    """
    from flows.upkeep_order import UpkeepOrder, UpkeepPart

    rules = _rules(days, grace_hours)
    order = UpkeepOrder(parts=(UpkeepPart.RETENTION,), dry_run=dry_run, retention=rules)
    return do_parts(order, tenant, as_json)


def _rules(days: tuple[str, ...], grace_hours: int | None) -> "RetentionRules":
    from datasets.retention import RetentionRules

    given: dict[str, object] = {} if grace_hours is None else {"grace_hours": grace_hours}
    for each in days:
        kind, _, value = each.partition("=")
        if kind not in KINDS or not (value.isdigit() or value == NEVER):
            raise UsageError(f"--days takes KIND=DAYS or KIND={NEVER}, the kinds are {', '.join(KINDS)}; got {each!r}")
        given[f"{kind}_days"] = None if value == NEVER else int(value)
    try:
        return RetentionRules.model_validate(given)
    except ValueError as error:
        raise UsageError(f"a kind is kept 1 to 36500 days, and grace is 1 to 8760 hours: {error}") from error
