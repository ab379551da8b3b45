"""The paid service of a run: found by the settings, its key read from the vault for each call, its circuit shared."""

from pydantic import SecretStr

from datasets.ledger import Ledger
from datasets.settings import Settings
from datasets.vault import open_vault
from model_blocks.adapters.waiting import Clock
from model_blocks.services import find_service
from tasks.buying import PaidService, Terms
from tasks.circuit import SharedCircuit
from tasks.pacing import Pace


def open_service(settings: Settings, ledger: Ledger, run_id: str) -> PaidService:
    """The installation's service for placing products.

    Raises:
        ServiceMissingError: None is set up.
        SettingsError: What is set up does not hold.
    """
    vault = open_vault(settings, reader=run_id)

    def read_secret(name: str) -> SecretStr:
        return SecretStr(vault.get(name, purpose="paid service").reveal())

    return PaidService(
        adapter=find_service(settings.place_service, read_secret),
        circuit=SharedCircuit(ledger.breaker(settings.tenant)),
        pace=Pace(settings.paid_calls),
        terms=Terms(patience_s=settings.service_patience_s),
        clock=Clock(),
    )
