"""Fetching pictures by URL: the one place that connects to addresses which a customer's table names."""

from types import TracebackType
from typing import Self

from datasets.errors import SettingsError
from datasets.fetch.facts import Allowed, Fetched, FetchLimits, Known, Resolve
from datasets.settings import Settings


class Fetcher:
    """Fetches pictures by URL under one set of rules. Thread-safe; connections are kept and used again.

    Args:
        limits: What one fetch may take.
        allow: Own image servers, by host and port: these are reached also over http and on private addresses.
        resolve: Host name and port to addresses; the system's resolver by default.
    """

    def __init__(self, limits: FetchLimits, allow: Allowed = frozenset(), resolve: Resolve | None = None) -> None:
        self._limits, self._allow, self._resolve = limits, allow, resolve

    def fetch(self, url: str, known: Known | None = None) -> Fetched:
        """Fetch one picture, or learn that it is still the known one.

        Args:
            url: Where it is, with its scheme.
            known: Validators of the last time; without them the picture always comes whole.

        Raises:
            FetchRefusedError: The URL, an address behind it, or one it redirects to is not one we go to.
            FetchNotFoundError: The server has none.
            FetchDeniedError: The server does not give it to us.
            FetchTooLargeError: It is larger than the limit.
            FetchNotAnImageError: The reply says that it is no picture.
            FetchFailedError: No whole reply came; later it may.
            FetchTooSlowError: The time limit passed.
        """
        raise NotImplementedError

    def close(self) -> None:
        """Close the kept connections. Fetches on their way end by themselves."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_fetcher(settings: Settings) -> Fetcher:
    """A fetcher under the limits of this installation.

    Raises:
        SettingsError: STILLMOTION_FETCH_ALLOW does not hold.
    """
    raise SettingsError("not yet")
