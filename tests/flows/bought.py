"""Purchases in a real ledger from the real charging service, for tests of spend and upkeep."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from datasets.assets import asset_path, put_asset
from datasets.ledger import Ledger, Purchase, Response
from datasets.storage import Storage
from model_blocks.adapters.calling import call
from model_blocks.adapters.outcomes import PaidRequest, Settled, Unknown
from model_blocks.adapters.waiting import Clock, Retries
from tasks.buying import PaidService, Terms
from tasks.circuit import SharedCircuit
from tasks.pacing import Pace
from tests.datasets.spend_facts import wish, yours
from tests.services.paid_adapters import JSON_REPLY, LOOK_UP, facts, generic
from tests.services.paid_service import KEY_HEADER, Rules, Service

PRICE = 39_000  # micro-USD, the charging service's
RULES = Rules(keys=True, look_up=True)


@dataclass(frozen=True)
class Shop:
    """A tenant's books and a service that it buys from."""

    ledger: Ledger
    storage: Storage
    service: Service

    @property
    def tenant(self) -> str:
        return self.storage.tenant

    def buy(
        self, name: str, fault: str = "ok", *, run_id: str = "run-1", earlier: timedelta = timedelta(0)
    ) -> Purchase:
        """Buy something; what has a fault has an unknown outcome then."""
        moment = datetime.now(UTC) - earlier
        with self.ledger.spending(self.tenant, clock=lambda: moment) as session:
            wanted = wish(name, run_id, adapter="paid-test", price_micro_usd=PRICE)
            purchase = session.sent(yours(session.claim(wanted, lease_s=3600)))
        self.service.order(fault)
        outcome = call(
            generic(self.service.url, RULES),
            PaidRequest(name),
            idempotency_key=purchase.idempotency_key,
            before_send=lambda attempt: None,
            retries=Retries(attempts=1),
        )
        with self.ledger.spending(self.tenant, clock=lambda: moment) as session:
            if isinstance(outcome, Unknown):
                return session.let_go(session.unknown(purchase, outcome.reason))
            assert isinstance(outcome, Settled)
            digest = put_asset(self.storage, outcome.content)
            return session.settle(
                purchase,
                charged_micro_usd=outcome.charged_micro_usd,
                reference=outcome.reference,
                response=Response(digest, outcome.media_type, asset_path(digest)),
            )

    def now(self, purchase: Purchase) -> Purchase:
        """The purchase as the ledger has it now."""
        with self.ledger.spending(self.tenant, read_only=True) as session:
            found = session.find(purchase.purchase_key)
        assert found is not None
        return found

    @property
    def asked(self) -> PaidService:
        """The service as a run would use it."""
        return PaidService(
            adapter=generic(self.service.url, RULES),
            circuit=SharedCircuit(self.ledger.breaker(self.tenant)),
            pace=Pace(1),
            terms=Terms(),
            clock=Clock(),
        )


def described(folder: Path, service: Service, credential: str | None = None, **changes: Any) -> Path:
    """A file that describes the service to an installation."""
    form = {"path": "/v1/images", "body": "json", "key_header": KEY_HEADER, "reply": JSON_REPLY, "look_up": LOOK_UP}
    document = {
        "kind": "generic_http",
        "credential": credential,
        "declaration": facts(service.url, RULES, **changes),
        "form": form,
    }
    path = folder / "service.json"
    path.write_text(json.dumps(document))
    return path
