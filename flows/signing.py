"""Signs what is delivered, where a key is set. Once: the same file delivered again is the same bytes."""

import json
from dataclasses import replace

from datasets.assets import has_asset, put_asset_file
from datasets.lineage.keys import KeyFolder
from datasets.lineage.signing import can_sign, sign_file
from datasets.outputs import OutputPlace, StoredFile
from flows.journey_state import Journey
from flows.provenance import PAID, chain_to
from tasks.context import current_run
from tasks.encoding import Published


def signed(journey: Journey, file: Published) -> Published:
    """The file as it is to be delivered: signed and kept as an asset, or as it was where no key is set.

    Raises:
        SigningError, SettingsError: The key does not do.
        OutputDamagedError: What is stored is not what was made.
    """
    run = current_run()
    if run.settings.signing_key is None or not can_sign(file.stored.rsplit(".", 1)[1]):
        return file
    keys = KeyFolder(run.settings.signing_key)
    with run.ledger.session(run.storage.tenant, read_only=True) as session:
        rows = session.signed_from(file.sha256)
    for row in rows:
        facts = json.loads(row.record)["predicate"]["stillmotion_published"]
        if facts.get("signed_by") == keys.name and has_asset(run.storage, row.sha256):
            return _as_signed(file, row.sha256, int(facts["bytes"]), keys.name)
    return _sign(journey, file, keys)


def _sign(journey: Journey, file: Published, keys: KeyFolder) -> Published:
    run = current_run()
    chain = chain_to(file.fingerprint, journey.keys())
    trained = any(key.stage == PAID or any(model.weights for model in key.models) for key in chain)
    facts = {"unsigned_sha256": file.sha256, "fingerprint": file.fingerprint, "original_sha256": journey.asset or ""}
    with run.storage.temporary_file() as unsigned, run.storage.temporary_file() as target:
        place = OutputPlace(run.storage, file.fingerprint)
        place.copy_file(file.stored, StoredFile(file.sha256, file.bytes), unsigned)
        sign_file(unsigned, target, keys, trained=trained, facts=facts)
        size = target.stat().st_size
        return _as_signed(file, put_asset_file(run.storage, target), size, keys.name)


def _as_signed(file: Published, sha256: str, size: int, signed_by: str) -> Published:
    return replace(file, sha256=sha256, bytes=size, unsigned_sha256=file.sha256, signed_by=signed_by)
