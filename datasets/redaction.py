"""Takes credentials that this process knows out of log records, error texts, tracebacks and documents."""

import logging
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, TypeVar

from datasets.redaction_forms import Known

Document = TypeVar("Document")
_known = Known()


def remember(value: str) -> None:
    """Take this value out from now on. One shorter than 8 characters is left: it would tear holes into any text."""
    _known.add(value)


def redact(text: str) -> str:
    """The text without any known value, be it plain, or base64, hexadecimal, URL-, JSON- or HTML-escaped."""
    return _known.sub(text)


def redact_all(document: Document) -> Document:
    """A JSON-ready document whose texts, keys as well, are without known values. Other leaves stay as they are."""
    return _redacted(document) if _known else document


def _redacted(node: Any) -> Any:
    if isinstance(node, str):
        return redact(node)
    if isinstance(node, dict):
        return {_redacted(key): _redacted(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_redacted(item) for item in node]
    if type(node) is tuple:
        return tuple(_redacted(item) for item in node)
    return node


# -- errors -----------------------------------------------------------------------------------------------------------


@contextmanager
def scrubbing() -> Iterator[None]:
    """Errors that pass here leave without known values: for the borders where others write them down."""
    try:
        yield
    except BaseException as error:
        clean = scrub(error)
        if clean is error:
            raise
        raise clean from None


def scrub(error: BaseException) -> BaseException:
    """The same error, the values taken out of its message, facts, notes and all that it came from.

    One whose text is made of what cannot be changed becomes a ``RuntimeError`` that has its text.
    """
    return _scrubbed(error, set()) if _known else error


def _scrubbed(error: BaseException, seen: set[int]) -> BaseException:
    if id(error) in seen:
        return error
    seen.add(id(error))
    _scrub_origins(error, seen)
    error.args = _redacted(error.args)
    for name, value in list(vars(error).items()):
        vars(error)[name] = _redacted(value)
    if isinstance(error, OSError):
        error.filename, error.filename2 = _redacted(error.filename), _redacted(error.filename2)
    text = f"{error}\n{error!r}"
    if redact(text) == text:
        return error
    return RuntimeError(f"{type(error).__name__}: {redact(str(error))}").with_traceback(error.__traceback__)


def _scrub_origins(error: BaseException, seen: set[int]) -> None:
    suppressed = error.__suppress_context__  # setting a cause would turn it on
    if error.__cause__ is not None:
        error.__cause__ = _scrubbed(error.__cause__, seen)
    if error.__context__ is not None:
        error.__context__ = _scrubbed(error.__context__, seen)
    error.__suppress_context__ = suppressed
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            _scrubbed(each, seen)


# -- logs and what the interpreter prints -----------------------------------------------------------------------------


class RedactedRecord(logging.LogRecord):
    """A log record that gives its message without known values, whoever asks for it and whenever."""

    def getMessage(self) -> str:  # noqa: N802 - the standard library's name
        return redact(super().getMessage())


class RedactingFilter(logging.Filter):
    """For a handler: takes known values out of records that ``install`` did not make, and out of their extra fields."""

    def filter(self, record: logging.LogRecord) -> bool:
        clean_record(record)
        return True


def clean_record(record: logging.LogRecord) -> None:
    """Take known values out of a record: its message, extra fields, traceback and stack."""
    if not _known:
        return
    if type(record) is logging.LogRecord:
        record.__class__ = RedactedRecord  # its message is not made here: that may fail, and logging knows how
    _clean_traceback(record)
    for name, value in list(vars(record).items()):
        vars(record)[name] = _redacted(value)


def _clean_traceback(record: logging.LogRecord) -> None:
    if not record.exc_info or record.exc_info[1] is None:
        return
    text = "".join(traceback.format_exception(*record.exc_info)).rstrip("\n")
    if (clean := redact(text)) != text:
        record.exc_info, record.exc_text = None, clean


def install() -> None:
    """Have all log records, uncaught errors and warnings of this process redacted. Called again, it does nothing."""
    if logging.getLogRecordFactory() is _make_record:
        return
    logging.setLogRecordFactory(_make_record)
    previous, in_thread, unraisable = sys.excepthook, threading.excepthook, sys.unraisablehook

    def uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if not _printed(error, trace):
            previous(kind, error, trace)

    def uncaught_in_thread(arguments: threading.ExceptHookArgs) -> None:
        if not _printed(arguments.exc_value, arguments.exc_traceback):
            in_thread(arguments)

    def ignored(arguments: Any) -> None:
        if not _printed(arguments.exc_value, arguments.exc_traceback):
            unraisable(arguments)

    sys.excepthook, threading.excepthook, sys.unraisablehook = uncaught, uncaught_in_thread, ignored


def _make_record(*given: Any, **facts: Any) -> logging.LogRecord:
    record = RedactedRecord(*given, **facts)
    clean_record(record)
    return record


def _printed(error: BaseException | None, trace: TracebackType | None) -> bool:
    """Whether the error held a known value and was printed here, without it."""
    if error is None or not _known:
        return False
    text = "".join(traceback.format_exception(type(error), error, trace))
    if (clean := redact(text)) == text:
        return False
    sys.stderr.write(clean)
    return True
