"""A ledger to buy from, on both kinds of database, for tests of purchases and budgets."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from datasets.ledger import (
    Ledger,
    Purchase,
    open_ledger,
)
from tests.datasets.ledger_rows import new_ledger_url
from tests.datasets.spend_facts import ANSWER, PRICE, Clock, wish, yours

RUN, MONTH = "run:run-1", "month:2026-05"


class Desk:
    """A ledger, a tenant and a clock: every call is a transaction of its own."""

    def __init__(self, ledger: Ledger, tenant: str = "anna") -> None:
        self.ledger, self.tenant, self.clock = ledger, tenant, Clock()

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            with self.ledger.spending(self.tenant, clock=self.clock) as session:
                return getattr(session, name)(*arguments, **named)

        return call

    def bought(self, name: str = "shoe", charged: int = PRICE, **facts: Any) -> Purchase:
        purchase = self.sent(yours(self.claim(wish(name, **facts))))
        settled = self.settle(purchase, charged_micro_usd=charged, reference=f"ref-{name}", response=ANSWER)
        assert isinstance(settled, Purchase)
        return settled

    def doubtful(self, name: str = "shoe", **facts: Any) -> Purchase:
        purchase = self.unknown(self.sent(yours(self.claim(wish(name, **facts)))), "timeout", {"s": 30})
        assert isinstance(purchase, Purchase)
        return purchase

    def money(self, scope: str = RUN) -> tuple[int, int]:
        found = self.budget(scope)
        return found.held_micro_usd, found.spent_micro_usd


@pytest.fixture(params=["sqlite", "postgresql"])
def desk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Desk]:
    ledger = open_ledger(new_ledger_url(request, request.param, tmp_path))
    yield Desk(ledger)
    ledger.close()
