"""``stillmotion lineage``, ``verify`` and ``rebuild``: where a file came from, whether that holds, the file again."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from deployments.cli.inspecting import json_option, open_for_reading, print_document, tenant_option

if TYPE_CHECKING:
    from datasets.ledger import Ledger
    from datasets.lineage.verify import Verdict
    from datasets.settings import Settings

file_argument = click.argument("file", type=click.Path(path_type=Path))


@click.command()
@file_argument
@tenant_option
@json_option
def lineage(file: Path, tenant: str | None, as_json: bool) -> int:
    """Show where FILE came from: stages, parameters, models and weights, back to the original bytes.

    FILE is found by its content, so it may have been moved or renamed.
    """
    from datasets.lineage.tree import tree_lines

    record = _record_of(_verdict(file, tenant))
    print_document(record, as_json, lambda: tree_lines(record))
    return 0


@click.command()
@file_argument
@tenant_option
@json_option
def verify(file: Path, tenant: str | None, as_json: bool) -> int:
    """Hold FILE against its record, and the record against its own digests, its stages and the ledger.

    Exit status 1 if something is wrong; every problem has a code that keeps its meaning.
    """
    verdict = _verdict(file, tenant)
    document = {
        "file": str(file),
        "sha256": verdict.sha256,
        "status": "verified" if verdict.holds else "failed",
        "problems": [{"code": problem.code, "message": problem.message} for problem in verdict.problems],
        "notes": verdict.notes,
    }
    print_document(document, as_json, lambda: _verdict_lines(verdict))
    return 0 if verdict.holds else 1


@click.command()
@click.argument("record", type=click.Path(path_type=Path))
@click.option("--out", default="rebuilt", show_default=True, help="Folder for the file.")
@tenant_option
@json_option
def rebuild(record: Path, out: str, tenant: str | None, as_json: bool) -> int:
    """Make the file of RECORD again and compare it byte for byte. RECORD is a record, or a published file.

    The original bytes are taken from the storage by their digest. Exit status 1 if the file came out differently.
    """
    from deployments.cli.producing import begin_server, prepare_flows

    server = begin_server(dry_run=False)
    settings, storage, ledger = open_for_reading(tenant)
    wanted = _read_record(record, settings, ledger)
    prepare_flows(server)
    from flows.rebuilding import rebuild as made_again

    rebuilt = made_again(wanted, storage, settings, Path(out).absolute())
    document = {
        "file": str(rebuilt.path) if rebuilt.path else None,
        "status": "equal" if rebuilt.equal else "different",
        "expected_sha256": rebuilt.expected,
        "sha256": rebuilt.sha256 or None,
        "environment_differs": rebuilt.differs,
        "reasons": rebuilt.reasons,
    }
    print_document(document, as_json, lambda: _rebuilt_lines(document))
    return 0 if rebuilt.equal else 1


def _verdict(file: Path, tenant: str | None) -> "Verdict":
    settings, _, ledger = open_for_reading(tenant)
    return _verdict_of(file, settings, ledger)


def _verdict_of(file: Path, settings: "Settings", ledger: "Ledger") -> "Verdict":
    from datasets.errors import UsageError
    from datasets.lineage.keys import KeyFolder
    from datasets.lineage.signing import signature_fault
    from datasets.lineage.verify import verify_file

    keys = KeyFolder(settings.signing_key) if settings.signing_key else None

    def fault(signed: Path, signed_by: str) -> str | None:
        ours = keys is not None and keys.name == signed_by  # an earlier key is not distrusted for being replaced
        return signature_fault(signed, keys if ours else None)

    with ledger.session(settings.tenant, read_only=True) as session:
        try:
            return verify_file(file, session.lineage_of, fault)
        except OSError as error:
            raise UsageError(f"{file} cannot be read: {error.strerror}; check the path", path=str(file)) from error


def _record_of(verdict: "Verdict") -> dict[str, Any]:
    from datasets.errors import NotFoundError

    if verdict.record is None:
        problem = verdict.problems[0]
        raise NotFoundError(f"{problem.message} [{problem.code}]", file=str(verdict.file), problem=problem.code)
    return verdict.record


def _read_record(path: Path, settings: "Settings", ledger: "Ledger") -> dict[str, Any]:
    """A record from its own file, or that of a published file.

    Raises:
        RecordDamagedError: It was changed.
        NotFoundError: It is neither a record nor a file that has one.
    """
    from datasets.lineage.beside import ENDING
    from datasets.lineage.record import parse_record

    if path.name.endswith(ENDING) and path.is_file():
        return parse_record(path.read_bytes())
    return _record_of(_verdict_of(path, settings, ledger))


def _verdict_lines(verdict: "Verdict") -> Iterator[str]:
    yield f"{verdict.file}: {'verified' if verdict.holds else 'NOT as it was published'}"
    for problem in verdict.problems:
        yield f"  {problem.message} [{problem.code}]"
    for note in verdict.notes:
        yield f"  {NOTES[note]}"


NOTES = {
    "not_in_ledger": "this installation's ledger does not know the file; the record beside it was used",
    "not_beside": "there is no record beside the file; the one in the ledger was used",
    "renamed": "the file was published under another name",
    "signed": "the file carries content credentials",
}


def _rebuilt_lines(document: dict[str, Any]) -> Iterator[str]:
    if document["file"] is None:
        yield "the file could not be made again"
    elif document["status"] == "equal":
        yield f"{document['file']}: byte for byte the same, sha256 {document['sha256']}"
    else:
        yield f"{document['file']}: differs; expected sha256 {document['expected_sha256']}, got {document['sha256']}"
    for difference in document["environment_differs"]:
        yield f"  {difference}"
    for reason in document["reasons"]:
        yield f"  {reason}"
