"""Lets go on what a guardrail stopped: found by name or key, written down with who and why, its saving taken back."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from datasets.errors import NotFoundError, UsageError
from datasets.ledger import Ledger, LedgerSession, QuarantineRecord
from datasets.money import MICRO

SHORTEST_KEY = 6  # hexadecimal digits by which a person may name what is held
SHOWN_KEY = 12
KEY = re.compile(rf"[0-9a-f]{{{SHORTEST_KEY},64}}")


@dataclass(frozen=True)
class Wanted:
    """What is to be released.

    Attributes:
        item: Its name in the run that stopped it, or the beginning of its key.
        run: Beginning of that run's id; empty: whichever stopped it last.
        gate: Where it was stopped; empty: wherever that was last.
    """

    item: str
    run: str | None = None
    gate: str | None = None


@dataclass(frozen=True)
class Released:
    """What a release came to.

    Attributes:
        before: Whether somebody had released it already; then that release stands.
        reversed_usd: Avoided cost that was taken back now.
        command: What goes on with it, if the run was begun by a command.
    """

    record: QuarantineRecord
    before: bool
    reversed_usd: float
    command: str | None

    def to_json(self) -> dict[str, object]:
        return {
            "status": "released_before" if self.before else "released",
            **held_json(self.record),
            "reversed_usd": self.reversed_usd,
            "command": self.command,
        }


def held_json(record: QuarantineRecord) -> dict[str, object]:
    """An entry of the quarantine as a document."""
    return {
        "item": record.item,
        "hold_key": record.hold_key,
        "run_id": record.run_id,
        "source": record.source,
        "asset": record.asset_digest,
        "gate": record.gate,
        "picture": record.picture,
        "reasons": record.reasons,
        "stopped_at": _shown(record.stopped_at),
        "released_at": _shown(record.released_at),
        "released_by": record.released_by,
        "why": record.why,
    }


def release(ledger: Ledger, tenant: str, wanted: Wanted, *, by: str, why: str) -> Released:
    """Let an item go on from its next run. Released again, nothing changes but what an interruption left undone.

    Args:
        by: Who says so.
        why: For whoever reads the books later.

    Raises:
        UsageError: No reason is given, or the name stands for several.
        NotFoundError: Nothing of that name is held.
    """
    if not why.strip():
        raise UsageError("say why the item may go on: --why TEXT; it is kept with the release")
    with ledger.session(tenant) as session:
        found = find_held(session, wanted)
        before = found.released_at is not None
        record = session.release(found.hold_key, by=by, why=why.strip())
        command = session.find_run(record.run_id).parameters.get("command")
    return Released(record, before, _take_back(ledger, tenant, record), command if isinstance(command, str) else None)


def find_held(session: LedgerSession, wanted: Wanted) -> QuarantineRecord:
    """The latest that was stopped of an item; one that waits for its release before those that have it.

    Raises:
        NotFoundError: There is none.
        UsageError: Several sources have that name; the message lists their keys.
    """
    found = _matching(session, wanted)
    if not found:
        where = "".join(
            f" {words} {value}" for words, value in (("of run", wanted.run), ("at gate", wanted.gate)) if value
        )
        raise NotFoundError(
            f"nothing called {wanted.item!r}{where} is in quarantine; `stillmotion quarantine` lists what is held",
            item=wanted.item,
        )
    waiting = [record for record in found if record.released_at is None] or found
    if len({record.source for record in waiting}) > 1:
        raise UsageError(
            f"{wanted.item!r} stands for several held pictures; release one by the beginning of its key: "
            + "; ".join(f"{each.hold_key[:SHOWN_KEY]} ({each.source}, {each.gate} gate)" for each in waiting),
            item=wanted.item,
            candidates=[held_json(each) for each in waiting],
        )
    return waiting[0]


def _matching(session: LedgerSession, wanted: Wanted) -> Sequence[QuarantineRecord]:
    """The entries that fit, the latest first: by name, else by key, else by the same picture under that name."""
    run_id = session.find_run(wanted.run).run_id if wanted.run else None
    chosen: dict[str, str] = {"gate": wanted.gate} if wanted.gate else {}
    own = chosen | ({"run_id": run_id} if run_id else {})
    named = session.held(item=wanted.item, **own)
    if named:
        return named
    if KEY.fullmatch(wanted.item):
        keyed = [record for record in session.held(**own) if record.hold_key.startswith(wanted.item)]
        if keyed:
            return keyed
    stops = session.stops_of(wanted.item, run_id)
    return [record for record in session.held(**chosen) if (record.gate, record.picture) in stops]


def _take_back(ledger: Ledger, tenant: str, record: QuarantineRecord) -> float:
    """Undo what its stops were counted to have saved, in all runs, in US dollars: it will be bought after all."""
    evidence: dict[str, Any] = {
        "released": record.hold_key,
        "by": record.released_by,
        "why": record.why,
        "at": _shown(record.released_at),
    }
    twin = any("purchase" in reason["facts"] for reason in record.reasons)
    with ledger.spending(tenant) as session:
        taken = [
            one.micro_usd
            for one in session.avoided_at_gate(record.gate, record.picture)
            if one.reason == ("duplicate" if twin else "guardrail_stop")
            and session.reverse_avoided(one.run_id, one.item, one.deliverable_key, evidence)
        ]
    return sum(taken) / MICRO


def _shown(moment: datetime | None) -> str | None:
    return moment.astimezone(UTC).isoformat() if moment else None
