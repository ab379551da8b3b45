"""From a host to the addresses that may be connected to: resolved once, judged, and then used as they are."""

import socket
import threading
from collections.abc import Sequence
from queue import Empty, SimpleQueue

from datasets.fetch.addresses import OWN, PUBLIC, address_in, kind_of
from datasets.fetch.deadline import Deadline
from datasets.fetch.facts import Resolve
from datasets.fetch.urls import Place, refused, remedy

MOST = 4  # addresses tried for one name


def system_resolve(host: str, port: int) -> list[str]:
    """What the system's resolver says.

    Raises:
        OSError: The name is not known, or nobody answers.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError as error:
        raise OSError("not a host name") from error
    return [str(address[0]) for _, _, _, _, address in found]


def judged_addresses(place: Place, resolve: Resolve, deadline: Deadline) -> list[str]:
    """The addresses of a place that may be connected to, at least one.

    Where a name has good and bad addresses, the bad ones are left out: only what is returned is ever connected to.
    A named own server may also be on private addresses, but not where metadata services and the like are.

    Raises:
        FetchRefusedError: None may.
        TimeoutError: The resolver took too long.
        OSError: The name could not be resolved.
    """
    literal = address_in(place.host) is not None
    if literal and place.own:
        return [place.host]
    found = [place.host] if literal else list(dict.fromkeys(_resolved(place, resolve, deadline)))
    welcome = OWN if place.own else {PUBLIC}
    kinds = {address: _kind(address) for address in found}
    good = [address for address in found if kinds[address] in welcome]
    if not good:
        raise _not_there(place, sorted(set(kinds.values())))
    return good[:MOST]


def _kind(address: str) -> str:
    try:
        return kind_of(address)
    except ValueError:
        return "no address"


def _not_there(place: Place, kinds: list[str]) -> Exception:
    if not kinds:
        return OSError(f"the name {place.host} has no address")
    return refused(
        f"{place.scheme}://{place.authority}/",
        "address",
        f"expected a host on the public internet, got an address that is {', '.join(kinds)}; "
        f"{remedy(place.host, place.port)}",
        kinds=kinds,
    )


def _resolved(place: Place, resolve: Resolve, deadline: Deadline) -> Sequence[str]:
    """The resolver knows no time limit: it is left behind when it takes too long."""
    answer: SimpleQueue[Sequence[str] | OSError] = SimpleQueue()
    threading.Thread(target=_ask, args=(place, resolve, answer), daemon=True).start()
    try:
        found = answer.get(timeout=deadline.left())
    except Empty:
        raise TimeoutError(f"the name {place.host} was not resolved in time") from None
    if isinstance(found, OSError):
        raise found
    return found


def _ask(place: Place, resolve: Resolve, answer: "SimpleQueue[Sequence[str] | OSError]") -> None:
    try:
        answer.put(resolve(place.host, place.port))
    except OSError as error:
        answer.put(error)
