"""The paid service of a run: found by the settings, its key read from the vault for each call, its circuit shared."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime

from pydantic import SecretStr

from datasets.errors import PipelineError
from datasets.ledger import Ledger
from datasets.settings import Settings
from datasets.vault import Vault, open_vault
from datasets.vault_errors import SecretMissingError
from datasets.vault_versions import WARN_AHEAD, due
from model_blocks.adapters.adapter import PaidAdapter
from model_blocks.adapters.waiting import Clock
from model_blocks.services import find_facts, make_service
from tasks.buying import PaidService, Terms
from tasks.circuit import SharedCircuit
from tasks.pacing import Pace

Noted = Callable[[str], None]
_INSTEAD: ContextVar[PaidAdapter | None] = ContextVar("stillmotion_service", default=None)


@contextmanager
def served_by(adapter: PaidAdapter) -> Iterator[None]:
    """Flows called inside use this adapter, whatever service the installation has."""
    token = _INSTEAD.set(adapter)
    try:
        yield
    finally:
        _INSTEAD.reset(token)


def open_service(settings: Settings, ledger: Ledger, run_id: str, noted: Noted | None = None) -> PaidService:
    """The installation's service for placing products.

    Args:
        settings: Say which service.
        ledger: Holds the circuit that all processes share.
        run_id: Who reads the service's key.
        noted: Is told what should be done about that key soon.

    Raises:
        ServiceMissingError: None is set up.
        SettingsError: What is set up does not hold.
    """
    return PaidService(
        adapter=_INSTEAD.get() or _installed(settings, run_id, noted),
        circuit=SharedCircuit(ledger.breaker(settings.tenant)),
        pace=Pace(settings.paid_calls),
        terms=Terms(patience_s=settings.service_patience_s),
        clock=Clock(),
    )


def _installed(settings: Settings, run_id: str, noted: Noted | None) -> PaidAdapter:
    vault = open_vault(settings, reader=run_id)

    def read_secret(name: str) -> SecretStr:
        return SecretStr(vault.get(name, purpose="paid service").reveal())

    facts = find_facts(settings.place_service)
    adapter = make_service(facts, read_secret)
    if noted is not None and facts.get("credential"):
        _look_at_key(vault, str(facts["credential"]), noted)
    return adapter


def _look_at_key(vault: Vault, name: str, noted: Noted) -> None:
    """Refuse a run whose key is not there before anything is computed for it; say in time what is due about it.

    Raises:
        SecretMissingError: There is no such credential.
    """
    try:
        versions = vault.versions(name)
    except PipelineError:
        return  # the first call says what is wrong
    if not versions:
        raise SecretMissingError(
            f"the paid service needs the credential {name!r}, which this tenant does not have; keep it with "
            f"`stillmotion secrets set {name}`",
            name=name,
        )
    for warning in due(versions, datetime.now(UTC), WARN_AHEAD):
        noted(f"{warning.message} [{warning.code}]")
