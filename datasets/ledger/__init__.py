"""The ledger: what was run, made, paid and promised. Prefect owns the state of a run; the ledger owns the facts."""

from datasets.ledger.avoided import Avoided, AvoidedRecord
from datasets.ledger.beats import RunHeart
from datasets.ledger.breaker import Allowed, Breaker, CircuitLimits, OpenUntil
from datasets.ledger.budgets import EVERY_MONTH, Budget, month_scope, run_scope
from datasets.ledger.catalogue_rows import CatalogueChange, CatalogueRecord, CatalogueState, CatalogueTouch
from datasets.ledger.engine import Ledger, open_ledger
from datasets.ledger.gate_rows import GateRecord, QuarantineRecord
from datasets.ledger.item_notes import ItemNotes, NotesWriter
from datasets.ledger.leases import Lease
from datasets.ledger.looks import Look
from datasets.ledger.model_circuits import ModelCircuit, ModelCircuitLimits
from datasets.ledger.model_rows import ModelEvent, ModelInProcess, ModelState
from datasets.ledger.purchases import (
    Bought,
    Busy,
    Charged,
    Claim,
    Held,
    NotCharged,
    OverBudget,
    Purchase,
    PurchaseLostError,
    PurchaseStateError,
    Response,
    Twin,
    Undecided,
    Wanted,
    Yours,
    purchase_key,
)
from datasets.ledger.reconcile import Difference, UsageRecord, reconcile
from datasets.ledger.records import ErrorRecord, ItemRecord, OutputRecord, RunRecord, StageRecord
from datasets.ledger.routing_rows import ChosenModel, ModelTimes
from datasets.ledger.session import LedgerSession
from datasets.ledger.spend import SpendSession
from datasets.ledger.spend_heart import PurchaseHeart
from datasets.ledger.spend_summary import Summary

__all__ = [
    "EVERY_MONTH",
    "Allowed",
    "Avoided",
    "AvoidedRecord",
    "Bought",
    "Breaker",
    "Budget",
    "Busy",
    "CatalogueChange",
    "CatalogueRecord",
    "CatalogueState",
    "CatalogueTouch",
    "Charged",
    "ChosenModel",
    "CircuitLimits",
    "Claim",
    "Difference",
    "ErrorRecord",
    "GateRecord",
    "Held",
    "ItemNotes",
    "ItemRecord",
    "Lease",
    "Ledger",
    "LedgerSession",
    "Look",
    "ModelCircuit",
    "ModelCircuitLimits",
    "ModelEvent",
    "ModelInProcess",
    "ModelState",
    "ModelTimes",
    "NotCharged",
    "NotesWriter",
    "OpenUntil",
    "OutputRecord",
    "OverBudget",
    "Purchase",
    "PurchaseHeart",
    "PurchaseLostError",
    "PurchaseStateError",
    "QuarantineRecord",
    "Response",
    "RunHeart",
    "RunRecord",
    "SpendSession",
    "StageRecord",
    "Summary",
    "Twin",
    "Undecided",
    "UsageRecord",
    "Wanted",
    "Yours",
    "month_scope",
    "open_ledger",
    "purchase_key",
    "reconcile",
    "run_scope",
]
