"""``stillmotion spend``: what was paid and what did not have to be, the budgets, and what is not known yet."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from datasets.errors import UsageError
from deployments.cli.inspecting import json_option, open_for_reading, print_document, tenant_option

if TYPE_CHECKING:
    from datasets.ledger import Budget, Summary
    from flows.spending import Account, By, OpenPurchase

EMPTY = "nothing was bought and nothing had to be: recipes with a paid stage, such as hero, leave their sums here"


@click.command()
@click.option("--by", type=click.Choice(["run", "day", "reason", "item"]), default=None, help="Sums for each of these.")
@click.option("--run", default=None, help="Of this run: the beginning of its id, or 'latest'.")
@click.option("--since", default=None, metavar="DAY", help="From this UTC day on: 2026-05-04.")
@click.option("--until", default=None, metavar="DAY", help="Until this UTC day, itself included.")
@click.option("--unknown", is_flag=True, help="List what may have been charged or is on its way, and the remedy.")
@click.option("--cap", default=None, metavar="USD", help="Set the tenant's monthly cap.")
@click.option("--no-cap", is_flag=True, help="Lift the tenant's monthly cap.")
@click.option("--month", default=None, metavar="YYYY-MM", help="The cap is this month's only; else every month's.")
@tenant_option
@json_option
def spend(
    by: "By | None",
    run: str | None,
    since: str | None,
    until: str | None,
    unknown: bool,
    cap: str | None,
    no_cap: bool,
    month: str | None,
    tenant: str | None,
    as_json: bool,
) -> int:
    """Show what was spent, what did not have to be, and the budgets; or set the cap of a month.

    A run's own cap is given to it with --budget. What was not needed is net of what was taken back and of what the
    guardrails themselves cost; what a budget deferred is not saved.
    """
    caps, shows = cap is not None or no_cap, bool(by or run or since or until)
    if [caps, shows, unknown].count(True) > 1 or (cap is not None and no_cap):
        raise UsageError(
            "--cap, --no-cap, --unknown and the choice of sums do not go together; ask one thing at a time"
        )
    if month is not None and not caps:
        raise UsageError("--month says whose cap --cap or --no-cap is; sums of a month are had by --since and --until")
    if caps:
        return _set_cap(tenant, cap, month, as_json)
    if unknown:
        return _show_unknown(tenant, as_json)
    return _show(tenant, {"by": by, "run": run, "since": since, "until": until}, as_json)


def _show(tenant: str | None, wanted: dict[str, Any], as_json: bool) -> int:
    from flows.spending import account, account_document, run_details

    settings, _, ledger = open_for_reading(tenant)
    found = account(ledger, settings.tenant, **wanted)
    document = account_document(found, settings.tenant)
    if found.run_id is not None and as_json:
        document |= run_details(ledger, settings.tenant, found.run_id)
    print_document(document, as_json, lambda: _account_lines(found))
    return 0


def _set_cap(tenant: str | None, cap: str | None, month: str | None, as_json: bool) -> int:
    from flows.spending import budget_document, micro_usd_of, set_month_cap

    amount = None if cap is None else micro_usd_of(cap)
    settings, _, ledger = open_for_reading(tenant)
    changed = set_month_cap(ledger, settings.tenant, amount, month)
    document = {"tenant": settings.tenant, "budgets": [budget_document(budget) for budget in changed]}
    print_document(document, as_json, lambda: _budget_lines(changed))
    return 0


def _show_unknown(tenant: str | None, as_json: bool) -> int:
    from flows.spending import open_document, open_purchases

    settings, _, ledger = open_for_reading(tenant)
    found = open_purchases(ledger, settings.tenant)
    document = {"tenant": settings.tenant, "purchases": [open_document(one) for one in found]}
    print_document(document, as_json, lambda: _open_lines(found))
    return 0


def _account_lines(found: "Account") -> Iterator[str]:
    from datasets.ledger.avoided import REASONS

    if found.is_empty:
        yield EMPTY
    names = [name[:8] if found.by == "run" else name for name in found.groups]
    rows = [*zip(names, found.groups.values(), strict=True), ("total", found.total)]
    headings = ("spent", *(reason.replace("_", " ") for reason in REASONS), "reversed", "guard cost", "net avoided",
                "held", "unknown")  # fmt: skip
    yield "US dollars" + (f", by {found.by}" if found.by else "")
    yield from money_table(found.by or "", headings, [(name, _amounts(sums)) for name, sums in rows])
    yield ""
    yield from _budget_lines(found.budgets)


def _amounts(sums: "Summary") -> list[int]:
    from datasets.ledger.avoided import REASONS

    avoided = [sums.avoided.get(reason, 0) for reason in REASONS]
    return [sums.spent, *avoided, sums.reversed, sums.guard_cost, sums.avoided_net, sums.held, sums.unknown]


def _budget_lines(budgets: Sequence["Budget"]) -> Iterator[str]:
    from datasets.ledger import EVERY_MONTH
    from flows.spending import left_of

    words = {EVERY_MONTH: "every month to come"}
    rows = [
        (
            words.get(budget.scope, budget.scope.replace("month:", "month ").replace("run:", "run ")),
            [budget.cap_micro_usd, None, None, None]
            if budget.scope == EVERY_MONTH
            else [budget.cap_micro_usd, budget.spent_micro_usd, budget.held_micro_usd, left_of(budget)],
        )
        for budget in budgets
    ]
    yield from money_table("budget", ("cap", "spent", "held", "left"), rows, without="none")


def _open_lines(found: Sequence["OpenPurchase"]) -> Iterator[str]:
    from datasets.money import dollars
    from deployments.cli.words import table

    if not found:
        yield "nothing is on its way and no outcome is unknown"
        return
    rows = [
        (
            one.purchase.item,
            one.purchase.adapter,
            one.purchase.state,
            dollars(one.purchase.held_micro_usd, 2),
            one.since.strftime("%Y-%m-%d %H:%M:%S"),
            one.purchase.provider_reference or "",
            one.purchase.idempotency_key,
        )
        for one in found
    ]
    yield from table(("item", "service", "state", "held (USD)", "since (UTC)", "reference", "key"), rows)
    yield ""
    for remedy in dict.fromkeys(one.remedy for one in found):
        items = ", ".join(one.purchase.item for one in found if one.remedy == remedy)
        yield f"{items}: {remedy}"


def money_table(
    name: str, headings: Sequence[str], rows: Sequence[tuple[str, Sequence[int | None]]], *, without: str = ""
) -> Iterator[str]:
    """Amounts in micro-USD as columns of dollars, points below each other, no digit lost."""
    from datasets.money import digits_of, dollars
    from deployments.cli.words import table

    digits = digits_of(amount for _, amounts in rows for amount in amounts if amount)
    cells = [["" if amount is None else dollars(amount, digits) for amount in amounts] for _, amounts in rows]
    for line in cells:
        line[0] = line[0] or without
    columns = [[heading, *(line[place] for line in cells)] for place, heading in enumerate(headings)]
    right = [[cell.rjust(max(map(len, column))) for cell in column] for column in columns]
    lines = list(zip([name, *(label for label, _ in rows)], *right, strict=True))
    yield from table(lines[0], lines[1:])
