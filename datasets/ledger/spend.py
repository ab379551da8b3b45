"""Money in the ledger: every change of a purchase is one transaction, on the disk before the caller goes on.

A purchase goes intent → sent → settled | failed_free | unknown → settled | void. The intent is written before anything
is sent, as in a transactional outbox, so a process that dies leaves a row that says what it may have paid for.

Give each call a session of its own: what a call returns is true once its session has ended.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, and_, or_, select

from datasets.errors import UsageError
from datasets.ledger import avoided, budgets, spend_summary
from datasets.ledger.avoided import Avoided, AvoidedRecord
from datasets.ledger.budgets import Budget
from datasets.ledger.claims import NEVER_SENT, Claimant, claim, is_at_work, lose_sender
from datasets.ledger.leases import new_holder
from datasets.ledger.looks import Look
from datasets.ledger.purchases import (
    Charged,
    Claim,
    NotCharged,
    Outcome,
    OverBudget,
    Purchase,
    PurchaseLostError,
    Response,
    State,
    Wanted,
    check_amount,
    purchase_of,
)
from datasets.ledger.spend_rows import COLUMNS, UNHELD, PurchaseRows, day_of, wrong_state
from datasets.ledger.spend_summary import Grouping, Summary
from datasets.ledger.spend_tables import purchases
from datasets.ledger.tables import json_ready
from datasets.redaction import redact_all

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    return datetime.now(UTC)


class SpendSession:
    """Reads and writes one tenant's purchases, budgets and avoided costs in one transaction."""

    def __init__(self, connection: Connection, tenant: str, clock: Clock = utc_now) -> None:
        self._rows = PurchaseRows(connection, tenant, clock())

    # buying

    def claim(self, wanted: Wanted, *, lease_s: float = 60.0, look: Look | None = None) -> Claim:
        """Ask for a paid deliverable: bought already, yours now, somebody else's, held, or over budget.

        Args:
            wanted: What is wanted, at which price, under which policy.
            lease_s: How long the purchase stays the caller's if nothing is heard of it; ``renew`` prolongs that.
            look: What the picture looks like; given, one that looks the same is not bought for the same wish.

        Returns:
            ``Yours`` to exactly one caller. A fresh intent has its price held in all budgets; one that a dead process
            had sent comes as ``unknown``. ``Held`` if its outcome cannot be found out and must not be risked again.
        """
        return claim(self._rows, wanted, Claimant(new_holder(), lease_s), look)

    def sent(self, purchase: Purchase) -> Purchase:
        """Say that the request is about to leave. The session must have ended before a socket is opened.

        Raises:
            PurchaseLostError: Somebody else has it by now: send nothing.
            PurchaseStateError: It is not an intent.
        """
        row = self._mine(purchase)
        if row.state != "intent":
            raise wrong_state(row, "sent")
        return self._rows.move(row, "sent", sendings=1)

    def resend(self, purchase: Purchase, *, safe: bool) -> Purchase | OverBudget:
        """Say that the request of an unknown outcome is about to leave again, with the same idempotency key.

        Args:
            purchase: As the ledger gave it, in state ``unknown``.
            safe: Whether the service honours the key and its window is still open, so it will not charge twice.
                Otherwise the policy has to be ``resend_once``, the price is held once more, and what the first
                sending may have cost stays held until ``resolve`` settles that, too.

        Raises:
            PurchaseLostError: Somebody else has it by now: send nothing.
            PurchaseStateError: It is not unknown, or was sent again before.
        """
        row = self._mine(purchase)
        if row.state != "unknown" or not (safe or (row.policy == "resend_once" and row.sendings == 1)):
            raise wrong_state(row, "sent")
        more = 0 if safe else row.price_micro_usd
        if more:  # a cap that was lowered since does not forbid to find out what the first sending cost
            refusal = budgets.hold(self._rows.connection, self._rows.tenant, row.scopes, more, self._rows.now)
            if refusal is not None:
                return refusal
        return self._rows.move(
            row,
            "sent",
            sent_at=row.sent_at,
            resent_at=self._rows.now,
            sendings=row.sendings + 1,
            held_micro_usd=row.held_micro_usd + more,
        )

    def settle(
        self, purchase: Purchase, *, charged_micro_usd: int, reference: str | None, response: Response | None
    ) -> Purchase:
        """Post the charge of the last sending. The answer's bytes are in the storage already.

        Whoever sent it may do that, even after its lease ran out: a reply that comes late is still the truth.

        Raises:
            PurchaseStateError: It is settled already, or was sent again by somebody else.
        """
        row = self._sending(purchase)
        kept = max(0, row.held_micro_usd - row.price_micro_usd)
        return self._post(row, charged_micro_usd, kept, reference, response)

    def failed_free(self, purchase: Purchase, code: str, facts: dict[str, Any] | None = None) -> Purchase:
        """Say that the last sending is proven to have cost nothing, or, of an intent, that it was never sent.

        Returns:
            The purchase in ``failed_free``, to be claimed again; in ``unknown`` if an earlier sending of the same
            attempt may have been charged.

        Raises:
            PurchaseLostError: Somebody else has it by now.
            PurchaseStateError: It is neither an intent nor sent.
        """
        row = self._mine(purchase)
        error = {"error_code": code, "error_facts": redact_all(json_ready(facts or {}))}
        if row.sendings <= 1:
            return self._rows.free(row, "failed_free", **error)
        doubt = self._rows.move(row, "unknown", held_micro_usd=row.price_micro_usd, **error)
        self._rows.move_money(row, released=row.held_micro_usd - row.price_micro_usd, spent=0)
        return doubt

    def unknown(self, purchase: Purchase, code: str, facts: dict[str, Any] | None = None) -> Purchase:
        """Say that nobody can tell what came of the sending. It stays the caller's, to look it up: see ``let_go``.

        Raises:
            PurchaseLostError: Somebody else has it by now.
            PurchaseStateError: It is not sent.
        """
        error = {"error_code": code, "error_facts": redact_all(json_ready(facts or {}))}
        return self._rows.move(self._mine(purchase), "unknown", **error)

    def let_go(self, purchase: Purchase) -> Purchase:
        """Leave an unknown outcome to whoever claims it next.

        Raises:
            PurchaseLostError: Somebody else has it by now.
            PurchaseStateError: It is not unknown.
        """
        row = self._mine(purchase)
        if row.state != "unknown":
            raise wrong_state(row, "unknown")
        return self._rows.change(row, **UNHELD)

    def renew(self, purchase: Purchase, *, lease_s: float = 60.0) -> bool:
        """Push the end of the caller's lease further away; False if the purchase is not the caller's any more."""
        row = self._rows.find(purchase.purchase_key, lock=True)
        if row is None or row.holder != purchase.holder or row.attempt != purchase.attempt:
            return False
        self._rows.change(row, lease_expires_at=self._rows.now + timedelta(seconds=lease_s))
        return True

    # outcomes that became known later

    def resolve(self, purchase_key: str, outcome: Outcome) -> Purchase:
        """Say what came of an unknown outcome; it may be of any process, and be known from a look-up or an invoice.

        A settled purchase that was sent twice is resolved in the same way: ``Charged`` then is the other sending's.

        Raises:
            PurchaseStateError: Its outcome is known.
            NotFoundError: There is no such purchase.
        """
        row = self._rows.locked(purchase_key)
        if not _doubtful(row):
            raise wrong_state(row, "settled")
        if isinstance(outcome, Charged):
            return self._resolve_charged(row, outcome)
        if isinstance(outcome, NotCharged):
            return self._resolve_free(row, outcome)
        evidence = {"error_facts": redact_all(json_ready(outcome.evidence))} if outcome.evidence else {}
        return self._rows.change(row, looked_up_at=self._rows.now, **evidence)

    def attach_response(self, purchase_key: str, response: Response) -> Purchase:
        """Say where the answer is that a settled purchase came without.

        Raises:
            PurchaseStateError: It is not settled, or has another answer.
        """
        row = self._rows.locked(purchase_key)
        if row.state != "settled" or row.response not in (None, response):
            raise wrong_state(row, "settled")
        return self._rows.change(row, **_response(response))

    def list_unknown(self, older_than: timedelta = timedelta(0)) -> list[Purchase]:
        """Purchases that may have been charged, sent at least so long ago, the oldest first.

        A look-up right after a timeout may say "none" and mean "still at it": ask for those older than the adapter's
        settle time. Call ``sweep`` first to find those whose sender died.
        """
        columns = purchases.c
        twice = and_(columns.state == "settled", columns.held_micro_usd > 0)
        query = self._select().where(or_(columns.state == "unknown", twice))
        found = [purchase_of(row) for row in self._rows.connection.execute(query)]
        latest = self._rows.now - older_than
        return sorted((one for one in found if _last_sent(one) <= latest), key=_last_sent)

    def sweep(self) -> list[Purchase]:
        """Find the purchases whose process is gone: what it had sent becomes unknown, what it had not is released."""
        query = self._select("intent", "sent").with_for_update()
        dead = [
            one for one in map(purchase_of, self._rows.connection.execute(query)) if not is_at_work(one, self._rows.now)
        ]
        return [
            lose_sender(self._rows, one)
            if one.state == "sent"
            else self._rows.free(one, "failed_free", error_code=NEVER_SENT, error_facts={})
            for one in dead
        ]

    # budgets

    def set_budget(self, scope: str, cap_micro_usd: int | None) -> None:
        """Set a scope's cap, or lift it with None. Scopes come from ``run_scope``, ``month_scope``, ``EVERY_MONTH``."""
        budgets.set_cap(self._rows.connection, self._rows.tenant, scope, cap_micro_usd, self._rows.now)

    def budget(self, scope: str) -> Budget:
        return budgets.find(self._rows.connection, self._rows.tenant, scope)

    def budgets(self) -> list[Budget]:
        return budgets.find_all(self._rows.connection, self._rows.tenant)

    # what did not have to be paid

    def avoid(self, record: Avoided) -> bool:
        """Write down that a deliverable did not have to be bought; False if it is written already, or was bought."""
        return avoided.append(self._rows, record)

    def reverse_avoided(self, run_id: str, item: str, deliverable_key: str, evidence: dict[str, Any]) -> bool:
        """Take an avoided cost back, as when a stopped item is released; False if there is none left to take back."""
        return avoided.reverse(self._rows, run_id, item, deliverable_key, evidence)

    def avoided_at_gate(self, gate: str, picture: str) -> list[AvoidedRecord]:
        """What was avoided, in any run, because a picture was stopped at a gate; taken back or not."""
        return avoided.at_gate(self._rows, gate, picture)

    def avoided(self, run_id: str) -> list[AvoidedRecord]:
        return avoided.of_run(self._rows, run_id)

    # reading

    def find(self, purchase_key: str) -> Purchase | None:
        return self._rows.find(purchase_key)

    def purchases(self, *states: State, run_id: str | None = None) -> list[Purchase]:
        """All purchases, or those in some states or of a run, by the time of their intent."""
        query = self._select(*states).order_by(purchases.c.intent_at, purchases.c.purchase_key)
        if run_id is not None:
            query = query.where(purchases.c.run_id == run_id)
        return [purchase_of(row) for row in self._rows.connection.execute(query)]

    def summary(self, *, run_id: str | None = None, since: str | None = None, until: str | None = None) -> Summary:
        """The sums of everything, or of a run, or of UTC days (``2026-05-04``, both ends included)."""
        return spend_summary.total(self._rows, run_id=run_id, since=since, until=until)

    def summaries(
        self, by: Grouping, *, run_id: str | None = None, since: str | None = None, until: str | None = None
    ) -> dict[str, Summary]:
        """The same for each ``run``, each ``day`` or each ``item``."""
        return spend_summary.grouped(self._rows, by, run_id=run_id, since=since, until=until)

    def avoided_by_reason(
        self, *, run_id: str | None = None, since: str | None = None, until: str | None = None
    ) -> dict[str, Summary]:
        """What did not have to be paid, for each reason, with what of it was taken back."""
        return spend_summary.by_reason(self._rows, run_id=run_id, since=since, until=until)

    # shared by the above

    def _select(self, *states: State) -> Any:
        query = select(*COLUMNS).where(*self._rows.own())
        return query.where(purchases.c.state.in_(states)) if states else query

    def _mine(self, purchase: Purchase) -> Purchase:
        row = self._rows.locked(purchase.purchase_key)
        if row.attempt != purchase.attempt or row.holder != purchase.holder or row.holder is None:
            raise PurchaseLostError(
                f"the purchase {row.purchase_key[:12]} is another process's by now ({row.holder or 'nobody'}); claim "
                "it again, and send nothing before",
                purchase=row.purchase_key,
                state=row.state,
            )
        return row

    def _sending(self, purchase: Purchase) -> Purchase:
        row = self._rows.locked(purchase.purchase_key)
        if (row.attempt, row.sendings) != (purchase.attempt, purchase.sendings):
            raise wrong_state(row, "settled")
        return row

    def _post(
        self, row: Purchase, charged: int, kept: int, reference: str | None, response: Response | None
    ) -> Purchase:
        settled = self._rows.move(
            row,
            "settled",
            charged_micro_usd=check_amount(charged),
            held_micro_usd=kept,
            provider_reference=reference,
            day=day_of(self._rows.now),
            **(_response(response) if response else {}),
            **UNHELD,
        )
        self._rows.move_money(row, released=row.held_micro_usd - kept, spent=charged)
        return settled

    def _resolve_charged(self, row: Purchase, outcome: Charged) -> Purchase:
        if row.state == "unknown":
            return self._post(row, outcome.micro_usd, 0, outcome.reference, outcome.response)
        total = (row.charged_micro_usd or 0) + check_amount(outcome.micro_usd)
        self._rows.move_money(row, released=row.held_micro_usd, spent=outcome.micro_usd)
        return self._rows.change(row, held_micro_usd=0, charged_micro_usd=total)

    def _resolve_free(self, row: Purchase, outcome: NotCharged) -> Purchase:
        if row.state == "unknown":
            evidence = {"error_facts": redact_all(json_ready(outcome.evidence))} if outcome.evidence else {}
            return self._rows.free(row, "void", **evidence)
        self._rows.move_money(row, released=row.held_micro_usd, spent=0)
        return self._rows.change(row, held_micro_usd=0)


def _doubtful(purchase: Purchase) -> bool:
    return purchase.state == "unknown" or (purchase.state == "settled" and purchase.held_micro_usd > 0)


def _last_sent(purchase: Purchase) -> datetime:
    moment = purchase.resent_at or purchase.sent_at
    if moment is None:
        raise UsageError(f"the purchase {purchase.purchase_key[:12]} was never sent", purchase=purchase.purchase_key)
    return moment


def _response(response: Response) -> dict[str, str]:
    return {
        "response_digest": response.digest,
        "response_media_type": response.media_type,
        "response_path": response.path,
    }
