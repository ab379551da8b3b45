"""The tables of money: what was bought, what may be spent, what did not have to be, and which services are down.

Amounts are whole millionths of a US dollar. No row points at a run's: what was paid outlives the run that paid it.
"""

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, String, Table, Text

from datasets.ledger.tables import Json, UtcTime, Words, metadata

purchases = Table(
    "purchases",
    metadata,
    Column("tenant_id", String(63), primary_key=True),
    Column("purchase_key", String(64), primary_key=True),
    Column("state", String(16), nullable=False),
    Column("run_id", String(64), nullable=False),
    Column("item", Words, nullable=False),
    Column("stage", Text, nullable=False),
    Column("adapter", Text, nullable=False),
    Column("adapter_version", Text, nullable=False),
    Column("price_micro_usd", BigInteger, nullable=False),
    Column("price_list", Text, nullable=False),
    Column("held_micro_usd", BigInteger, nullable=False),
    Column("charged_micro_usd", BigInteger),
    Column("scopes", Json, nullable=False),
    Column("policy", String(16), nullable=False),
    Column("guard", Boolean, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("sendings", Integer, nullable=False),
    Column("idempotency_key", String(36), nullable=False),
    Column("provider_reference", Words),
    Column("response_digest", String(64)),
    Column("response_media_type", Text),
    Column("response_path", Words),
    Column("error_code", String(64)),
    Column("error_facts", Json),
    Column("holder", Text),
    Column("holder_run_id", String(64)),
    Column("lease_expires_at", UtcTime),
    Column("intent_at", UtcTime, nullable=False),
    Column("sent_at", UtcTime),
    Column("resent_at", UtcTime),
    Column("unknown_at", UtcTime),
    Column("looked_up_at", UtcTime),
    Column("settled_at", UtcTime),
    Column("failed_free_at", UtcTime),
    Column("void_at", UtcTime),
    Column("day", String(10), nullable=False),
    Index(None, "tenant_id", "run_id"),
    Index(None, "tenant_id", "state"),
    Index(None, "tenant_id", "day"),
)

budgets = Table(
    "budgets",
    metadata,
    Column("tenant_id", String(63), primary_key=True),
    Column("scope", String(80), primary_key=True),
    Column("cap_micro_usd", BigInteger),
    Column("held_micro_usd", BigInteger, nullable=False),
    Column("spent_micro_usd", BigInteger, nullable=False),
    Column("changed_at", UtcTime, nullable=False),
)

avoided = Table(
    "avoided",
    metadata,
    Column("tenant_id", String(63), primary_key=True),
    Column("run_id", String(64), primary_key=True),
    Column("item", Words, primary_key=True),
    Column("deliverable_key", String(64), primary_key=True),
    Column("entry", String(16), primary_key=True),
    Column("reason", String(32), nullable=False),
    Column("micro_usd", BigInteger, nullable=False),
    Column("evidence", Json, nullable=False),
    Column("at", UtcTime, nullable=False),
    Column("day", String(10), nullable=False),
    Index(None, "tenant_id", "day"),
)

circuits = Table(
    "circuits",
    metadata,
    Column("tenant_id", String(63), primary_key=True),
    Column("service", String(128), primary_key=True),
    Column("state", String(16), nullable=False),
    Column("failures", Json, nullable=False),
    Column("last_kind", String(32)),
    Column("trips", Integer, nullable=False),
    Column("opened_at", UtcTime),
    Column("retry_at", UtcTime),
    Column("probe", Text),
    Column("probe_expires_at", UtcTime),
)
