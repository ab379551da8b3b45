"""Answers of paid services for making a file again: they come from its record, and nobody is asked for another."""

from collections.abc import Mapping
from typing import Any, NoReturn

from datasets.assets import asset_path, get_asset, put_asset
from datasets.errors import NotFoundError
from datasets.ledger import Ledger, Response, Wanted, Yours
from datasets.storage import Storage
from model_blocks.adapters.declaration import ServiceDeclaration

NOWHERE = "http://localhost"  # a declaration names an address; this one is never spoken to
PRICES = "recorded"


class RecordedService:
    """Stands where the service stood: the same name and version, and whatever would be sent is an error instead."""

    credential = None
    look_up_form = None

    def __init__(self, name: str, version: str) -> None:
        self.declaration = ServiceDeclaration(
            name=name, version=version, endpoint=NOWHERE, price_micro_usd=0, price_list=PRICES
        )

    def build(self, request: object, idempotency_key: str) -> NoReturn:
        """Raise, before anything could leave the process.

        Raises:
            NotFoundError: Always: what is asked for is not what was bought.
        """
        raise NotFoundError(
            f"the picture that would go to {self.declaration.name} is not the one whose answer the record holds, and "
            "nothing is bought to make a file again; use the tenant and the versions that the record names",
            service=self.declaration.name,
        )

    def read(self, reply: object) -> NoReturn:
        raise AssertionError(reply)  # nothing was sent

    def pause_s(self, reply: object) -> None:
        raise AssertionError(reply)


def bring_answer(answer: Mapping[str, Any], source: Storage, target: Storage, ledger: Ledger) -> None:
    """Put a recorded answer where a run finds it as bought already.

    Args:
        answer: A material of the record, as ``bought_in`` gives it.
        source: The tenant's storage; the answer is there by its digest.
        target: Storage of the run that makes the file again, with its ``ledger``.

    Raises:
        NotFoundError: The answer is not in the storage any more.
        OutputDamagedError: It is not what the service sent.
    """
    facts, digest = answer["annotations"], str(answer["digest"]["sha256"])
    wanted = Wanted(
        purchase_key=str(facts["purchase"]),
        run_id=PRICES,
        item=PRICES,
        stage="place",
        adapter=str(facts["service"]),
        adapter_version=str(facts["version"]),
        price_micro_usd=0,
        price_list=PRICES,
    )
    response = Response(put_asset(target, _kept(source, digest, wanted.adapter)), "", asset_path(digest))
    with ledger.spending(target.tenant) as session:
        claim = session.claim(wanted)
    if isinstance(claim, Yours):  # another stage may have had the same answer
        with ledger.spending(target.tenant) as session:
            session.settle(session.sent(claim.purchase), charged_micro_usd=0, reference=None, response=response)


def _kept(storage: Storage, digest: str, service: str) -> bytes:
    try:
        return get_asset(storage, digest)
    except NotFoundError as error:
        raise NotFoundError(
            f"the answer of {service}, sha256 {digest}, is not in the storage any more; bring it back from a copy: it "
            "is not bought again to make a file again",
            digest=digest,
        ) from error
