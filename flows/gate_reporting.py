"""Gathers what gates said of a run's items, from ledger and store, for its report."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from datasets.ledger import GateRecord, ItemRecord, QuarantineRecord, StageRecord
from datasets.storage import Storage
from flows.report_gates import TWIN, ReportGate, ReportStop
from tasks.looking import small_picture

HOME = "default"  # the tenant of an installation with one


@dataclass(frozen=True)
class Guarded:
    """What an item's page shows of guardrails; ``measured`` is the encoded small picture that was looked at."""

    gates: tuple[ReportGate, ...] = ()
    stop: ReportStop | None = None
    measured: bytes | None = None


def guarded(
    storage: Storage,
    item: ItemRecord,
    records: Sequence[GateRecord],
    stages: Sequence[StageRecord],
    holds: Sequence[QuarantineRecord],
) -> Guarded:
    """What the gates said of one item.

    Args:
        records: What gates said in the run, of this item.
        stages: The item's.
        holds: What is or was in quarantine, of this item.
    """
    gates = tuple(ReportGate(each.gate, each.decision, each.released, each.expectations) for each in records)
    if item.status != "stopped":
        return Guarded(gates)
    gate, codes = _stopped_by(item)
    looked = next((each for each in reversed(records) if each.gate == gate), None)
    hold = next((each for each in holds if looked and _is_about(each, looked, codes)), None)
    made = next((each.stage for each in stages if looked and each.fingerprint == looked.picture), "")
    stop = ReportStop(
        gate=gate,
        command=release_command(item.item, storage.tenant),
        measured=made,
        released_by=hold.released_by if hold else None,
        why=hold.why if hold else None,
    )
    return Guarded(gates, stop, small_picture(storage, looked.picture) if looked and made != "intake" else None)


def release_command(item: str, tenant: str) -> str:
    """What lets an item go on, safe to paste into a shell."""
    whose = "" if tenant == HOME else f" --tenant {shlex.quote(tenant)}"
    name, why = shlex.quote(item), '--why "..."'
    words = f"{why} -- {name}" if item.startswith("-") else f"{name} {why}"  # no name is read as an option
    return f"stillmotion release{whose} {words}"


def _stopped_by(item: ItemRecord) -> tuple[str, set[str]]:
    """Which gate stopped it, and the names of what it failed."""
    errors = [reason for reason in item.reasons or [] if reason.get("level") == "error"]
    gates = [str(reason["facts"]["gate"]) for reason in errors if "gate" in (reason.get("facts") or {})]
    return (gates or ["spend"])[0], {str(reason.get("code")) for reason in errors}


def _is_about(hold: QuarantineRecord, looked: GateRecord, codes: set[str]) -> bool:
    """Whether a row of the quarantine is about this stop; a duplicate is held apart from what a gate measured."""
    twin = TWIN in {str(reason.get("code")) for reason in hold.reasons}
    return (hold.gate, hold.picture) == (looked.gate, looked.picture) and twin == (TWIN in codes)
