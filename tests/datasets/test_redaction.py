"""A known value is gone from texts, records, errors and documents, in whatever form it got there."""

import base64
import html
import io
import json
import logging
import os
import pickle
import subprocess
import sys
import threading
import time
import traceback
import uuid
from collections.abc import Iterator
from logging.handlers import QueueHandler
from pathlib import Path
from queue import Queue
from urllib.parse import quote, quote_plus, urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets import redaction
from datasets.errors import NotFoundError
from datasets.redaction import RedactingFilter, redact, redact_all, remember, scrub, scrubbing
from datasets.redaction_forms import Known

ROOT = Path(__file__).parents[2]
HARD = "K4n\"a\\r'y/+&<é> %=?😀\t"
VALUES = st.text(st.characters(codec="utf-8"), min_size=8, max_size=40).filter(
    lambda value: len(value.strip()) >= 8 and len(value.splitlines()) == 1
)


@pytest.fixture
def value() -> str:
    made = f"{uuid.uuid4().hex}{HARD}{uuid.uuid4().hex}"
    remember(made)
    return made


def spellings(value: str) -> dict[str, str]:
    data = value.encode()
    return {
        "plain": value,
        "base64": base64.b64encode(data).decode(),
        "base64 for URLs": base64.urlsafe_b64encode(data).decode().rstrip("="),
        "hexadecimal": data.hex(),
        "HEXADECIMAL": data.hex().upper(),
        "URL": quote(value),
        "URL, all": quote(value, safe=""),
        "URL, lower case": "".join(
            f"%{byte:02x}" if byte > 127 else chr(byte) for byte in quote(value, safe="").encode()
        ),
        "form": quote_plus(value),
        "URL in a URL": quote(quote(value, safe=""), safe=""),
        "JSON": json.dumps(value)[1:-1],
        "JSON in UTF-8": json.dumps(value, ensure_ascii=False)[1:-1],
        "JSON in JSON": json.dumps(json.dumps(value))[3:-3],
        "repr": repr(value)[1:-1],
        "repr of bytes": repr(data)[2:-1],
        "HTML": html.escape(value),
        "HTML without quotes": html.escape(value, quote=False),
    }


@pytest.mark.parametrize("form", sorted(spellings("x")))
def test_every_form_is_found(value: str, form: str) -> None:
    written = spellings(value)[form]
    assert redact(f"before:{written}:after").startswith("before:[redacted]")
    assert value[:32] not in redact(written)
    assert redact(written + written).count("[redacted]") == 2 or form.startswith("base64")


@given(VALUES)
@settings(max_examples=100)
def test_any_value_is_found_in_any_form(value: str) -> None:
    known = Known()
    known.add(value)
    for form, written in spellings(value.strip()).items():
        assert "[redacted]" in known.sub(f"<{written}>"), form


@given(VALUES, st.binary(max_size=5), st.binary(max_size=5))
def test_it_is_found_inside_a_longer_base64(value: str, before: bytes, after: bytes) -> None:
    known = Known()
    known.add(value)
    written = base64.b64encode(before + value.strip().encode() + after).decode()
    cleaned = known.sub(written)
    assert "[redacted]" in cleaned
    left = cleaned.replace("[redacted]", "")
    assert len(left) <= 4 * (len(before) + len(after)) / 3 + 8


def test_a_basic_authorisation_is_found_by_its_password(value: str) -> None:
    header = base64.b64encode(f"anna:{value}".encode()).decode()
    assert "[redacted]" in redact(f"Authorization: Basic {header}")


def test_other_texts_are_left_alone(value: str) -> None:
    text = "nothing to see here: 100 % of a/b&c <d>"
    assert redact(text) is text
    short = uuid.uuid4().hex[:7]
    remember(short)
    assert redact(short) == short


def test_lines_of_a_key_are_found_each() -> None:
    lines = [base64.b64encode(uuid.uuid4().bytes * 3).decode() for _ in range(4)]
    remember("\n".join(["-----BEGIN-----", *lines, "-----END-----", ""]))
    text = "\n    ".join(lines[1:3])
    assert not any(line in redact(text) for line in lines)
    assert not any(line in redact(quote("\n".join(lines))) for line in lines)


def test_hostile_texts_take_no_time(value: str) -> None:
    remember('\\"' * 20 + uuid.uuid4().hex)
    begun = time.monotonic()
    redact(("\\" * 5000 + '"' * 50) * 4 + "%25" * 20_000)
    assert time.monotonic() - begun < 5


def test_documents_keep_their_shape(value: str) -> None:
    document = {"a": [1, 2.5, None, True, value], value: {"b": f"x {value} y"}, "t": ("u", value)}
    assert redact_all(document) == {
        "a": [1, 2.5, None, True, "[redacted]"],
        "[redacted]": {"b": "x [redacted] y"},
        "t": ("u", "[redacted]"),
    }


# -- errors


def test_an_error_keeps_its_kind_and_loses_the_value(value: str) -> None:
    error = NotFoundError(f"no {value}", given=value, more=[{"x": value}])
    error.add_note(f"with {value}")
    assert scrub(error) is error
    assert (error.message, error.facts) == ("no [redacted]", {"given": "[redacted]", "more": [{"x": "[redacted]"}]})
    assert value[:32] not in f"{error!r} {error.__notes__} {pickle.loads(pickle.dumps(error))}"


def _chain(value: str) -> BaseException:
    try:
        try:
            os.environ[value]
        except KeyError as error:
            raise FileNotFoundError(2, "missing", f"/tmp/{value}") from error
    except OSError as error:
        failed = error
    return failed


def test_what_an_error_came_from_is_cleaned_too(value: str) -> None:
    with pytest.raises(FileNotFoundError) as caught, scrubbing():
        raise _chain(value)
    assert caught.value.filename == "/tmp/[redacted]"
    assert str(caught.value.__cause__) == "'[redacted]'"


def test_an_error_that_can_not_be_changed_is_replaced(value: str) -> None:
    class Stubborn(Exception):
        def __str__(self) -> str:
            return f"always {value}"

    with pytest.raises(RuntimeError) as caught, scrubbing():
        raise Stubborn
    assert str(caught.value) == "Stubborn: always [redacted]"
    assert (caught.value.__cause__, caught.value.__suppress_context__) == (None, True)


def test_groups_are_cleaned(value: str) -> None:
    group = ExceptionGroup(f"all {value}", [ValueError(f"one {value}"), KeyError(value)])
    cleaned = scrub(group)
    assert value[:32] not in "".join(traceback.format_exception(cleaned))


# -- logs


@pytest.fixture
def log() -> Iterator[tuple[logging.Logger, io.StringIO]]:
    factory = logging.getLogRecordFactory()
    hooks = sys.excepthook, threading.excepthook, sys.unraisablehook
    redaction.install()
    redaction.install()
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger = logging.getLogger(f"test.{uuid.uuid4().hex}")
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    yield logger, stream
    logging.setLogRecordFactory(factory)
    sys.excepthook, threading.excepthook, sys.unraisablehook = hooks


Log = tuple[logging.Logger, io.StringIO]


def test_log_lines_are_clean(log: Log, value: str) -> None:
    logger, stream = log
    logger.info("plain %s", value)
    logger.info(f"url {urlencode({'k': value})}")
    logger.info("%(one)s", {"one": [value]})
    logger.info(ValueError(value))
    logger.info("%d of %s", 3, "harmless")
    assert stream.getvalue().splitlines() == [
        "plain [redacted]",
        "url k=[redacted]",
        "['[redacted]']",
        "[redacted]",
        "3 of harmless",
    ]


def test_tracebacks_in_logs_are_clean_and_stay(log: Log, value: str) -> None:
    logger, stream = log
    try:
        raise _chain(value)
    except OSError:
        logger.exception("failed", stack_info=True)
    text = stream.getvalue()
    assert value[:32] not in text
    assert "KeyError: '[redacted]'" in text
    assert "The above exception was the direct cause" in text
    assert "/tmp/[redacted]" in text


def test_records_on_their_way_through_a_queue_are_clean(log: Log, value: str) -> None:
    logger, _ = log
    queue: Queue[logging.LogRecord] = Queue()
    logger.addHandler(QueueHandler(queue))
    logger.error("sent %s", value)
    assert value[:32] not in str(vars(queue.get()))


def test_the_filter_cleans_what_others_made(value: str) -> None:
    record = logging.makeLogRecord({"msg": "extra %s", "args": (value,), "who": value, "more": {"a": [value]}})
    record.exc_info = (ValueError, ValueError(value), None)
    assert RedactingFilter().filter(record)
    assert value[:32] not in f"{record.getMessage()} {vars(record)}"
    assert record.exc_text == "ValueError: [redacted]"


PROGRAM = """
import logging, sys, threading
from datasets import redaction
redaction.install()
value = "".join(["hunter2-", "hunter2"])
redaction.remember(value)
logging.warning("%d", value)
def fail(): raise ValueError(f"in a thread {value}")
thread = threading.Thread(target=fail); thread.start(); thread.join()
class Loud:
    def __del__(self): raise ValueError(f"while dying {value}")
Loud()
raise ValueError(f"at the end {value}")
"""


def test_uncaught_errors_are_printed_without_the_value() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 1
    for where in ("in a thread", "while dying", "at the end"):
        assert f"ValueError: {where} [redacted]" in done.stderr
    assert "--- Logging error ---" in done.stderr  # a bad format stays logging's own affair
    assert "hunter2-hunter2" not in done.stderr + done.stdout
