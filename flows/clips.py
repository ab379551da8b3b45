"""One clip's way through a recipe. What is delivered is asked for first: nothing before it is made if it is there."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import copy_context
from functools import partial
from pathlib import Path

from datasets.errors import PipelineError
from datasets.settings import MEBIBYTE
from flows.clip_graph import Node, grouped_clip, last_reader, needed, nodes_of
from flows.clip_planning import ClipPlan, refuse_plan
from flows.clip_recipes import DECODE
from flows.fallback import choose_for_size, with_fallbacks
from flows.journey import deliver, discard, guarded, output_held, repaired, result
from flows.journey_state import Journey, by_fingerprint
from flows.recipes import Recipe
from flows.summary import ItemResult, Reason
from tasks.clip_encode import begin_encode, encode_clip, published_clip
from tasks.clip_local import begin_clip_stage, clip_stage
from tasks.clip_target import EncodeConfig
from tasks.clip_thumbnails import ClipThumbnailsConfig, clip_thumbnails, published_clip_thumbnails
from tasks.config import StageConfig
from tasks.context import RunStoppedError, current_run
from tasks.decode import DecodeConfig, Probe, decode, probe_clip
from tasks.growing import Growing
from tasks.propagate import PropagateConfig, propagate_clip
from tasks.restyle_config import RestyleConfig
from tasks.stage import Picture, StageKey, StageOutcome


class _ClipJourney(Journey):
    """The way of one clip."""

    def __init__(self, item: str, source: str, reading: DecodeConfig, recipe: Recipe, out: Path) -> None:
        super().__init__(item, source, recipe, out, len(grouped_clip(recipe)) + 1, DECODE)
        self.reading = reading
        self.nodes: list[Node] = []
        self.early: frozenset[str] = frozenset()

    @property
    def stage_configs(self) -> list[StageConfig]:
        return [self.reading, *super().stage_configs]

    def keys(self) -> dict[str, StageKey]:
        """Those of all stages: one whose result is not needed any more has left nothing but its key."""
        return by_fingerprint(node.key for node in self.nodes)


def process_clip(item: str, source: str, reading: DecodeConfig, recipe: Recipe, out: Path) -> ItemResult:
    """Take one clip through a recipe. Stored bytes that turn out to be damaged on the way are made again.

    Returns:
        What became of it; errors become reasons and are kept in the ledger.
    """

    def travel(journey: Journey) -> ItemResult:
        assert isinstance(journey, _ClipJourney)
        return guarded(journey, partial(_travel, journey, reading))

    return with_fallbacks(item, lambda: repaired(lambda: _ClipJourney(item, source, reading, recipe, out), travel))


def _travel(journey: _ClipJourney, reading: DecodeConfig) -> None:
    probe = probe_clip(journey.source, reading)
    journey.asset = probe.asset
    choose_for_size(max(probe.state.shape.height, probe.state.shape.width))
    journey.nodes = nodes_of(journey.recipe, reading, probe.asset)
    plan = refuse_plan(journey.nodes, probe, reading, keep=journey.recipe.keep)
    journey.early = plan.early
    _announce(journey.item, plan)
    for node in journey.nodes:
        if node.sink:
            _ensure(journey, node, probe, reading)
            _deliver(journey, node)
    for node in journey.nodes:  # what was not needed is said to be there, and let go of in the end
        if node.outcome is None:
            _take_from_store(journey, node, probe, reading)
    _release(journey)


def _announce(item: str, plan: ClipPlan) -> None:
    """Say what the clip will take, where something is to be computed."""
    run = current_run()
    if plan.missing:
        memory, disk = plan.memory_bytes / MEBIBYTE, plan.disk_bytes / MEBIBYTE
        run.progress.noted(f"{item} takes up to {memory:,.0f} MiB of memory and {disk:,.0f} MiB of disk")


def plan_clip(item: str, source: str, reading: DecodeConfig, recipe: Recipe, out: Path) -> ItemResult:
    """What of a clip's way is in the store already, and which stages would be computed."""
    return with_fallbacks(item, lambda: _plan(item, source, reading, recipe, out))


def _plan(item: str, source: str, reading: DecodeConfig, recipe: Recipe, out: Path) -> ItemResult:
    journey = _ClipJourney(item, source, reading, recipe, out)
    try:
        probe = probe_clip(source, reading)
        journey.asset = probe.asset
        choose_for_size(max(probe.state.shape.height, probe.state.shape.width))
        journey.nodes = nodes_of(recipe, reading, probe.asset)
        refuse_plan(journey.nodes, probe, reading, keep=recipe.keep)
    except PipelineError as error:
        return result(journey, "failed", Reason.of_error(error), failed_at=DECODE)
    missing = ", ".join(node.key.label for node in needed(journey.nodes))
    if missing:
        reason = Reason("would_compute", f"Would be computed: {missing}.", {"stages": missing}, "plan")
        return result(journey, "planned", reason)
    return result(journey, "planned", Reason("unchanged", "Everything is in the store already.", {}, "plan"))


def _ensure(journey: _ClipJourney, node: Node, probe: Probe, reading: DecodeConfig, *, frames: bool = False) -> None:
    """Have a stage's result, its frames included where they are to be read."""
    if node.outcome is not None:
        return
    stored = node.stored()
    if stored is not None and frames and stored.frames is None:  # they were let go of; all of it is made anew
        discard(node.key.fingerprint)
        stored = None
    if node.source is not None and stored is None:
        with _beginning(journey, node, node.source):
            _ensure(journey, node.source, probe, reading, frames=True)
    journey.at = node.key.label
    node.outcome = _run(journey, node, probe, reading)
    journey.stages.append(node.outcome)
    _release(journey)


@contextmanager
def _beginning(journey: _ClipJourney, node: Node, source: Node) -> Iterator[None]:
    """While the block has the source made, the stage works on what is finished of it."""
    run, key = current_run(), (journey.item, source.key.fingerprint)
    if node.name not in journey.early or source.outcome is not None:
        yield
        return
    growing = run.growing[key] = Growing()
    thread = threading.Thread(target=copy_context().run, args=(_begin, journey.item, node, growing), name="early")
    thread.start()
    try:
        yield
        growing.end(finished=True)
    except RunStoppedError:
        raise
    except Exception:
        growing.end(broken=True)
        raise
    finally:
        growing.end()
        thread.join()
        del run.growing[key]
        if growing.broken:
            discard(node.key.fingerprint)


def _begin(item: str, node: Node, growing: Growing) -> None:
    config = node.steps[-1].config
    if isinstance(config, EncodeConfig):
        begin_encode(item, node.key, growing, config)
    else:
        begin_clip_stage(item, node.key, growing, node.local_stages)


def _take_from_store(journey: _ClipJourney, node: Node, probe: Probe, reading: DecodeConfig) -> None:
    """Note a stage whose result stands for it; one that left nothing behind is passed over."""
    if node.stored() is not None:
        node.outcome = _run(journey, node, probe, reading)
        journey.stages.append(node.outcome)


def _run(journey: _ClipJourney, node: Node, probe: Probe, reading: DecodeConfig) -> StageOutcome:
    if node.source is None:
        return decode(journey.item, journey.source, probe, reading)
    digest = node.source.key.fingerprint
    source = node.source.outcome.picture if node.source.outcome else Picture(digest, digest)
    config = node.steps[-1].config
    if isinstance(config, EncodeConfig):
        return encode_clip(journey.item, source, config, probe.asset)
    if isinstance(config, ClipThumbnailsConfig):
        return clip_thumbnails(journey.item, source, config)
    if isinstance(config, PropagateConfig):
        return propagate_clip(journey.item, source, config)
    if isinstance(config, RestyleConfig):
        from tasks.restyle import restyle_clip  # with all that speaks to the outside

        return restyle_clip(journey.item, source, config)
    return clip_stage(journey.item, source, node.local_stages)


def _deliver(journey: _ClipJourney, node: Node) -> None:
    assert node.outcome is not None
    if isinstance(node.steps[-1].config, ClipThumbnailsConfig):
        deliver(journey, node.steps[-1], list(published_clip_thumbnails(node.outcome)))
    else:
        deliver(journey, node.steps[-1], [published_clip(node.outcome)])


def _release(journey: _ClipJourney) -> None:
    """Let go of frames that nobody on this way will read any more, unless they are to be kept."""
    if journey.recipe.keep:
        return
    done = {node.name for node in journey.nodes if node.outcome is not None}
    for node in journey.nodes:
        if node.sink or node.outcome is None or not last_reader(journey.nodes, node, done):
            continue
        with output_held(node.key.fingerprint) as ours:
            stored = node.stored() if ours else None
            if stored is not None and stored.frames is not None:
                node.place.release_frames()
