"""PostgreSQL's roles: the application works under row level security, so its role must be one that is bound by it."""

from sqlalchemy import Connection, text

from datasets.errors import SettingsError
from datasets.ledger.tables import metadata

NEEDS = ("SELECT", "INSERT", "UPDATE", "DELETE")


def refuse_unbound(connection: Connection) -> None:
    """Refuse a role that no policy binds: one tenant's work would see everybody's.

    Raises:
        SettingsError: It is a superuser, or bypasses row level security.
    """
    found = connection.execute(
        text("SELECT rolname FROM pg_roles WHERE rolname = current_user AND (rolsuper OR rolbypassrls)")
    ).scalar()
    if found is not None:
        raise SettingsError(
            f"the role {found!r} of STILLMOTION_LEDGER_URL is a superuser or bypasses row level security, so tenants "
            "would not be kept apart; use a plain role there, and STILLMOTION_LEDGER_OWNER_URL for this one",
            role=str(found),
        )


def let_in(connection: Connection, role: str) -> None:
    """Give a role what the program needs on the ledger's tables, and nothing else. Nothing is done if it has it."""
    connection.execute(text("SELECT pg_advisory_xact_lock(7358120)"))  # two grants at once disturb each other
    quoted = connection.dialect.identifier_preparer.quote(role)
    for table in metadata.tables:
        able = connection.execute(
            text(
                "SELECT bool_and(has_table_privilege(:role, :name, need)) FROM unnest(CAST(:needs AS text[])) AS need"
            ),
            {"role": role, "name": table, "needs": list(NEEDS)},
        ).scalar()
        if not able:
            connection.execute(text(f"GRANT {', '.join(NEEDS)} ON {table} TO {quoted}"))
    connection.execute(text(f"GRANT SELECT ON alembic_version TO {quoted}"))
