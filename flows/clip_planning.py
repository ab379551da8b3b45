"""What the missing stages of a clip will take, worked out and refused before any work."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from flows.clip_graph import LOCAL, Node, last_reader, needed
from tasks.chunks import Limits
from tasks.clip_masks import MatteStage
from tasks.clip_plan import (
    StagePlan,
    announced_bytes,
    plan_decode,
    plan_encode,
    plan_pass,
    plan_pictures,
    plan_propagate,
    plan_restyle,
)
from tasks.clip_target import EncodeConfig
from tasks.clip_thumbnails import ClipThumbnailsConfig
from tasks.context import current_run
from tasks.decode import DecodeConfig, Probe
from tasks.plan import refuse_disk
from tasks.propagate import PropagateConfig
from tasks.restyle_config import RestyleConfig


@dataclass(frozen=True)
class ClipPlan:
    """What has to be computed, and what it takes.

    Attributes:
        missing: Names of the stages.
        memory_bytes: Of all processes together.
        disk_bytes: The most that frames and segments take at one time.
        early: Stages that begin on what the stage before them has finished.
    """

    missing: frozenset[str] = frozenset()
    memory_bytes: int = 0
    disk_bytes: int = 0
    early: frozenset[str] = frozenset()


def refuse_plan(nodes: list[Node], probe: Probe, reading: DecodeConfig, *, keep: bool) -> ClipPlan:
    """Work out what every stage needs.

    Raises:
        PlanTooLargeError, DiskTooSmallError: Something that has to be computed cannot fit; nothing was done yet.
    """
    run, plans = current_run(), dict[str, StagePlan]()
    missing = frozenset(node.name for node in needed(nodes))
    if not missing:
        return ClipPlan()
    for node in nodes:
        plans[node.name] = _planned(node, plans, probe, reading, run.limits)
    wanted = [node for node in nodes if node.name in missing]
    early, memory = _early(wanted, plans, run.limits.memory_bytes, run.executor.workers)
    disk = _most_disk(nodes, missing, plans, early, keep=keep)
    refuse_disk(run.storage, disk, run.limits.disk_reserve_bytes)
    return ClipPlan(missing, memory, disk, early)


def _early(
    wanted: Sequence[Node], plans: Mapping[str, StagePlan], limit_bytes: int, workers: int
) -> tuple[frozenset[str], int]:
    """The stages that may begin before their source is done, where memory allows, and what all of it takes.

    In one process whatever is at work at the same time shares the memory; a worker does one thing after another.
    """
    chain: list[Node] = []
    largest = 0
    for node in wanted:
        largest = max(largest, plans[node.name].memory_bytes)
        follows = bool(chain) and node.source is chain[-1] and _begins_early(node)
        if (not chain and node.source is None) or (
            follows and (workers > 1 or sum(plans[each.name].memory_bytes for each in (*chain, node)) <= limit_bytes)
        ):
            chain.append(node)
    together = [plans[node.name] for node in chain]
    return frozenset(node.name for node in chain[1:]), announced_bytes(together, largest, workers)


def _begins_early(node: Node) -> bool:
    """Whether a stage can work on frames that are still being made: encoders, and passes on what is decoded."""
    config = node.steps[-1].config
    if isinstance(config, EncodeConfig):
        return True
    local = isinstance(config, LOCAL) and node.source is not None and node.source.source is None
    return local and not any(isinstance(each, MatteStage) and each.needs_background for each in node.local_stages)


def _most_disk(
    nodes: Sequence[Node], missing: frozenset[str], plans: Mapping[str, StagePlan], early: frozenset[str], *, keep: bool
) -> int:
    """The most that frames and segments take at one time."""
    disk, most = 0, 0
    done: set[str] = set()
    for node in nodes:
        if node.name in missing:
            disk += plans[node.name].disk_bytes
            ahead = next((each for each in nodes if each.source is node and each.name in early & missing), None)
            most = max(most, disk + (plans[ahead.name].disk_bytes if ahead else 0))
        done.add(node.name)
        source = node.source
        if source and not keep and source.name in missing and last_reader(nodes, source, done):
            disk -= plans[source.name].disk_bytes
    return most


def _planned(
    node: Node, plans: Mapping[str, StagePlan], probe: Probe, reading: DecodeConfig, limits: Limits
) -> StagePlan:
    if node.source is None:
        return plan_decode(probe, reading, limits)
    before, config = plans[node.source.name], node.steps[-1].config
    if isinstance(config, EncodeConfig):
        return plan_encode(before, config, limits)
    if isinstance(config, ClipThumbnailsConfig):
        return plan_pictures(before, limits)
    if isinstance(config, PropagateConfig):
        models = current_run().models
        return plan_propagate(before, (models["segment"], models["propagate"]), limits)
    if isinstance(config, RestyleConfig):
        return plan_restyle(before, config, limits)
    return plan_pass(before, node.local_stages, limits)
