"""Holds a file against its record, the record against its own digests, its stages and the ledger."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from datasets.identity import digest_file
from datasets.ledger.lineage_rows import LineageRow
from datasets.lineage.beside import record_path, records_naming
from datasets.lineage.record import CORE, SEALED, RecordDamagedError, chain_of, parse_record, subject_of

LookUp = Callable[[str], list[LineageRow]]  # a file's sha256 to the ledger's records of it
CheckSignature = Callable[[Path, str], str | None]  # file and name of the key to what is wrong, in words


@dataclass(frozen=True)
class Problem:
    """What is wrong, with a code that keeps its meaning.

    The codes: ``file_changed``, ``no_record``, ``record_damaged``, ``record_differs``, ``ledger_damaged``,
    ``chain_broken``, ``signature_invalid``.
    """

    code: str
    message: str


@dataclass
class Verdict:
    """What was found out about a file.

    Attributes:
        record: The record that speaks of the file, if there is an intact one.
        notes: What is not wrong and yet worth knowing: ``not_in_ledger``, ``not_beside``, ``renamed``, ``signed``.
    """

    file: Path
    sha256: str
    record: dict[str, Any] | None = None
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        return not self.problems

    def wrong(self, code: str, message: str) -> None:
        self.problems.append(Problem(code, message))


def verify_file(file: Path, look_up: LookUp, check_signature: CheckSignature) -> Verdict:
    """Hold a published file against everything that is known about it. It is found by its content, not its name.

    Args:
        file: The file.
        look_up: The ledger's records of a digest.
        check_signature: Called for a file whose record says that it was signed.

    Raises:
        OSError: The file cannot be read.
    """
    verdict = Verdict(file, digest_file(file))
    rows = look_up(verdict.sha256)
    known = _intact_rows(verdict, rows)
    named = _record_of_name(verdict)
    own = named if named is not None and subject_of(named)[1] == verdict.sha256 else None
    beside = own or _found_beside(verdict)
    verdict.record = beside or next(iter(known), None)
    if verdict.record is None:
        _say_unknown(verdict, named)
        return verdict
    _compare(verdict, beside, rows, renamed=own is None)
    _check_chain(verdict, verdict.record)
    signed_by = verdict.record["predicate"]["stillmotion_published"].get("signed_by")
    if signed_by is not None:
        _check_signature(verdict, check_signature, str(signed_by))
    return verdict


def _intact_rows(verdict: Verdict, rows: Sequence[LineageRow]) -> list[dict[str, Any]]:
    records = []
    for row in rows:
        try:
            record = parse_record(f"{row.record}\n".encode())
        except RecordDamagedError:
            verdict.wrong("ledger_damaged", "a record in the ledger is not as it was written; restore it from a copy")
            continue
        digests = (subject_of(record)[1], record["predicate"][CORE], record["predicate"][SEALED])
        if digests == (row.sha256, row.core, row.sealed):
            records.append(record)
        else:
            verdict.wrong("ledger_damaged", "a record in the ledger stands under another digest than its own")
    return records


def _record_of_name(verdict: Verdict) -> dict[str, Any] | None:
    """The record beside the file, by the file's name; a damaged one is a problem whatever else is known."""
    path = record_path(verdict.file)
    if not path.is_file():
        return None
    try:
        return parse_record(path.read_bytes())
    except RecordDamagedError as error:
        verdict.wrong(error.code, f"{path}: {error.message}")
        return None


def _found_beside(verdict: Verdict) -> dict[str, Any] | None:
    """An intact record in the folder of records that speaks of these bytes under another name."""
    for data in records_naming(verdict.file.parent, verdict.sha256):
        try:
            record = parse_record(data)
        except RecordDamagedError:
            continue
        if subject_of(record)[1] == verdict.sha256:
            return record
    return None


def _say_unknown(verdict: Verdict, named: dict[str, Any] | None) -> None:
    if named is not None:
        expected = subject_of(named)[1]
        verdict.wrong(
            "file_changed",
            f"the file has the sha256 {verdict.sha256}, its record says {expected}; it was changed after it was "
            "published: take it from a copy, or make it again with `stillmotion rebuild`",
        )
    elif verdict.holds:
        verdict.wrong(
            "no_record",
            f"neither the ledger nor a record beside the file knows the sha256 {verdict.sha256}; it was changed after "
            "it was published, or it is not of this tenant's making",
        )


def _compare(verdict: Verdict, beside: dict[str, Any] | None, rows: Sequence[LineageRow], *, renamed: bool) -> None:
    if not rows:
        verdict.notes.append("not_in_ledger")
    if beside is None:
        verdict.notes.append("not_beside")
        return
    if renamed:
        verdict.notes.append("renamed")
    if rows and beside["predicate"][SEALED] not in {row.sealed for row in rows}:
        verdict.wrong("record_differs", "the record beside the file is not one of those in the ledger")


def _check_chain(verdict: Verdict, record: dict[str, Any]) -> None:
    """Every fingerprint is that of its stage's values, and the stages lead from the file to what was there before."""
    published = record["predicate"]["stillmotion_published"]
    chain = chain_of(record)
    known = {link.fingerprint for link in chain}
    wanted = {published["fingerprint"]} | {digest for link in chain for kind, digest in link.inputs if kind == "output"}
    if not all(link.holds() for link in chain) or not wanted <= known:
        verdict.wrong(
            "chain_broken", "the stages in the record do not lead to the file; it was not written by this program"
        )


def _check_signature(verdict: Verdict, check_signature: CheckSignature, signed_by: str) -> None:
    verdict.notes.append("signed")
    fault = check_signature(verdict.file, signed_by)
    if fault is not None:
        verdict.wrong("signature_invalid", fault)
