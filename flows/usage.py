"""What was used: items, frames, seconds, money and errors of a tenant, by hour, day, week or month (UTC).

Each fact counts in the period in which it happened: stages when they began, purchases when they were meant, errors when
they came. An item counts once, when the last of its stages began.
"""

from datetime import datetime
from typing import Literal, get_args

import polars as pl

from datasets.facts import Facts

Period = Literal["hour", "day", "week", "month"]
PERIODS: tuple[Period, ...] = get_args(Period)
EVERY: dict[Period, str] = {"hour": "1h", "day": "1d", "week": "1w", "month": "1mo"}  # weeks begin on Monday
QUANTILES = {"p50_s": 0.50, "p95_s": 0.95, "p99_s": 0.99}
USD = pl.Decimal(20, 6)
COUNTS = ("items", "delivered", "frames", "stages", "cached", "errors")


def usage(facts: Facts, period: Period = "day", *, since: datetime | None = None) -> pl.DataFrame:
    """A row for each period in which something happened, the earliest first.

    Columns: ``tenant``, ``period`` (its beginning, UTC), ``items``, ``delivered`` of them, ``frames`` delivered (1 for
    a picture), ``stages``, ``cached`` of them, ``seconds`` of all stages, ``cost_usd`` charged, ``errors``, and
    ``p50_s``, ``p95_s``, ``p99_s``: of the seconds that an item's stages took together, linear between neighbours.

    Args:
        facts: Whose.
        since: Nothing from before this moment counts; it has a zone.
    """
    every = EVERY[period]
    parts = (_stages(facts, every, since), _items(facts, every, since), _cost(facts, every, since),
             _errors(facts, every, since))  # fmt: skip
    frames = pl.collect_all(parts, engine="streaming")
    periods = pl.concat([frame.select("period") for frame in frames]).unique()
    for frame in frames:
        periods = periods.join(frame, on="period", how="left")
    return periods.sort("period").select(
        pl.lit(facts.tenant).alias("tenant"), "period",
        *(pl.col(name).fill_null(0).cast(pl.Int64) for name in COUNTS),
        pl.col("seconds").fill_null(0.0), pl.col("cost_usd").fill_null(0).cast(USD), *QUANTILES,
    )  # fmt: skip


def _stages(facts: Facts, every: str, since: datetime | None) -> pl.LazyFrame:
    stages = _from(facts.stages(), "started_at", since)
    return stages.group_by(pl.col("started_at").dt.truncate(every).alias("period")).agg(
        pl.len().alias("stages"), pl.col("cached").sum(), pl.col("seconds").sum()
    )


def _items(facts: Facts, every: str, since: datetime | None) -> pl.LazyFrame:
    """Items by the period of their last stage; those without any, by that of their run."""
    stages = _from(facts.stages(), "started_at", since).group_by("run_id", "item")
    taken = stages.agg(pl.col("started_at").max().alias("at"), pl.col("seconds").sum().alias("took"))
    began = _from(facts.runs(), "started_at", since).select("run_id", "started_at")
    frames = facts.outputs().group_by("run_id", "item").agg(pl.col("frames").max())
    found = (
        facts.items()
        .select("run_id", "item", "status")
        .join(taken, on=["run_id", "item"], how="left")
        .join(began, on="run_id", how="left")
        .join(frames, on=["run_id", "item"], how="left")
        .with_columns(pl.coalesce("at", "started_at").alias("at"))
        .filter(pl.col("at").is_not_null())
    )
    delivered = pl.col("status") == "delivered"
    return found.group_by(pl.col("at").dt.truncate(every).alias("period")).agg(
        pl.len().alias("items"), delivered.sum().alias("delivered"), pl.col("frames").filter(delivered).sum(),
        *(pl.col("took").quantile(share, "linear").alias(name) for name, share in QUANTILES.items()),
    )  # fmt: skip


def _cost(facts: Facts, every: str, since: datetime | None) -> pl.LazyFrame:
    spend = _from(facts.spend().filter(pl.col("entry") == "purchase"), "at", since)
    return spend.group_by(pl.col("at").dt.truncate(every).alias("period")).agg(
        pl.col("charged_usd").sum().alias("cost_usd")
    )


def _errors(facts: Facts, every: str, since: datetime | None) -> pl.LazyFrame:
    errors = _from(facts.errors(), "at", since)
    return errors.group_by(pl.col("at").dt.truncate(every).alias("period")).agg(pl.len().alias("errors"))


def _from(frame: pl.LazyFrame, column: str, since: datetime | None) -> pl.LazyFrame:
    return frame if since is None else frame.filter(pl.col(column) >= since)
