"""The ledger: what was run, made, paid and promised. Prefect owns the state of a run; the ledger owns the facts."""

from datasets.ledger.beats import RunHeart
from datasets.ledger.engine import Ledger, open_ledger
from datasets.ledger.leases import Lease
from datasets.ledger.records import ErrorRecord, ItemRecord, OutputRecord, RunRecord, StageRecord
from datasets.ledger.session import LedgerSession

__all__ = [
    "ErrorRecord",
    "ItemRecord",
    "Lease",
    "Ledger",
    "LedgerSession",
    "OutputRecord",
    "RunHeart",
    "RunRecord",
    "StageRecord",
    "open_ledger",
]
