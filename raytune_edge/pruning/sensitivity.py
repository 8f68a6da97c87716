"""How much accuracy each group costs: one group pruned at a time, without retraining.

Each group and level is a job of its own. `sensitivity` knows nothing of Ray: it hands its jobs to
``run``, which is Python's ``map`` unless told otherwise; `parallel.ray_map` runs them as Ray tasks.

Source: the analysis is that of Li et al., "Pruning Filters for Efficient ConvNets", 2017, section
3.1, and of Intel Distiller. Accuracy is taken after BatchNorm is recalibrated as well: without it
the figures of groups on a residual sum mislead.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import nn

from raytune_edge.counting import count
from raytune_edge.pruning.groups import Groups
from raytune_edge.pruning.plan import Plan, plan
from raytune_edge.pruning.rows import (
    UNPRUNED,
    Sensitivity,
    SensitivityRow,
    append_row,
    in_order,
    read_rows,
    write_rows,
)
from raytune_edge.pruning.surgery import Pruner

__all__ = ["sensitivity"]

logger = logging.getLogger(__name__)


class Accuracy(Protocol):
    """What ``evaluate`` returns, such as `training.Accuracy`: fractions, and nats."""

    @property
    def top1(self) -> float: ...
    @property
    def top5(self) -> float: ...
    @property
    def loss(self) -> float: ...


@dataclass(frozen=True, kw_only=True)
class Job:
    """One group at one level; no group stands for the unpruned network."""

    group: str
    level: float
    plan: Plan


def sensitivity(
    model: nn.Module,
    groups: Groups,
    levels: Sequence[float],
    evaluate: Callable[[nn.Module], Accuracy],
    *,
    example: torch.Tensor,
    recalibrate: Callable[[nn.Module], object] | None = None,
    csv_file: Path | str | None = None,
    run: Callable[[Callable[[Job], SensitivityRow], list[Job]], Iterable[SensitivityRow]] = map,
    criterion: str = "l1",
    kind: str = "filters",
) -> Sensitivity:
    """Prune each group to each level by itself, and evaluate what is left without retraining.

    Args:
        model: The trained network; left untouched.
        groups: Those to look at, from `prunable_groups`.
        levels: Ratios in (0, 1). Those that keep as many channels as a lower one are left out.
        evaluate: Top-1, top-5 and loss of a network, such as `training.evaluate` with its data.
        example: One input of the model.
        recalibrate: Takes the BatchNorm statistics of a network anew, in place. Without it the
            figures before and after are the same.
        csv_file: Where rows are kept as they come. Those of an earlier run on the same weights,
            criterion and kind are not measured again (``evaluate``'s data must be the same, too).
        run: How jobs are run: called with a function and a list of jobs, it gives the results in
            any order. `parallel.ray_map` runs them as Ray tasks.
        criterion: How channels are ranked: see `Pruner.choose`.
        kind: ``"filters"`` or ``"channels"``.

    Raises:
        PlanError: For a level out of range.
        OutputError: If ``csv_file`` can't be written.
        ValueError: If ``csv_file`` holds the analysis of another network.
    """
    network = _fingerprint(model, criterion, kind)
    macs = count(model, example).macs
    pruner = Pruner(model, example)

    def measure(job: Job) -> SensitivityRow:
        removed = pruner.choose(job.plan, criterion=criterion, kind=kind)
        pruned = pruner.without(removed, backend="torch-pruning")
        before = after = evaluate(pruned)
        if recalibrate is not None:
            recalibrate(pruned)
            after = evaluate(pruned)
        return SensitivityRow(
            network=network,
            group=job.group,
            level=job.level,
            channels=job.plan.channels.get(job.group, 0),
            kept=job.plan.kept.get(job.group, 0),
            macs_ratio=count(pruned, example).macs / macs,
            top1_before=before.top1,
            top5_before=before.top5,
            loss_before=before.loss,
            top1=after.top1,
            top5=after.top5,
            loss=after.loss,
        )

    jobs = _jobs(groups, levels)
    path = None if csv_file is None else Path(csv_file)
    done = {row.key: row for row in read_rows(path)} if path else {}
    if any(row.network != network for row in done.values()):
        raise ValueError(
            f"{path} holds the analysis of another network, criterion or kind: "
            "choose another file, or delete it"
        )
    if path:
        write_rows(path, done.values())
    todo = [job for job in jobs if (job.group, job.level) not in done]
    logger.info("sensitivity: %d of %d jobs to do", len(todo), len(jobs))
    for row in run(measure, todo):
        done[row.key] = row
        if path:
            append_row(path, row)
    return in_order(done[job.group, job.level] for job in jobs)


def _jobs(groups: Groups, levels: Sequence[float]) -> list[Job]:
    jobs = [Job(group=UNPRUNED, level=0.0, plan=plan(groups, {}))]
    for group in groups:
        narrowest = group.channels
        for level in sorted(levels):
            made = plan(groups, {group.name: level}, round_to=1, min_keep=1)
            if made.kept[group.name] < narrowest:
                narrowest = made.kept[group.name]
                jobs.append(Job(group=group.name, level=level, plan=made))
    return jobs


def _fingerprint(model: nn.Module, criterion: str, kind: str) -> str:
    digest = hashlib.sha256(f"{criterion} {kind}".encode())
    for name, tensor in model.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:12]
