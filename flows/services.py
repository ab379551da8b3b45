"""The paid service of a run: found by the settings, its key read from the vault for each call, its circuit shared."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from pydantic import SecretStr

from datasets.ledger import Ledger
from datasets.settings import Settings
from datasets.vault import open_vault
from model_blocks.adapters.adapter import PaidAdapter
from model_blocks.adapters.waiting import Clock
from model_blocks.services import find_service
from tasks.buying import PaidService, Terms
from tasks.circuit import SharedCircuit
from tasks.pacing import Pace

_INSTEAD: ContextVar[PaidAdapter | None] = ContextVar("stillmotion_service", default=None)


@contextmanager
def served_by(adapter: PaidAdapter) -> Iterator[None]:
    """Flows called inside use this adapter, whatever service the installation has."""
    token = _INSTEAD.set(adapter)
    try:
        yield
    finally:
        _INSTEAD.reset(token)


def open_service(settings: Settings, ledger: Ledger, run_id: str) -> PaidService:
    """The installation's service for placing products.

    Raises:
        ServiceMissingError: None is set up.
        SettingsError: What is set up does not hold.
    """
    return PaidService(
        adapter=_INSTEAD.get() or _installed(settings, run_id),
        circuit=SharedCircuit(ledger.breaker(settings.tenant)),
        pace=Pace(settings.paid_calls),
        terms=Terms(patience_s=settings.service_patience_s),
        clock=Clock(),
    )


def _installed(settings: Settings, run_id: str) -> PaidAdapter:
    vault = open_vault(settings, reader=run_id)

    def read_secret(name: str) -> SecretStr:
        return SecretStr(vault.get(name, purpose="paid service").reveal())

    return find_service(settings.place_service, read_secret)
