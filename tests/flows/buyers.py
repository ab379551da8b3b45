"""A process that buys from the installation's paid service until it is told to stop.

``python -m tests.flows.buyers FOLDER NAME...``: a thread for each name buys one thing after another until the file
``enough`` is in the folder. Standard output: a JSON list of the states of all purchases.
"""

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from datasets.identity import fingerprint
from datasets.ledger import Wanted, open_ledger
from datasets.settings import read_settings
from datasets.storage import open_storage
from flows.services import open_service
from model_blocks.adapters.outcomes import PaidRequest
from tasks.buying import Buyer
from tests.model_blocks.paid_calls import picture


def buy_all(name: str, folder: str) -> list[str]:
    """The states of what one buyer bought."""
    settings = read_settings()
    ledger = open_ledger(settings.ledger)
    storage = open_storage(settings.storage_root, settings.tenant)
    service = open_service(settings, ledger, name)
    states = list[str]()
    while not Path(folder, "enough").exists():
        number = len(states)
        declaration = service.adapter.declaration
        wanted = Wanted(
            purchase_key=fingerprint({"buyer": name, "number": number}),
            run_id=name,
            item=f"item-{number}",
            stage="place",
            adapter=declaration.name,
            adapter_version=declaration.version,
            price_micro_usd=declaration.price_of(1),
            price_list=declaration.price_list,
            policy="hold",
            can_resolve=True,
        )
        request = PaidRequest(f"{name} {number}", image=picture())
        purchase = Buyer(ledger, storage, service, wanted, request, None, lambda: None).buy()
        states.append(purchase.state)
    return states


def main() -> None:
    folder, *names = sys.argv[1:]
    with ThreadPoolExecutor(len(names)) as threads:
        states = [state for of_one in threads.map(buy_all, names, [folder] * len(names)) for state in of_one]
    sys.stdout.write(json.dumps(states))


if __name__ == "__main__":
    main()
