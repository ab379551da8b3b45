"""The ways in: command line, server, webhook and schedules."""

from importlib.util import find_spec
from pathlib import Path

_found = find_spec("datasets")
if _found is None or not any((Path(p) / "identity.py").is_file() for p in _found.submodule_search_locations or ()):
    raise ImportError(
        "the package 'datasets' of this environment is another one (Hugging Face's has the same name); "
        "install stillmotion into an environment of its own, as `make demo` does"
    )
