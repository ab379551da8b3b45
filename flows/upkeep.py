"""What an installation does regularly: find what dead processes left, look up charges, tell events, warn of keys."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from datasets.errors import PipelineError
from datasets.ledger import Ledger, Purchase
from datasets.lineage.outbox import BUSY, Drained, drain
from datasets.settings import Settings
from datasets.storage import Storage
from datasets.vault import open_vault
from datasets.vault_versions import DueWarning

if TYPE_CHECKING:
    from flows.unknowns import LookedUp

READER = "stillmotion upkeep"  # on record where a credential is read
DRAIN_S = 60.0  # that the sink of events is given


@dataclass(frozen=True)
class Place:
    """Where upkeep is done.

    Attributes:
        connect: Makes the Prefect server answer, which keeps services and credentials; called before they are needed.
    """

    settings: Settings
    storage: Storage
    ledger: Ledger
    connect: Callable[[], None]


@dataclass(frozen=True)
class Part:
    """What came of one part.

    Attributes:
        lines: For a person.
        facts: JSON-ready.
        failed: Why it could not be done; None if it was.
    """

    name: str
    lines: Sequence[str] = ()
    facts: dict[str, Any] = field(default_factory=dict)
    failed: str | None = None

    @property
    def document(self) -> dict[str, Any]:
        return {"part": self.name, "status": "failed" if self.failed else "done", "error": self.failed} | self.facts


def sweep(place: Place) -> Part:
    """Purchases whose process is gone: what it had sent becomes unknown, what it had not is released."""
    with place.ledger.spending(place.settings.tenant) as session:
        swept = session.sweep()
    unknown = sum(one.state == "unknown" for one in swept)
    released = len(swept) - unknown
    line = f"left by processes that are gone: {unknown} sent and unknown now, {released} never sent and released"
    return Part("sweep", (line,), {"unknown": unknown, "released": released})


def drained(place: Place) -> Part:
    """Events about runs that the sink has not taken yet."""
    told = drain(place.ledger, place.storage, place.settings, deadline_s=DRAIN_S)
    failed = told.error if told.error not in (None, BUSY) else None
    return Part("drain", (_drain_line(told),), {"delivered": told.delivered, "refused": told.refused}, failed)


def _drain_line(told: Drained) -> str:
    refused = f", {told.refused} refused and kept" if told.refused else ""
    return f"{told.delivered} events told{refused}" + (f"; the rest waits: {told.error}" if told.error else "")


def looked_up(place: Place) -> Part:
    """Purchases that may have been charged, or whose answer is not there: the service is asked."""
    from flows.unknowns import OPEN, find_open, look_up_all

    found = find_open(place.ledger, place.settings.tenant)
    if not found:
        return Part("look-up", ("no purchase has an unknown outcome",), {"purchases": [], "open": 0})
    if not place.settings.place_service:
        line = f"{len(found)} to look up, and no service is set up (STILLMOTION_PLACE_SERVICE); see `stillmotion spend"
        return Part("look-up", (f"{line} --unknown`",), {"purchases": [], "open": len(found)})
    place.connect()
    from flows.services import open_service

    service = open_service(place.settings, place.ledger, READER)
    ends = look_up_all(place.ledger, place.storage, service, found)
    lines = [f"{one.purchase.item}: {one.became.replace('_', ' ')}: {one.words}{_then(one.until)}" for one in ends]
    facts = {"purchases": [looked_up_document(one) for one in ends], "open": sum(one.became in OPEN for one in ends)}
    return Part("look-up", lines, facts)


def lost_answers(place: Place, settled: Sequence[Purchase]) -> list[dict[str, Any]]:
    """Fetch the answers to purchases that turned out as charged, where the service tells; else say what is left."""
    from flows.unknowns import look_up_all
    from tasks.buying_ends import answer_lost

    missing = [one for one in settled if one.response is None]
    why = "no service is set up to look it up"
    if missing and place.settings.place_service:
        try:
            place.connect()
            from flows.services import open_service

            service = open_service(place.settings, place.ledger, READER)
            return [looked_up_document(one) for one in look_up_all(place.ledger, place.storage, service, missing)]
        except PipelineError as error:
            why = error.message
    return [
        {"item": one.item, "became": "answer_lost", "words": f"{answer_lost(one.adapter, one).message} ({why})"}
        for one in missing
    ]


def looked_up_document(found: "LookedUp") -> dict[str, Any]:
    """What became of a purchase, JSON-ready."""
    purchase = found.purchase
    return {
        "item": purchase.item,
        "run_id": purchase.run_id,
        "service": purchase.adapter,
        "key": purchase.idempotency_key,
        "purchase_key": purchase.purchase_key,
        "became": found.became,
        "charged_micro_usd": purchase.charged_micro_usd,
        "reference": purchase.provider_reference,
        "response_digest": purchase.response_digest,
        "words": found.words,
        "until": found.until.isoformat() if found.until else None,
    }


def _then(until: datetime | None) -> str:
    return f"; ask again after {until:%Y-%m-%d %H:%M:%S} UTC" if until else ""


def due(place: Place) -> Part:
    """Credentials that end or should be rotated soon."""
    place.connect()
    warnings = open_vault(place.settings, reader=READER).due()
    lines = [f"{warning.message} [{warning.code}]" for warning in warnings]
    return Part("due", lines or ("no credential is due",), {"warnings": [_warning(one) for one in warnings]})


def _warning(warning: DueWarning) -> dict[str, Any]:
    return asdict(warning) | {"due_at": warning.due_at.isoformat()}


def guarded(name: str, work: Callable[[], Part]) -> Part:
    """The part, or why it failed: one that fails does not keep the next from being done."""
    try:
        with _translated():
            return work()
    except PipelineError as error:
        return Part(name, failed=f"{error.message} [{error.code}]")


@contextmanager
def _translated() -> Iterator[None]:
    """What disk, network and Prefect's server may raise, as one kind of error."""
    try:
        yield
    except _failures() as error:
        raise PipelineError(f"{type(error).__name__}: {error}") from error


def _failures() -> tuple[type[Exception], ...]:
    """Asked for only once something was raised, so that no library is imported for its errors before."""
    import httpx
    from sqlalchemy.exc import SQLAlchemyError

    if "prefect" not in sys.modules:
        return OSError, httpx.HTTPError, SQLAlchemyError
    from prefect.exceptions import PrefectException

    # Prefect's client raises a plain RuntimeError where it reaches no server.
    return OSError, httpx.HTTPError, SQLAlchemyError, PrefectException, RuntimeError
