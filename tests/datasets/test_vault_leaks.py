"""Canaries: credentials that went every way this part has are found in no file, in no form."""

import base64
import json
import os
import subprocess
import sys
import uuid
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest

from tests.conftest import HOME
from tests.datasets.vaults import new_tenant

ROOT = Path(__file__).parents[2]
PROGRAM = r"""
import json, logging, os, pickle, sys, threading, traceback, warnings
from datetime import UTC, datetime
from pathlib import Path

folder, marker = Path(sys.argv[1]), sys.argv[2]
canary = sys.stdin.read()
from datasets import redaction
redaction.install()
logging.basicConfig(filename=folder / "all.log", level=logging.DEBUG, force=True)

from prefect import flow, get_run_logger, task
from datasets.errors import NotFoundError
from datasets.ledger import ErrorRecord, open_ledger
from datasets.redaction import redact_all, scrubbing
from datasets.settings import read_settings
from datasets.vault import open_vault
from tests.datasets.ledger_rows import a_run

settings = read_settings()
vault = open_vault(settings, reader="run-" + marker)
vault.put("api", canary)
vault.rotate("api", canary + "-2")
vault.retire("api", 1)
vault.rotate("api", canary)
secret = vault.get("api", purpose="leak tests " + marker)

(folder / "settings.json").write_text(settings.model_dump_json())
(folder / "settings.pickle").write_bytes(pickle.dumps(settings))
(folder / "shown.txt").write_text(f"{secret} {secret!r} {[secret]} {json.dumps({'s': secret}, default=str)} {vault!r}")
try:
    (folder / "secret.pickle").write_bytes(pickle.dumps({"secret": secret}))
except TypeError as error:
    (folder / "pickle.txt").write_text(repr(error))

log = logging.getLogger("stillmotion.test")
log.warning("%s plain %s", marker, secret.reveal())
log.warning("as json %s", json.dumps({"k": secret.reveal()}))
try:
    raise NotFoundError(f"{marker} not with {secret.reveal()}", given=secret.reveal())
except NotFoundError as error:
    log.exception("failed with %r", error)
    facts = redact_all({"message": error.message, "facts": error.facts})
    (folder / "report.json").write_text(json.dumps(facts))
    ledger = open_ledger(settings.ledger)
    with ledger.session(settings.tenant) as session:
        session.start_run(a_run("run-" + marker))
        now = datetime.now(UTC)
        session.record_error(
            ErrorRecord("e1", "run-" + marker, None, None, error.code, error.message, error.facts, now)
        )
        session.finish_run("run-" + marker, "failed", {"message": error.message})

@task(retries=0)
def stage():
    get_run_logger().error("%s prefect log %s", marker, secret.reveal())
    with scrubbing():
        raise ValueError(f"{marker} in a task: {secret.reveal()}")

@flow
def fails():
    stage()

try:
    fails()
except ValueError:
    traceback.print_exc()

def in_thread():
    raise ValueError(f"{marker} in a thread {secret.reveal()}")
thread = threading.Thread(target=in_thread)
thread.start(); thread.join()
try:
    {}[secret.reveal()]
except KeyError as error:
    raise RuntimeError(f"{marker} at the end {secret.reveal()}") from error
"""


def spellings(value: str) -> dict[str, bytes]:
    data = value.encode()
    return {
        "plain": data,
        "JSON": json.dumps(value)[1:-1].encode(),
        "base64": base64.b64encode(data),
        "base64 for URLs": base64.urlsafe_b64encode(data),
        "base64 of two": base64.b64encode(b"anna:" + data)[8:-8],
        "URL": quote(value, safe="").encode(),
        "form": quote_plus(value).encode(),
        "hexadecimal": data.hex().encode(),
    }


def files_with(words: dict[str, bytes], *folders: Path) -> list[str]:
    return [
        f"{path}: {form}"
        for folder in folders
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        for form, word in words.items()
        if word in path.read_bytes()
    ]


@pytest.mark.usefixtures("prefect_api")
def test_canaries_are_found_nowhere(tmp_path: Path) -> None:
    canary = f'cnry{uuid.uuid4().hex[:12]}/+&"<é>%{uuid.uuid4().hex[:12]}'
    marker = f"mark{uuid.uuid4().hex[:12]}"
    master = base64.b64encode(os.urandom(32)).decode()
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path), marker],
        input=canary, capture_output=True, text=True, check=False, cwd=tmp_path,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "STILLMOTION_TENANT": new_tenant(),
            "STILLMOTION_MASTER_KEY": master,
            "PREFECT_LOGGING_LEVEL": "DEBUG",
            "PREFECT_LOGGING_TO_API_BATCH_INTERVAL": "0.1",
        },
    )  # fmt: skip
    (tmp_path / "stdout.txt").write_text(done.stdout)
    (tmp_path / "stderr.txt").write_text(done.stderr)
    assert done.returncode == 1, done.stderr
    assert "at the end [redacted]" in done.stderr, done.stderr

    found = files_with(spellings(canary) | {"master": master.encode()}, tmp_path, HOME)
    assert found == []
    # The same search finds what was not secret wherever the canary went, so that it is known to look there.
    places = {
        Path(line.rpartition(": ")[0]).name.removesuffix("-wal")
        for line in files_with({"": marker.encode()}, tmp_path, HOME)
    }
    assert {"all.log", "report.json", "stderr.txt", "ledger.db", "prefect.db"} <= places
