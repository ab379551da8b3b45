"""What runs know of approvals: who says whether something may be bought."""

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from datasets.ledger import Approval, Wanted


class Approver(Protocol):
    """Says of every purchase of a run whether a human allowed it, and asks for those that nobody decided about."""

    def take_decisions(self) -> None:
        """Read what was decided while the run was paused. What was asked and not answered is asked anew."""

    def approved_micro_usd(self) -> int:
        """What humans allowed the run to spend in all."""

    def refuse_unapproved(self, wanted: "Wanted") -> None:
        """Return if it may be bought, or was.

        Raises:
            RejectedError: A human said no.
            AwaitingApprovalError: Nobody said anything yet; it is noted, to be asked for.
        """

    def ask(self) -> "Approval | None":
        """Ask for everything that the run could not buy; None if nothing waits."""
