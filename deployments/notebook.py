"""The way in for notebooks: what ``flows.notebook`` offers, with the project's own Prefect server where none is named.

from deployments.notebook import item, run, run_product, show, stages
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from deployments.api_server import ApiServer, attach_or_start, environment, wait_until_ready
from deployments.cli import producing
from deployments.prefect_profile import names_a_server

for _name, _value in producing.QUIET.items():  # Prefect reads them when it is first imported
    os.environ.setdefault(_name, _value)

from flows import notebook  # noqa: E402 - may import Prefect
from flows.notebook import (  # noqa: E402
    Facts,
    ItemView,
    RunView,
    SideBySide,
    StoredFrames,
    errors,
    facts,
    frames,
    inputs,
    item,
    items,
    lineage,
    measures,
    outputs,
    run,
    runs,
    show,
    spend,
    stages,
    usage_by,
)

__all__ = [
    "Facts", "ItemView", "RunView", "SideBySide", "StoredFrames", "demo_photo", "errors", "facts", "frames", "inputs",
    "item", "items", "lineage", "measures", "outputs", "run", "run_product", "runs", "show", "spend", "stages",
    "usage_by",
]  # fmt: skip


def run_product(photos: Sequence[str | Path] | str | Path, recipe: Any = "packshot", **order: Any) -> RunView:
    """Take photographs through a recipe, with a progress bar below the cell; see ``flows.notebook.run_product``.

    Where Prefect's settings name no server, the one of this ``PREFECT_HOME`` is used; it is started if need be, and
    ends by itself a minute after the notebook.
    """
    with _served():
        return notebook.run_product(photos, recipe, **order)


def demo_photo(folder: str | Path = "demo-output") -> Path:
    """The path of a real photograph, a cup of coffee, written into a folder from the package that holds it.

    Raises:
        SettingsError: That package, scikit-image, is not installed.
    """
    return producing.demo_photo(Path(folder))


START_S = 180.0  # longest wait for a server that starts; a cell has nobody else to start one
_ours: list[ApiServer] = []  # the server that this process attached to, once it did


@contextmanager
def _served() -> Iterator[None]:
    """Flows called inside speak to a server that is up, also if Prefect was imported before it was."""
    home = Path(os.environ.get("PREFECT_HOME", "~/.prefect")).expanduser()
    if not _ours and names_a_server(home):
        yield
        return
    server = attach_or_start(home)
    wait_until_ready(server, timeout_s=START_S)
    _ours[:] = [server]
    os.environ.update(environment(server))
    from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings

    with temporary_settings({PREFECT_API_URL: server.url, PREFECT_API_AUTH_STRING: server.auth_string}):
        yield
