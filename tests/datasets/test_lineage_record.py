"""Records: one spelling, digests that any change breaks, a core that runs do not touch."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.identity import canonical_json, fingerprint
from datasets.lineage.record import (
    Definition,
    Link,
    Material,
    RecordDamagedError,
    RunDetails,
    Subject,
    chain_of,
    make_record,
    parse_record,
    record_bytes,
    subject_of,
)

WHEN = datetime(2026, 5, 4, 12, 30, 0, 123456, tzinfo=UTC)
LATER = datetime(2026, 6, 1, tzinfo=UTC)
RUN = RunDetails("run-1", "0.1.0", WHEN, LATER, {"python": "3.11.9"})


def link(stage: str, *inputs: tuple[str, str]) -> Link:
    values: dict[str, Any] = {
        "stage": stage,
        "version": 1,
        "parameters": {"factor": 2, "sigma": 0.5},
        "inputs": [list(each) for each in inputs],
        "models": [],
        "libraries": {"numpy": "2.4.6"},
    }
    return Link(fingerprint(values), **values)


INTAKE = link("intake", ("asset", "ab" * 32))
PUBLISH = link("publish", ("output", INTAKE.fingerprint))
DEFINITION = Definition(
    {"flow": "product", "stages": []}, {"device": "cpu"}, [Material("a.png", "ab" * 32, "original")], [INTAKE, PUBLISH]
)
SUBJECT = Subject("a-cutout.png", "cd" * 32, {"role": "cutout", "fingerprint": PUBLISH.fingerprint})
RECORD = make_record(SUBJECT, DEFINITION, RUN)

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@settings(deadline=None)  # a busy machine says nothing about records
@given(plain)
def test_canonical_json_is_read_back_to_the_same_spelling(value: object) -> None:
    text = canonical_json(value)
    assert canonical_json(json.loads(text)) == text
    assert json.loads(text) == value


@settings(deadline=None)  # a busy machine says nothing about records
@given(st.dictionaries(st.text(), plain, min_size=2, max_size=6), st.randoms())
def test_the_order_of_keys_does_not_matter(value: dict[str, object], random: Any) -> None:
    keys = list(value)
    random.shuffle(keys)
    assert canonical_json({key: value[key] for key in keys}) == canonical_json(value)


@settings(deadline=None)  # a busy machine says nothing about records
@given(st.text(), plain)
def test_whatever_it_holds_a_record_is_read_back(name: str, parameters: object) -> None:
    definition = replace(DEFINITION, recipe={"stages": [parameters]})
    record = make_record(replace(SUBJECT, name=name), definition, RUN)
    data = record_bytes(record)
    assert parse_record(data) == record
    assert data.endswith(b"}\n")
    assert data.count(b"\n") == 1


@settings(deadline=None)  # a busy machine says nothing about records
@given(st.integers(0, len(record_bytes(RECORD)) * 8 - 1))
def test_any_flipped_bit_is_found(bit: int) -> None:
    data = bytearray(record_bytes(RECORD))
    data[bit // 8] ^= 1 << bit % 8
    with pytest.raises(RecordDamagedError):
        parse_record(bytes(data))


@pytest.mark.parametrize(
    "change", [lambda data: data[:-1], lambda data: data + b" ", lambda data: b"[]", lambda data: b"[" * 100_000]
)
def test_what_is_no_record_is_said_to_be_damaged(change: Any) -> None:
    with pytest.raises(RecordDamagedError):
        parse_record(change(record_bytes(RECORD)))


def test_it_is_a_statement_with_a_provenance_predicate() -> None:
    assert RECORD["_type"] == "https://in-toto.io/Statement/v1"
    assert RECORD["predicateType"] == "https://slsa.dev/provenance/v1"
    assert subject_of(RECORD) == ("a-cutout.png", "cd" * 32)
    build, run = RECORD["predicate"]["buildDefinition"], RECORD["predicate"]["runDetails"]
    assert build["buildType"].startswith("urn:stillmotion")
    assert build["resolvedDependencies"] == [
        {"name": "a.png", "digest": {"sha256": "ab" * 32}, "annotations": {"kind": "original"}}
    ]
    assert run["builder"] == {"id": "urn:stillmotion:builder", "version": {"stillmotion": "0.1.0"}}
    assert run["metadata"] == {
        "invocationId": "run-1",
        "startedOn": "2026-05-04T12:30:00.123Z",
        "finishedOn": "2026-06-01T00:00:00.000Z",
    }


@pytest.mark.parametrize(
    "changed",
    [
        replace(RUN, run_id="run-2"),
        replace(RUN, version="0.2.0"),
        replace(RUN, started_at=LATER),
        replace(RUN, finished_at=WHEN),
        replace(RUN, environment={}),
        replace(RUN, guardrails=[{"gate": "delivery"}]),
        replace(RUN, charges=[{"usd": "1"}]),
    ],
)
def test_what_a_run_adds_changes_the_seal_and_not_the_core(changed: RunDetails) -> None:
    other = make_record(SUBJECT, DEFINITION, changed)
    assert core(other) == core(RECORD)
    assert other["predicate"]["stillmotion_sealed"] != RECORD["predicate"]["stillmotion_sealed"]


@pytest.mark.parametrize(
    ("subject", "definition"),
    [
        (replace(SUBJECT, name="b.png"), DEFINITION),
        (replace(SUBJECT, sha256="ef" * 32), DEFINITION),
        (replace(SUBJECT, facts={}), DEFINITION),
        (SUBJECT, replace(DEFINITION, recipe={})),
        (SUBJECT, replace(DEFINITION, internal={})),
        (SUBJECT, replace(DEFINITION, materials=[])),
        (SUBJECT, replace(DEFINITION, chain=[INTAKE])),
    ],
)
def test_what_decides_the_file_changes_the_core(subject: Subject, definition: Definition) -> None:
    assert core(make_record(subject, definition, RUN)) != core(RECORD)


def core(record: dict[str, Any]) -> object:
    return record["predicate"]["stillmotion_core"]


def test_the_chain_is_read_back_and_its_fingerprints_hold() -> None:
    assert [each.fingerprint for each in chain_of(RECORD)] == [INTAKE.fingerprint, PUBLISH.fingerprint]
    assert all(each.holds() for each in chain_of(RECORD))
    assert not replace(INTAKE, parameters={"factor": 3, "sigma": 0.5}).holds()
    assert not replace(INTAKE, libraries={"numpy": "2.4.7"}).holds()
