"""Where events go: a file in the tenant's storage, one object each in an object store, or an HTTP service."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from datasets.errors import RetryableError
from datasets.known_secrets import shown_address
from datasets.redaction import redact
from datasets.storage import Storage

EVENTS = "events/openlineage.ndjson"
EVENT_FOLDER = "events/openlineage"
REFUSED = range(400, 500)
REFUSED_FOR_NOW = (401, 403, 404, 408, 425, 429)  # of the service or its address, not of this event

Send = Callable[[str, str], None]  # an event's id and its line of JSON


class SinkAwayError(RetryableError):
    """No event gets through now."""

    code = "lineage_sink_away"


class EventRefusedError(RetryableError):
    """The service does not take this one event; it stays in the outbox, others go on."""

    code = "lineage_event_refused"


@dataclass(frozen=True)
class FileSink:
    """Events as lines of a file, or as objects where nothing can be appended."""

    storage: Storage

    @contextmanager
    def opened(self, timeout_s: float) -> Iterator[Send]:
        local = self.storage.local_path(EVENTS)
        yield self._store if local is None else lambda _, line: _append(local, line)

    def _store(self, event_id: str, line: str) -> None:
        self.storage.write_bytes(f"{EVENT_FOLDER}/{event_id}.json", f"{line}\n".encode())


@dataclass(frozen=True)
class HttpSink:
    """Events posted one by one, as Marquez and other OpenLineage services take them."""

    url: str = field(repr=False)  # may hold a login

    @contextmanager
    def opened(self, timeout_s: float) -> Iterator[Send]:
        import httpx

        with httpx.Client(timeout=timeout_s, follow_redirects=False) as client:

            def send(event_id: str, line: str) -> None:
                headers = {"Content-Type": "application/json", "Idempotency-Key": event_id}
                try:
                    status = client.post(self.url, content=line, headers=headers).status_code
                except (httpx.HTTPError, httpx.InvalidURL) as error:
                    told = f"{shown_address(self.url)} cannot be reached: {redact(str(error))}; it is tried again later"
                    raise SinkAwayError(told) from error
                _check(status, shown_address(self.url))

            yield send


def _check(status: int, url: str) -> None:
    if 200 <= status < 300:
        return
    message = f"{url} answered {status}; the event is kept, `stillmotion upkeep` tries again"
    if status in REFUSED and status not in REFUSED_FOR_NOW:
        raise EventRefusedError(message, status=status)
    raise SinkAwayError(message, status=status)


def _append(path: Path, line: str) -> None:
    """Add a line with one write; what a killed writer left of a line is closed first."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab+") as stream:
            torn = stream.seek(0, os.SEEK_END) > 0 and (stream.seek(-1, os.SEEK_END), stream.read(1))[1] != b"\n"
            stream.write((b"\n" if torn else b"") + line.encode() + b"\n")
    except OSError as error:
        raise SinkAwayError(f"{path} cannot be written: {error.strerror}; check space and rights") from error
