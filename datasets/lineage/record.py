"""The record of a published file: an in-toto Statement with a SLSA provenance predicate, as canonical JSON.

What decides the file (subject, build definition, chain of stages) is apart from what one run added (its id, times,
machine, charges) and has a digest of its own, the ``core``; ``sealed`` is a digest over the whole record.

Source: in-toto Attestation Framework, Statement v1; SLSA Provenance v1. Extension fields begin with ``stillmotion_``.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any, cast

from datasets.errors import PermanentError, UsageError
from datasets.identity import canonical_json, digest_bytes, fingerprint
from datasets.ledger.tables import storable

STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "urn:stillmotion:recipe:v1"
BUILDER = "urn:stillmotion:builder"
CORE, SEALED = "stillmotion_core", "stillmotion_sealed"
BOUGHT = "bought"  # kind of a material that is a paid service's answer; it names the purchase and the stage it is of
LINK_FIELDS = ("stage", "version", "parameters", "inputs", "models", "libraries")  # what a fingerprint is made of


class RecordDamagedError(PermanentError):
    code = "record_damaged"


@dataclass(frozen=True)
class Link:
    """One stage of the chain from the original bytes to the file.

    Attributes:
        inputs: Kind and digest of every input.
        models: Identities of the models it ran.
    """

    fingerprint: str
    stage: str
    version: int
    parameters: Mapping[str, object]
    inputs: Sequence[Sequence[str]]
    models: Sequence[Mapping[str, object]] = ()
    libraries: Mapping[str, str] = field(default_factory=dict)

    def holds(self) -> bool:
        """Whether the fingerprint is that of these values."""
        values = asdict(self)
        return fingerprint({name: values[name] for name in LINK_FIELDS}) == self.fingerprint


@dataclass(frozen=True)
class Material:
    """Something that was there before, or came from outside: original bytes, a recipe's file, weights, an answer."""

    name: str
    sha256: str
    kind: str
    facts: Mapping[str, object] = field(default_factory=dict)

    def to_json(self) -> dict[str, object]:
        annotations = {"kind": self.kind, **self.facts}
        return {"name": storable(self.name), "digest": {"sha256": self.sha256}, "annotations": annotations}


@dataclass(frozen=True)
class Subject:
    """The published file.

    Attributes:
        facts: Item, role, format, size, the stage output that holds it; of a signed file also the unsigned digest.
    """

    name: str
    sha256: str
    facts: Mapping[str, object]


@dataclass(frozen=True)
class Definition:
    """What was asked for and what it was made of; nothing in it depends on the run, the machine's paths or the time."""

    recipe: Mapping[str, object]
    internal: Mapping[str, object]
    materials: Sequence[Material]
    chain: Sequence[Link]


@dataclass(frozen=True)
class RunDetails:
    """What one run added.

    Attributes:
        environment: Python, operating system, libraries that decide pixels.
        guardrails: Results of the checks that the file went through.
        charges: What was paid for it.
        models: The models that made it, with licence, purposes that it allows, and why the run chose them.
    """

    run_id: str
    version: str
    started_at: datetime
    finished_at: datetime
    environment: Mapping[str, object]
    guardrails: Sequence[Mapping[str, object]] = ()
    charges: Sequence[Mapping[str, object]] = ()
    models: Sequence[Mapping[str, object]] = ()


def make_record(subject: Subject, definition: Definition, run: RunDetails) -> dict[str, Any]:
    """The sealed record of a published file."""
    predicate: dict[str, Any] = {
        "buildDefinition": {
            "buildType": BUILD_TYPE,
            "externalParameters": definition.recipe,
            "internalParameters": definition.internal,
            "resolvedDependencies": [material.to_json() for material in definition.materials],
        },
        "runDetails": {
            "builder": {"id": BUILDER, "version": {"stillmotion": run.version}},
            "metadata": {
                "invocationId": run.run_id,
                "startedOn": _time(run.started_at),
                "finishedOn": _time(run.finished_at),
            },
            "stillmotion_environment": run.environment,
        },
        "stillmotion_chain": [asdict(link) for link in definition.chain],
        "stillmotion_published": subject.facts,
        "stillmotion_guardrails": list(run.guardrails),
        "stillmotion_charges": list(run.charges),
        "stillmotion_models": list(run.models),
    }
    record = {
        "_type": STATEMENT,
        "subject": [{"name": storable(subject.name), "digest": {"sha256": subject.sha256}}],
        "predicateType": PREDICATE,
        "predicate": predicate,
    }
    predicate[CORE] = core_of(record)
    predicate[SEALED] = seal_of(record)
    return cast("dict[str, Any]", json.loads(canonical_json(record)))


def core_of(record: Mapping[str, Any]) -> str:
    """Digest of what of a record does not depend on the run that made it."""
    predicate = record["predicate"]
    decided = {name: predicate[name] for name in ("buildDefinition", "stillmotion_chain", "stillmotion_published")}
    return digest_bytes(_bytes({"subject": record["subject"], **decided}))


def seal_of(record: Mapping[str, Any]) -> str:
    """Digest over the whole record, the field that holds it excepted."""
    predicate = {name: value for name, value in record["predicate"].items() if name != SEALED}
    return digest_bytes(_bytes({**record, "predicate": predicate}))


def record_bytes(record: Mapping[str, Any]) -> bytes:
    """The one spelling of a record: canonical JSON and a line end."""
    return _bytes(record) + b"\n"


def _bytes(value: object) -> bytes:
    return canonical_json(value).encode(errors="backslashreplace")


def parse_record(data: bytes) -> dict[str, Any]:
    """A record from its bytes, held against its own digests; any changed byte is noticed.

    Raises:
        RecordDamagedError: It is no record, or not as it was written.
    """
    try:
        record = json.loads(data)
        intact = (
            record["predicate"][SEALED] == seal_of(record)
            and record["predicate"][CORE] == core_of(record)
            and record_bytes(record) == data
            and (record["_type"], record["predicateType"]) == (STATEMENT, PREDICATE)
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, UsageError) as error:
        raise RecordDamagedError("the record cannot be read; take it from the ledger or a copy") from error
    if not intact:
        raise RecordDamagedError("the record is not as it was written; take it from the ledger or a copy")
    return cast("dict[str, Any]", record)


def bought_in(record: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The answers of paid services that a file was made of."""
    materials = record["predicate"]["buildDefinition"]["resolvedDependencies"]
    return [each for each in materials if each["annotations"]["kind"] == BOUGHT]


def chain_of(record: Mapping[str, Any]) -> list[Link]:
    """The stages in order, the last one made the file.

    Raises:
        RecordDamagedError: A stage has other fields.
    """
    try:
        return [Link(**link) for link in record["predicate"]["stillmotion_chain"]]
    except TypeError as error:
        raise RecordDamagedError("the record's chain of stages has fields this version does not know") from error


def subject_of(record: Mapping[str, Any]) -> tuple[str, str]:
    """Name and sha256 of the file that a record speaks of."""
    (subject,) = record["subject"]
    return str(subject["name"]), str(subject["digest"]["sha256"])


def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
