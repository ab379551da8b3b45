"""What a notebook needs: run photographs from a cell, look at runs and items, ask ledger and store.

    from flows.notebook import item, run, run_product, show, stages

Everything speaks of the tenant, the storage and the ledger that the environment's settings name. A run started here
uses the Prefect server that Prefect is configured for; ``deployments.notebook`` offers the same with the project's own.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

from datasets.errors import UsageError
from datasets.facts import Facts, StoredFrames
from datasets.settings import Settings, read_settings
from flows.notebook_running import run_order
from flows.notebook_views import SIDE, ItemView, RunView, SideBySide
from flows.opening import open_books
from flows.order import ProductOrder
from flows.usage import Period, usage

__all__ = [
    "Facts", "ItemView", "RunView", "SideBySide", "StoredFrames", "errors", "facts", "frames", "inputs", "item",
    "items", "lineage", "measures", "outputs", "run", "run_product", "runs", "show", "spend", "stages", "usage_by",
]  # fmt: skip


def facts(settings: Settings | None = None) -> Facts:
    """The facts of these settings, or of those that the environment gives; storage blocks are known."""
    storage, ledger = open_books(settings or read_settings())
    return Facts(ledger, storage)


def runs() -> pl.LazyFrame:
    """A row for each run; see ``Facts.runs``."""
    return facts().runs()


def items() -> pl.LazyFrame:
    """A row for each item of a run; see ``Facts.items``."""
    return facts().items()


def stages() -> pl.LazyFrame:
    """A row for each stage that an item went through; see ``Facts.stages``."""
    return facts().stages()


def outputs() -> pl.LazyFrame:
    """A row for each delivered file; see ``Facts.outputs``."""
    return facts().outputs()


def errors() -> pl.LazyFrame:
    """A row for each failure; see ``Facts.errors``."""
    return facts().errors()


def measures() -> pl.LazyFrame:
    """A row for each measure that a gate saw of an item; see ``Facts.measures``."""
    return facts().measures()


def spend() -> pl.LazyFrame:
    """A row for each purchase and each avoided cost; see ``Facts.spend``."""
    return facts().spend()


def lineage() -> pl.LazyFrame:
    """A row for each record of a published file; see ``Facts.lineage``."""
    return facts().lineage()


def inputs() -> pl.LazyFrame:
    """A row for each input of a stage's output; see ``Facts.inputs``."""
    return facts().inputs()


def frames(run: str, stage: str, *, item: str | None = None, plane: str | None = None) -> StoredFrames:
    """The pixels that a stage of a run left, as ``.zarr`` and ``.dask``; see ``datasets.facts.arrays``."""
    return facts().frames(run, stage, item=item, plane=plane)


def usage_by(period: Period = "day", *, since: Any = None) -> pl.DataFrame:
    """What was used in each hour, day, week or month; see ``flows.usage.usage``."""
    return usage(facts(), period, since=since)


def run(name: str = "latest") -> RunView:
    """A run by the beginning of its id, or the latest.

    Raises:
        NotFoundError: There is none.
        UsageError: Several begin so.
    """
    found = facts()
    with found.ledger.session(found.tenant, read_only=True) as session:
        return RunView(found, session.find_run(name).run_id)


def item(name: str, run_name: str = "latest") -> ItemView:
    """An item of a run.

    Raises:
        NotFoundError: There is no such run, or the run has no such item.
    """
    found = run(run_name).item(name)
    assert found.record
    return found


def show(what: str | ItemView, run_name: str = "latest", *, side: int = SIDE) -> SideBySide:
    """An item's source and what was made of it, side by side.

    Args:
        what: An item, or its name in a run.
        run_name: The beginning of the run's id, or ``latest``.
        side: Longer side of each picture, in px.
    """
    return (item(what, run_name) if isinstance(what, str) else what).show(side=side)


def run_product(photos: Sequence[str | Path] | str | Path, recipe: Any = "packshot", **order: Any) -> RunView:
    """Take photographs through a recipe, with a progress bar below the cell.

    The run goes on in a thread of its own, so that it works inside a notebook's event loop. Interrupting the cell ends
    the run as Ctrl-C ends a command: what was finished is kept, and the same cell goes on there.

    Args:
        photos: One path or several.
        recipe: A recipe's name, the path of a .json list of stages, or such a list.
        **order: Fields of ``ProductOrder``: ``out``, ``budget_usd``, ``keep``, ``quality``, ...

    Raises:
        UsageError: A field is unknown or out of its bounds.
    """
    given = [photos] if isinstance(photos, str | Path) else list(photos)
    summary = run_order(_order([str(Path(each).absolute()) for each in given], recipe, order))
    return RunView(facts(), summary.run_id)


def _order(photos: list[str], recipe: Any, fields: dict[str, Any]) -> ProductOrder:
    from pydantic import ValidationError

    out = str(Path(str(fields.get("out", "stillmotion-output"))).absolute())
    try:
        return ProductOrder.model_validate({**fields, "photos": photos, "recipe": recipe, "out": out})
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        raise UsageError(f"the order does not hold: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
