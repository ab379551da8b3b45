"""The vault on a real Prefect server: versions, grace, ends, and the record of every read."""

import json
import pickle
from collections import Counter
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import cloudpickle
import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from datasets import vault_store as store
from datasets.errors import PipelineError, StorageUnavailableError, UsageError
from datasets.ledger import open_ledger
from datasets.ledger.secret_reads import SecretRead, reads, record_read
from datasets.ledger.transactions import transaction
from datasets.redaction import redact
from datasets.secret import Secret
from datasets.vault import Vault
from datasets.vault_errors import (
    SecretExpiredError,
    SecretMissingError,
    SecretRetiredError,
    SecretUnreadableError,
    VaultError,
)
from datasets.vault_seal import Address, Sealed
from tests.datasets.ledger_rows import new_ledger_url
from tests.datasets.vaults import OTHER_KEY, Clock, new_value, new_vault

pytestmark = pytest.mark.usefixtures("prefect_api")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def vault(tmp_path: Path, clock: Clock) -> Vault:
    return new_vault(tmp_path, clock=clock)


def outcomes(vault: Vault) -> Counter[tuple[str, int | None, str]]:
    """What is on record, and how often."""
    return Counter((read.name, read.version, read.outcome) for read in vault.reads())


def overwrite(vault: Vault, name: str, version: int, data: dict[str, Any]) -> None:
    """Change a document by hand, past the vault."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import BlockDocumentUpdate

    stored = next(each for each in store.versions(vault._tenant, name) if each.address.version == version)
    with get_client(sync_client=True) as client:
        client.update_block_document(stored.document_id, BlockDocumentUpdate(data=data, merge_existing_data=True))


def test_what_is_put_is_got_back(vault: Vault) -> None:
    value = new_value()
    assert vault.put("api", value) == 1
    secret = vault.get("api", purpose="call the service")
    assert (secret.reveal(), secret.name, secret.version) == (value, "api", 1)
    (read,) = vault.reads()
    assert read == SecretRead("api", 1, "run-1", "call the service", "read", datetime(2026, 5, 4, 12, tzinfo=UTC))


def test_a_value_is_shown_by_nothing_but_reveal() -> None:
    value = new_value()
    secret = Secret(value, name="api", version=2)
    shown = [repr(secret), str(secret), f"{secret}", f"{secret:>40}", format(secret)]
    shown += [json.dumps({"s": secret}, default=str), str([secret]), str(vars(type(secret)))]
    assert not any(value in text for text in shown)
    assert shown[0] == "<secret api v2>"
    for copy in (pickle.dumps, cloudpickle.dumps, deepcopy, json.dumps):
        with pytest.raises(TypeError) as refused:
            copy(secret)
        assert value not in str(refused.value)
    with pytest.raises(TypeError):
        vars(secret)
    assert redact(f"x{value}x") == "x[redacted]x"


def test_a_rotation_holds_at_once_and_the_old_version_for_its_grace(vault: Vault, clock: Clock) -> None:
    first, second = new_value(), new_value()
    vault.put("api", first)
    clock.forward(hours=1)
    assert vault.rotate("api", second, grace=timedelta(hours=2)) == 2
    assert vault.get("api").reveal() == second
    clock.forward(hours=1, minutes=59)
    assert vault.get("api", version=1).reveal() == first
    clock.forward(minutes=1)
    with pytest.raises(SecretRetiredError, match="take the current one"):
        vault.get("api", version=1)
    assert vault.get("api").reveal() == second
    assert [(each.version, each.state) for each in vault.versions()] == [(2, "current"), (1, "superseded")]


def test_retiring_erases_and_the_one_before_is_current_again(vault: Vault) -> None:
    first, second = new_value(), new_value()
    vault.put("api", first)
    vault.rotate("api", second)
    vault.retire("api", 2)
    vault.retire("api", 2)
    assert vault.get("api").reveal() == first
    with pytest.raises(SecretRetiredError):
        vault.get("api", version=2)
    assert store.versions(vault._tenant, "api")[0].sealed.ciphertext == ""
    assert vault.rotate("api", new_value()) == 3  # a number is never given twice
    vault.retire("api", 1)
    vault.retire("api", 3)
    with pytest.raises(SecretRetiredError):
        vault.get("api")
    with pytest.raises(SecretMissingError):
        vault.retire("api", 4)


def test_an_end_is_kept(vault: Vault, clock: Clock) -> None:
    vault.put("api", new_value(), expires_at=clock.now + timedelta(days=30))
    clock.forward(days=30, seconds=-1)
    vault.get("api")
    clock.forward(seconds=1)
    with pytest.raises(SecretExpiredError):
        vault.get("api")
    value = new_value()
    vault.rotate("api", value)
    assert vault.get("api").reveal() == value


def test_warnings_come_in_time(vault: Vault, clock: Clock) -> None:
    vault.put("ends", new_value(), expires_at=clock.now + timedelta(days=100), rotate_every=timedelta(days=365))
    vault.put("turns", new_value(), rotate_every=timedelta(days=50))  # a fifth: 10 days ahead
    vault.put("stays", new_value())
    looked_at = (0, 39, 40, 60, 85, 86, 100)
    due_on: dict[int, list[str]] = {}
    for before, day in zip((0, *looked_at), looked_at, strict=False):
        clock.forward(days=day - before)
        due_on[day] = [f"{warning.name} {warning.code}" for warning in vault.due()]
    assert due_on[0] == due_on[39] == []
    assert due_on[40] == due_on[60] == due_on[85] == ["turns secret_rotation_due"]
    assert due_on[86] == ["turns secret_rotation_due", "ends secret_expires_soon"]
    assert due_on[100] == ["turns secret_rotation_due", "ends secret_expired"]
    vault.rotate("turns", new_value())
    vault.rotate("ends", new_value())
    assert vault.due() == []
    clock.forward(days=45)
    assert [(warning.name, warning.version) for warning in vault.due()] == [("turns", 2)]  # the schedule went on


def test_tenants_do_not_see_each_other(vault: Vault, tmp_path: Path) -> None:
    vault.put("api", new_value())
    other = new_vault(tmp_path)
    with pytest.raises(SecretMissingError):
        other.get("api")
    assert other.versions() == []
    assert [len(each.reads()) for each in (vault, other)] == [0, 1]


@pytest.mark.parametrize(
    "parts",
    [
        ("nonce", "ciphertext"),
        ("label", "nonce", "ciphertext"),
        ("tenant", "secret_name", "label", "nonce", "ciphertext"),
    ],
)
@pytest.mark.parametrize("swap", ["tenant", "name", "version"])
def test_swapped_documents_are_refused(vault: Vault, tmp_path: Path, swap: str, parts: tuple[str, ...]) -> None:
    other = new_vault(tmp_path, clock=vault._clock) if swap == "tenant" else vault
    name = "other" if swap == "name" else "api"
    values = new_value(), new_value()
    vault.put("api", values[0])
    version = other.put(name, values[1])
    from prefect.client.orchestration import get_client

    taken = next(each for each in store.versions(other._tenant, name) if each.address.version == version)
    with get_client(sync_client=True) as client:
        data = client.read_block_document(taken.document_id).data
    overwrite(vault, "api", 1, {part: data[part] for part in parts})
    with pytest.raises(SecretUnreadableError) as refused:
        vault.get("api", version=1)
    assert not any(value in f"{refused.value}{refused.value.facts}" for value in values)
    assert vault.reads()[0].outcome == "secret_unreadable"


@pytest.mark.parametrize("label", [{}, {"created_at": "soon"}, {"created_at": None}, "none"])
def test_spoilt_dates_are_refused(vault: Vault, label: object) -> None:
    vault.put("api", new_value())
    overwrite(vault, "api", 1, {"label": label})
    with pytest.raises(SecretUnreadableError):
        vault.get("api")


def test_another_master_key_is_refused(vault: Vault, tmp_path: Path) -> None:
    vault.put("api", new_value())
    with pytest.raises(SecretUnreadableError, match="not sealed with the master key"):
        new_vault(tmp_path, tenant=vault._tenant, key=OTHER_KEY, clock=vault._clock).get("api")


def test_the_servers_documents_hold_no_value(vault: Vault) -> None:
    value = new_value()
    vault.put("api", value)
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        documents = [document.data for document in client.read_block_documents(limit=200)]
    own = [data for data in documents if data.get("tenant") == vault._tenant]
    assert [sorted(data) for data in own] == [["ciphertext", "label", "nonce", "secret_name", "tenant"]]
    assert value not in json.dumps(own)


@pytest.mark.parametrize("name", ["", "../etc", "Api", "a" * 64, "a b", "name\n", "$(x)"])
def test_what_is_no_name_is_refused_and_not_repeated(vault: Vault, name: str) -> None:
    for refused_by in (lambda: vault.put(name, new_value()), lambda: vault.get(name)):
        with pytest.raises(UsageError) as refused:
            refused_by()
        assert len(name) < 5 or name not in refused.value.message
    assert outcomes(vault) == {("(not a name)", None, "usage"): 1}


@pytest.mark.parametrize("value", ["", "short", "       1234567        ", "\ud800" * 9, "x" * 70_000])
def test_what_is_no_credential_is_refused_and_not_repeated(vault: Vault, value: str) -> None:
    with pytest.raises(UsageError) as refused:
        vault.put("api", value)
    assert len(value) < 2 or value not in refused.value.message
    assert vault.versions() == []


def test_ends_and_schedules_that_are_none_are_refused(vault: Vault, clock: Clock) -> None:
    for given in (
        {"expires_at": clock.now},
        {"expires_at": datetime(2030, 1, 1)},  # noqa: DTZ001
        {"rotate_every": timedelta(0)},
    ):
        with pytest.raises(UsageError):
            vault.put("api", new_value(), **given)
    with pytest.raises(SecretMissingError):
        vault.rotate("api", new_value())


def test_every_read_is_on_record_and_nothing_else(vault: Vault, tmp_path: Path, clock: Clock) -> None:
    vault.put("api", new_value())
    vault.rotate("api", new_value(), grace=timedelta(0))
    vault.put("old", new_value(), expires_at=clock.now + timedelta(hours=1))
    vault.versions(), vault.due()
    clock.forward(hours=2)
    stranger = new_vault(tmp_path, tenant=vault._tenant, key=OTHER_KEY, clock=clock)
    refused = 0
    for reader, name, version in (
        (vault, "api", None), (vault, "api", 2), (vault, "api", 1), (vault, "api", 7), (vault, "old", None),
        (vault, "none", None), (vault, "NO", None), (stranger, "api", None),
    ):  # fmt: skip
        try:
            reader.get(name, version=version)
        except PipelineError:
            refused += 1
    assert refused == 6
    assert outcomes(vault) == {
        ("api", 2, "read"): 2,
        ("api", 1, "secret_retired"): 1,
        ("api", 7, "secret_missing"): 1,
        ("old", 1, "secret_expired"): 1,
        ("none", None, "secret_missing"): 1,
        ("(not a name)", None, "usage"): 1,
        ("api", 2, "secret_unreadable"): 1,
    }


def test_without_a_record_nothing_is_handed_out(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    vault.put("api", new_value())

    def full(*_: object) -> None:
        raise StorageUnavailableError("the ledger is full")

    monkeypatch.setattr("datasets.vault.record_read", full)
    with pytest.raises(StorageUnavailableError, match="full"):
        vault.get("api")


def test_a_server_that_is_away_is_a_refused_read(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings

    with (
        temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api", PREFECT_CLIENT_MAX_RETRIES: 0}),
        pytest.raises(StorageUnavailableError, match="PREFECT_API_URL"),
    ):
        vault.get("api")
    assert outcomes(vault) == {("api", None, "storage_unavailable"): 1}


def test_a_lost_answer_does_not_make_a_second_version(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    create = store.create

    def answer_lost(address: Address, sealed: Sealed) -> bool:
        create(address, sealed)
        return create(address, sealed)  # what Prefect's client does when it hears nothing

    monkeypatch.setattr(store, "create", answer_lost)
    assert vault.put("api", new_value()) == 1
    assert [each.version for each in vault.versions()] == [1]


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_the_record_can_be_added_to_and_not_changed(
    database: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    ledger = open_ledger(new_ledger_url(request, database, tmp_path))
    read = SecretRead("api", 1, "run-1", "test", "read", datetime(2026, 5, 4, tzinfo=UTC))
    record_read(ledger, "anna", read)
    for statement in ("UPDATE secret_reads SET reader = 'x'", "DELETE FROM secret_reads"):
        try:
            with transaction(ledger.engine, "anna") as connection:
                assert connection.execute(text(statement)).rowcount == 0
        except IntegrityError as error:
            assert "takes new rows only" in str(error)  # noqa: PT017
    assert (reads(ledger, "anna"), reads(ledger, "bert")) == ([read], [])


def test_errors_are_of_one_family() -> None:
    family = (SecretMissingError, SecretExpiredError, SecretRetiredError, SecretUnreadableError)
    assert all(issubclass(kind, VaultError) for kind in family)
    assert [kind.code for kind in family] == ["secret_missing", "secret_expired", "secret_retired", "secret_unreadable"]
