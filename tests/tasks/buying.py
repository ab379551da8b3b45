"""What the tests of buying share: the real charging service, a real ledger, and clocks that run fast."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

from datasets.ledger import Ledger, Purchase, Wanted, month_scope, purchase_key
from datasets.ledger.purchases import Policy
from datasets.storage import Storage, open_storage
from model_blocks.adapters.outcomes import PaidRequest
from model_blocks.adapters.waiting import Clock
from tasks.buying import Buyer, PaidService, Terms
from tasks.circuit import SharedCircuit
from tasks.pacing import Pace
from tests.datasets.ledger_rows import new_ledger
from tests.model_blocks.paid_calls import picture
from tests.services.paid_adapters import generic
from tests.services.paid_books import Books
from tests.services.paid_service import Core, Rules, make_server

TENANT = "anna"
PRICE = 39_000  # micro-USD, of the charging service
PLAIN, KEYS, LOOK_UP = Rules(), Rules(keys=True), Rules(look_up=True)


@dataclass(frozen=True)
class FastClock:
    """Time that goes by faster than it does, in this process and in those it is sent to.

    Attributes:
        scale: Seconds of this clock in a real one. Sockets know real ones only, so time limits are not scaled.
        begun: Both clocks showed this, in seconds since 1970.
    """

    scale: float = 1.0
    begun: float = field(default_factory=time.time)

    def seconds(self) -> float:
        return (time.time() - self.begun) * self.scale

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.begun, UTC) + timedelta(seconds=self.seconds())

    @property
    def clock(self) -> Clock:
        return Clock(self.seconds, lambda seconds: time.sleep(seconds / self.scale), self.now)


@dataclass
class JumpClock:
    """Time that goes by as it does, and at once while somebody sleeps: for one buyer at a time."""

    jumped: float = 0.0

    def seconds(self) -> float:
        return time.monotonic() + self.jumped

    def now(self) -> datetime:
        return datetime.now(UTC) + timedelta(seconds=self.jumped)

    def sleep(self, seconds: float) -> None:
        self.jumped += seconds

    @property
    def clock(self) -> Clock:
        return Clock(self.seconds, self.sleep, self.now)


AnyClock = FastClock | JumpClock


@contextmanager
def serving(core: Core) -> Iterator[str]:
    """The charging service in threads of this process, its books at hand; yields its address."""
    server = make_server(core)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        core.stopping.set()
        server.shutdown()
        server.server_close()
        thread.join()
        core.books.close()


@dataclass(frozen=True)
class Shop:
    """A tenant with a ledger and a storage, and the service it buys from."""

    ledger: Ledger
    storage: Storage
    core: Core | None
    paid: PaidService
    clock: AnyClock
    policy: Policy = "hold"

    def buyer(self, name: str, run_id: str = "run-1", **changes: Any) -> Buyer:
        declaration = self.paid.adapter.declaration
        digest = sha256(name.encode()).hexdigest()
        wanted = Wanted(
            purchase_key=purchase_key(TENANT, "place", declaration.name, declaration.version, {}, [digest]),
            run_id=run_id,
            item=name,
            stage="place",
            adapter=declaration.name,
            adapter_version=declaration.version,
            price_micro_usd=declaration.price_of(1),
            price_list=declaration.price_list,
            policy=self.policy,
            can_resolve=declaration.can_look_up or declaration.honours_idempotency_keys,
        )
        given: dict[str, Any] = {"look": None, "refuse_if_stopping": lambda: None, "service": self.paid, **changes}
        return Buyer(
            self.ledger, self.storage, wanted=wanted, request=PaidRequest(f"{name} on oak", picture()), **given
        )

    def buy(self, name: str, **changes: Any) -> Purchase:
        return self.buyer(name, **changes).buy()

    def with_terms(self, **changes: Any) -> "Shop":
        return replace(self, paid=replace(self.paid, terms=replace(self.paid.terms, **changes)))

    def elsewhere(self, calls: int = 8) -> "Shop":
        """The same as another process has it: a pace and a circuit of its own, one ledger."""
        circuit = SharedCircuit(self.ledger.breaker(TENANT, clock=self.clock.now))
        return replace(self, paid=replace(self.paid, circuit=circuit, pace=Pace(calls)))

    def row(self, name: str) -> Purchase:
        with self.ledger.spending(TENANT, read_only=True) as session:
            found = session.find(self.buyer(name).wanted.purchase_key)
        assert found is not None
        return found

    def month(self) -> tuple[int, int]:
        """Micro-USD that the month's budget has spent, and holds."""
        with self.ledger.spending(TENANT, read_only=True) as session:
            found = session.budget(month_scope(self.clock.now()))
        return found.spent_micro_usd, found.held_micro_usd

    def cap(self, scope: str, micro_usd: int) -> None:
        with self.ledger.spending(TENANT) as session:
            session.set_budget(scope, micro_usd)

    def order(self, *faults: str | dict[str, Any]) -> None:
        """Faults for the next requests."""
        assert self.core is not None
        self.core.schedule.extend({"kind": each} if isinstance(each, str) else each for each in faults)

    @property
    def totals(self) -> dict[str, Any]:
        """What the service's own books say."""
        assert self.core is not None
        return self.core.books.totals()

    @property
    def counts(self) -> tuple[int, int]:
        """Requests that the service saw, and charges that it made."""
        return self.totals["requests"], self.totals["charges"]


def open_shop(
    ledger: Ledger, folder: Path, url: str, rules: Rules, *, clock: AnyClock, core: Core | None = None, **changes: Any
) -> Shop:
    """A tenant's means to buy from a service that is running."""
    limits, calls, policy = changes.pop("limits", None), changes.pop("calls", 8), changes.pop("policy", "hold")
    terms = Terms(**{"lease_s": 36_000.0, **changes.pop("terms", {})})  # hearts beat in real time
    circuit = SharedCircuit(ledger.breaker(TENANT, limits, clock=clock.now))
    paid = PaidService(generic(url, rules, **changes), circuit, Pace(calls), terms, clock.clock)
    return Shop(ledger, open_storage(str(folder / "store"), TENANT), core, paid, clock, policy)


@contextmanager
def shop(
    folder: Path,
    rules: Rules = PLAIN,
    *faults: Any,
    clock: AnyClock | None = None,
    core: Core | None = None,
    **more: Any,
) -> Iterator[Shop]:
    """A running service with faults in store, and a tenant who buys from it."""
    ledger = new_ledger(folder / "ledger.db")
    core = core or Core(rules, Books(folder / "service"))
    with serving(core) as url:
        opened = open_shop(ledger, folder, url, rules, clock=clock or JumpClock(), core=core, **more)
        opened.order(*faults)
        yield opened
    ledger.close()
