"""The book of reads: who got, or was refused, which credential. One transaction per row, committed before hand-out."""

import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime

from sqlalchemy import insert, select

from datasets.identity import check_tenant
from datasets.ledger.engine import Ledger
from datasets.ledger.tables import secret_reads
from datasets.ledger.transactions import transaction

HANDED_OUT = "read"  # the outcome; of a refused read it is the code of the error


@dataclass(frozen=True)
class SecretRead:
    """One read.

    Attributes:
        name: The credential.
        version: Which one; None if the read came to nothing before that was known.
        reader: The run's id, or the command.
        purpose: What for.
        outcome: ``read``, or the code of the error that refused it.
        at: When, UTC.
    """

    name: str
    version: int | None
    reader: str
    purpose: str
    outcome: str
    at: datetime


def record_read(ledger: Ledger, tenant: str, read: SecretRead) -> None:
    """Write a read down; it is committed when this returns.

    Raises:
        StorageUnavailableError: It could not be written, so nothing may be handed out.
    """
    row = {"tenant_id": check_tenant(tenant), "read_id": str(uuid.uuid4()), **asdict(read)}
    with transaction(ledger.engine, tenant) as connection:
        connection.execute(insert(secret_reads).values(row))


def reads(ledger: Ledger, tenant: str, *, name: str | None = None, limit: int | None = None) -> Sequence[SecretRead]:
    """A tenant's reads, the latest first; of one name, if it is given."""
    columns = [secret_reads.c[field.name] for field in fields(SecretRead)]
    query = select(*columns).where(secret_reads.c.tenant_id == check_tenant(tenant))
    if name is not None:
        query = query.where(secret_reads.c.name == name)
    query = query.order_by(secret_reads.c.at.desc(), secret_reads.c.read_id).limit(limit)
    with transaction(ledger.engine, tenant, read_only=True) as connection:
        return [SecretRead(**row._mapping) for row in connection.execute(query)]
