"""How an item ends that neither was delivered nor failed: stopped by a guardrail, deferred, or held."""

from typing import ClassVar

from datasets.errors import PipelineError


class NotDeliveredError(PipelineError):
    """Ends an item's way on purpose. ``status`` is what becomes of the item."""

    status: ClassVar[str]


class StoppedError(NotDeliveredError):
    """A guardrail stopped the item; it is in quarantine until somebody releases it."""

    code = "guardrail_stop"
    status = "stopped"


class RejectedError(NotDeliveredError):
    """A human was asked before money was spent, and said no; nothing was charged."""

    code = "rejected"
    status = "stopped"


class AwaitingApprovalError(NotDeliveredError):
    """A human is asked before money is spent; the item goes on once they said yes."""

    code = "awaiting_approval"
    status = "deferred"


class DeferredError(NotDeliveredError):
    """Nothing is wrong with the item: it is bought when there is money for it."""

    code = "over_budget"
    status = "deferred"


class ServiceAwayError(NotDeliveredError):
    """The service did not answer for longer than the run waits; nothing was charged."""

    code = "service_unavailable"
    status = "deferred"


class MachineFailingError(NotDeliveredError):
    """Stages fail on this machine, so nothing is bought that it could not use; nothing was charged."""

    code = "machine_failing"
    status = "deferred"


class HeldError(NotDeliveredError):
    """The service may have charged and nobody can say yet: nothing is sent before that is known."""

    code = "outcome_unknown"
    status = "held"
