"""Lets Prefect's scheduler make runs with SQLAlchemy 2.1.

Prefect 3.8.8 inserts scheduled runs in bulk, each with an entry ``state`` that is no column but a hybrid property.
SQLAlchemy 2.0 passes over such an entry; 2.1 refuses the statement unless the property says what is to become of it. So
no schedule would ever fire. This can go when a Prefect that knows of SQLAlchemy 2.1 is required.
"""

from collections.abc import MutableMapping
from typing import Any


def let_schedules_fire() -> None:
    """Have bulk inserts of flow runs pass over the entry ``state``, as before."""
    from prefect.server.database.orm_models import FlowRun

    FlowRun.__dict__["state"].bulk_dml_setter = _pass_over


def _pass_over(_model: object, _values: MutableMapping[str, Any], _value: object) -> None:
    """The scheduler inserts states by themselves, later."""
