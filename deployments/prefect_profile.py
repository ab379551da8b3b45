"""Whether the user's own Prefect settings name a server; if they do, no embedded one is started."""

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def names_a_server(prefect_home: Path) -> bool:
    """Whether ``PREFECT_API_URL`` is set in the environment, the active profile, or a ``prefect.toml`` here."""
    if os.environ.get("PREFECT_API_URL"):
        return True
    return _in_profile(_read(prefect_home / "profiles.toml")) or _in_settings(_read(Path("prefect.toml")))


def _in_profile(content: Mapping[str, Any]) -> bool:
    name = os.environ.get("PREFECT_PROFILE", content.get("active", ""))
    profiles = content.get("profiles", {})
    profile = profiles.get(name, {}) if isinstance(profiles, Mapping) else {}
    return bool(isinstance(profile, Mapping) and profile.get("PREFECT_API_URL"))


def _in_settings(content: Mapping[str, Any]) -> bool:
    api = content.get("api", {})
    return bool(isinstance(api, Mapping) and api.get("url"))


def _read(path: Path) -> Mapping[str, Any]:
    """A TOML file; one that is not there or damaged says nothing here, Prefect itself will complain about it."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
