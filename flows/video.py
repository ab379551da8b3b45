"""The video flow: clips become finished clips by a recipe."""

from dataclasses import replace
from functools import partial
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State

from datasets.redaction import install, scrubbing
from datasets.settings import Settings, read_settings
from flows.bands import BANDS, BandedProgress
from flows.bookkeeping import close_cancelled, close_crashed, close_failed
from flows.clip_graph import grouped_clip
from flows.clip_recipes import parse_clip_recipe
from flows.clips import plan_clip, process_clip
from flows.recipes import Recipe
from flows.summary import RunSummary
from flows.video_order import VideoOrder
from flows.working import final_state, plan, work
from tasks.decode import DecodeConfig


@flow(
    name="video",
    retries=0,
    persist_result=False,
    on_failure=[close_failed],
    on_crashed=[close_crashed],
    on_cancellation=[close_cancelled],
)
def video(order: VideoOrder) -> State[Any]:
    """Take clips through a recipe: upscale, interpolate, grade, encode, thumbnails. Clips fail apart from each other.

    Returns:
        A state that holds the ``RunSummary``: completed when everything was delivered or stopped on purpose, failed
        when a clip failed.
    """
    install()
    with scrubbing():  # Prefect keeps an error's text
        return final_state(run_video(order, read_settings()))


def run_video(order: VideoOrder, settings: Settings) -> RunSummary:
    """The flow's body: opens what the run needs, takes all clips through, writes report and artifacts."""
    reading, recipe = _recipe(order)
    process = partial(process_clip, reading=reading, recipe=recipe, out=order.out_folder)
    groups = grouped_clip(recipe)
    passes = ["+".join(step.config.stage_name for step in group) for group in groups]
    return work(
        "video",
        order,
        recipe,
        settings,
        process,
        stages=len(groups) + 1,
        watch=partial(BandedProgress, passes=[label for label in passes if label not in BANDS]),
    )


def plan_video(order: VideoOrder, settings: Settings) -> RunSummary:
    """A dry run: what is in the store already and what would be computed. Nothing is computed or written."""
    reading, recipe = _recipe(order)
    return plan(order, recipe, settings, partial(plan_clip, reading=reading, recipe=recipe, out=order.out_folder))


def _recipe(order: VideoOrder) -> tuple[DecodeConfig, Recipe]:
    reading, recipe = parse_clip_recipe(order.recipe, mask=order.mask, restyle=order.restyle)
    return reading, replace(recipe, keep=order.keep)
