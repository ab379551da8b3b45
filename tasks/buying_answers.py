"""The answer to what was paid for: kept before anything is said of it, checked, and asked for again if it is lost."""

import time
from collections.abc import Callable
from typing import TypeVar

from datasets.assets import asset_path, get_asset, put_asset
from datasets.errors import NotFoundError, StorageUnavailableError
from datasets.ledger import Ledger, Purchase, PurchaseStateError, Response
from datasets.storage import Storage
from model_blocks.adapters import looking_up, outcomes
from model_blocks.adapters.adapter import PaidAdapter
from model_blocks.adapters.images import check_image
from model_blocks.adapters.outcomes import Settled
from model_blocks.adapters.waiting import Clock
from tasks.buying_ends import answer_lost, unusable

INSIST_S = 20.0  # real time: how long what was paid for is tried to be kept while storage or ledger are away
PAUSE_S = 0.5
Result = TypeVar("Result")


def insist(action: Callable[[], Result]) -> Result:
    """Do what must not fail now that money was spent, again and again for a while.

    Raises:
        StorageUnavailableError: Storage or ledger were away all the time.
    """
    end = time.monotonic() + INSIST_S
    while True:
        try:
            return action()
        except StorageUnavailableError:
            if time.monotonic() > end:
                raise
            time.sleep(PAUSE_S)


def kept(storage: Storage, paid: Settled) -> Response:
    """The answer's bytes in the storage, and where they are.

    Raises:
        StorageUnavailableError: It did not take them, for a while.
    """
    digest = insist(lambda: put_asset(storage, paid.content))
    return Response(digest, paid.media_type, asset_path(digest))


def with_picture(purchase: Purchase, adapter: PaidAdapter, ledger: Ledger, storage: Storage, clock: Clock) -> Purchase:
    """A settled purchase whose answer is a picture that is there. A lost one is asked for again, which costs nothing.

    Raises:
        PaidUnusableError: It is no picture.
        PaidAnswerLostError: It is not there, and the service does not give it again.
    """
    content = _content(storage, purchase.response)
    if content is None:
        purchase, content = _asked_for_again(purchase, adapter, ledger, storage, clock)
    _, fault, detail = check_image(content, max_megapixels=adapter.declaration.max_megapixels)
    if fault is not None:
        raise unusable(adapter.declaration.name, purchase, detail)
    return purchase


def _content(storage: Storage, response: Response | None) -> bytes | None:
    try:
        return get_asset(storage, response.digest) if response else None
    except NotFoundError:
        return None


def _asked_for_again(
    purchase: Purchase, adapter: PaidAdapter, ledger: Ledger, storage: Storage, clock: Clock
) -> tuple[Purchase, bytes]:
    name = adapter.declaration.name
    if not adapter.declaration.can_look_up:
        raise answer_lost(name, purchase)
    sent = purchase.sent_at or purchase.intent_at
    found = looking_up.look_up(adapter, purchase.idempotency_key, sent_at=sent, clock=clock)
    if not isinstance(found, outcomes.Charged) or found.settled.fault is not None:
        raise answer_lost(name, purchase)
    response = kept(storage, found.settled)
    try:
        with ledger.spending(storage.tenant, clock=clock.now) as session:
            return session.attach_response(purchase.purchase_key, response), found.settled.content
    except PurchaseStateError as error:  # another picture than the one that was paid for
        raise answer_lost(name, purchase) from error
