"""How an order becomes a form: what users come for stands first."""

from typing import Any

from pydantic import BaseModel


def own_fields_first(schema: dict[str, Any], model: type[BaseModel]) -> None:
    """Number the fields of a form: those of the order itself, then those that all orders share.

    The UI shows fields by this number. Without it, they stand as the database happened to keep them.
    """
    properties = schema.get("properties", {})
    own = [name for name in properties if name in model.__annotations__]
    for position, name in enumerate([*own, *(name for name in properties if name not in own)]):
        properties[name]["position"] = position
