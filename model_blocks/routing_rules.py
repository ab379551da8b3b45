"""A tenant's routing rules: a JSON list in a file, checked before anything runs.

[{"priority": 10, "when": {"capability": "upscale", "long_side_above": 4000}, "use": "realesr-general-x4v3",
"fallbacks": ["embedded-upscaler"]}]
"""

import json
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from datasets.errors import SettingsError
from model_blocks.registry import known_models
from model_blocks.routing_types import Rule

_RULES = TypeAdapter(tuple[Rule, ...])


def read_rules(path: Path | None) -> tuple[Rule, ...]:
    """The rules in a file; none without one.

    Raises:
        SettingsError: The file cannot be read, is no JSON, or a rule does not hold: the message names rule and field.
    """
    if path is None:
        return ()
    try:
        rules = _RULES.validate_python(json.loads(path.expanduser().read_text(encoding="utf-8")))
    except OSError as error:
        raise SettingsError(
            f"the routing rules {path} cannot be read: {error.strerror}; set STILLMOTION_ROUTING to a JSON file",
            path=str(path),
        ) from error
    except ValidationError as error:  # a ValueError, too
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the list"
        raise SettingsError(
            f"the routing rules {path} do not hold at {where}: {first['msg']}", path=str(path), where=where
        ) from error
    except ValueError as error:
        raise SettingsError(f"the routing rules {path} are no JSON: {error}", path=str(path)) from error
    for number, rule in enumerate(rules):
        _check(rule, number, path)
    return rules


def _check(rule: Rule, number: int, path: Path) -> None:
    """All models of a rule are registered, and for one capability."""
    capabilities = {facts.name: facts.capability for facts in known_models()}
    wanted = rule.when.capability or capabilities.get(rule.use)
    known = ", ".join(name for name, capability in capabilities.items() if wanted in (None, capability))
    fields = ("use", *(f"fallbacks.{position}" for position in range(len(rule.fallbacks))))
    for field, name in zip(fields, rule.models, strict=True):
        if name not in capabilities or capabilities[name] != wanted:
            what = f"no model to {wanted}" if wanted else "no model"
            raise SettingsError(
                f"the routing rules {path} do not hold at {number}.{field}: {name!r} is {what}; registered: {known}",
                path=str(path),
                where=f"{number}.{field}",
            )
