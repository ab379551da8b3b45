"""What the report says of the models of a run: which one did what, under which licence, and why it was that one."""

from collections.abc import Sequence
from dataclasses import dataclass

from datasets.ledger import ChosenModel


@dataclass(frozen=True)
class ReportChoice:
    """A row of the table. ``item`` is empty where the choice holds for all items."""

    capability: str
    model: str
    licence: str
    purpose: str
    reason: str
    item: str = ""


def report_choices(chosen: Sequence[ChosenModel]) -> tuple[ReportChoice, ...]:
    """The rows, those for all items first."""
    return tuple(
        ReportChoice(each.capability, each.model, each.licence, each.purpose, each.reason, each.item) for each in chosen
    )
