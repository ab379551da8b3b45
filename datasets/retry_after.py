"""Reading what a server asks for: how long to stay away."""

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

LONGEST_RETRY_AFTER_S = 7 * 86_400.0  # a service that asks for more than a week made a mistake


def retry_after_s(headers: Mapping[str, str], now: datetime) -> float | None:
    """What a ``Retry-After`` header asks for, in seconds from now; None if there is none that can be read.

    Args:
        headers: With lower-case names.
        now: Time of day, with its zone.

    Source: RFC 9110, section 10.2.3: whole seconds or a date.
    """
    value = headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit():
        return min(float(value[:12]), LONGEST_RETRY_AFTER_S)
    try:
        date = parsedate_to_datetime(value)
    except (ValueError, IndexError, OverflowError):
        return None
    if date.tzinfo is None:  # "-0000": UTC by RFC 5322
        date = date.replace(tzinfo=UTC)
    return min(max(0.0, (date - now).total_seconds()), LONGEST_RETRY_AFTER_S)
