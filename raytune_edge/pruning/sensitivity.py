"""How much accuracy each group costs: one group pruned at a time, without retraining.

Each group and level is a job of its own. `sensitivity` knows nothing of Ray: it hands its jobs to
``run``, which is Python's ``map`` unless told otherwise; `parallel.ray_map` runs them as Ray tasks.

Source: the analysis is that of Li et al., "Pruning Filters for Efficient ConvNets", 2017, section
3.1, and of Intel Distiller. Accuracy is taken after BatchNorm is recalibrated as well: without it
the figures of groups on a residual sum mislead.
"""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import hashlib
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from raytune_edge.counting import count
from raytune_edge.errors import OutputError
from raytune_edge.pruning.groups import Groups
from raytune_edge.pruning.plan import Plan, plan
from raytune_edge.pruning.surgery import prune

__all__ = ["Sensitivity", "SensitivityRow", "read_sensitivity", "sensitivity"]

logger = logging.getLogger(__name__)

_UNPRUNED = "(unpruned)"


class Accuracy(Protocol):
    """What ``evaluate`` returns, such as `training.Accuracy`: fractions, and nats."""

    @property
    def top1(self) -> float: ...
    @property
    def top5(self) -> float: ...
    @property
    def loss(self) -> float: ...


@dataclass(frozen=True, kw_only=True)
class SensitivityRow:
    """One group pruned to one level; a row of the CSV file.

    Attributes:
        network: Of what: the start of the SHA-256 of the weights and of how channels are ranked.
        group: The group's name.
        level: Fraction of its channels asked to be removed.
        channels: Channels of the group unpruned; ``kept``: those that are left.
        macs_ratio: Multiply-accumulates of the network that are left, a fraction.
        top1_before: Accuracy before BatchNorm is recalibrated, as are the other ``*_before``.
        top1: After it.
    """

    network: str
    group: str
    level: float
    channels: int
    kept: int
    macs_ratio: float
    top1_before: float
    top5_before: float
    loss_before: float
    top1: float
    top5: float
    loss: float

    @property
    def key(self) -> tuple[str, float]:
        """What tells this row from the others of its network."""
        return self.group, self.level


@dataclass(frozen=True, kw_only=True)
class Sensitivity:
    """What `sensitivity` found.

    Attributes:
        baseline: The unpruned network.
        rows: One row for each group and level, by group and then by level.
    """

    baseline: SensitivityRow
    rows: tuple[SensitivityRow, ...]

    def bounds(self, *, max_drop: float = 0.2, min_saving: float = 0.005) -> dict[str, float]:
        """The largest ratio worth searching, by group; groups that don't pay are left out.

        Args:
            max_drop: The largest loss of top-1 after recalibration, a fraction.
            min_saving: The least fraction of the multiply-accumulates that must be saved there.
        """
        bounds: dict[str, float] = {}
        closed: set[str] = set()
        for row in self.rows:
            if self.baseline.top1 - row.top1 > max_drop:
                closed.add(row.group)
            if row.group not in closed and 1 - row.macs_ratio >= min_saving:
                bounds[row.group] = row.level
        return bounds


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
        criterion: How channels are ranked: see `prune`.
        kind: ``"filters"`` or ``"channels"``.

    Raises:
        PlanError: For a level out of range.
        OutputError: If ``csv_file`` can't be written.
        ValueError: If ``csv_file`` holds the analysis of another network.
    """
    network = _fingerprint(model, criterion, kind)
    macs = count(model, example).macs

    def measure(job: Job) -> SensitivityRow:
        pruned = prune(
            model, example, job.plan, criterion=criterion, kind=kind, backend="torch-pruning"
        )
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
    done = {row.key: row for row in _read(path)} if path else {}
    if any(row.network != network for row in done.values()):
        raise ValueError(
            f"{path} holds the analysis of another network, criterion or kind: "
            "choose another file, or delete it"
        )
    if path:
        _write(path, done.values())
    todo = [job for job in jobs if (job.group, job.level) not in done]
    logger.info("sensitivity: %d of %d jobs to do", len(todo), len(jobs))
    for row in run(measure, todo):
        done[row.key] = row
        if path:
            _append(path, row)
    return _in_order(done[job.group, job.level] for job in jobs)


def read_sensitivity(csv_file: Path | str) -> Sensitivity:
    """What `sensitivity` has kept in ``csv_file``.

    Raises:
        ValueError: If the unpruned network is not in it.
    """
    rows = _read(Path(csv_file))
    if not any(row.group == _UNPRUNED for row in rows):
        raise ValueError(f"{csv_file} holds no finished sensitivity analysis")
    return _in_order(rows)


def _jobs(groups: Groups, levels: Sequence[float]) -> list[Job]:
    jobs = [Job(group=_UNPRUNED, level=0.0, plan=plan(groups, {}))]
    for group in groups:
        narrowest = group.channels
        for level in sorted(levels):
            made = plan(groups, {group.name: level}, round_to=1, min_keep=1)
            if made.kept[group.name] < narrowest:
                narrowest = made.kept[group.name]
                jobs.append(Job(group=group.name, level=level, plan=made))
    return jobs


def _in_order(rows: Iterable[SensitivityRow]) -> Sensitivity:
    """By group, as they first come, and then by level."""
    by_group: dict[str, list[SensitivityRow]] = {}
    for row in rows:
        by_group.setdefault(row.group, []).append(row)
    (baseline,) = by_group.pop(_UNPRUNED)
    return Sensitivity(
        baseline=baseline,
        rows=tuple(
            row
            for group_rows in by_group.values()
            for row in sorted(group_rows, key=lambda row: row.level)
        ),
    )


def _fingerprint(model: nn.Module, criterion: str, kind: str) -> str:
    digest = hashlib.sha256(f"{criterion} {kind}".encode())
    for name, tensor in model.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:12]


_FIELDS = dataclasses.fields(SensitivityRow)
_PARSERS: dict[object, Callable[[str], object]] = {"str": str, "int": int, "float": float}


def _read(path: Path) -> list[SensitivityRow]:
    """The whole rows of a file; one that was cut short is left out."""
    if not path.exists():
        return []
    rows = []
    with path.open(newline="") as file:
        for line in csv.DictReader(file):
            with contextlib.suppress(KeyError, TypeError, ValueError):
                values: dict[str, Any] = {
                    field.name: _PARSERS[field.type](line[field.name]) for field in _FIELDS
                }
                rows.append(SensitivityRow(**values))
    return rows


def _write(path: Path, rows: Iterable[SensitivityRow]) -> None:
    """Begin the file anew with ``rows``, so that it ends with a whole line."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, [field.name for field in _FIELDS])
            writer.writeheader()
            writer.writerows(map(dataclasses.asdict, rows))
    except OSError as error:
        raise OutputError(f"the sensitivity analysis can't be kept in {path}: {error}") from error


def _append(path: Path, row: SensitivityRow) -> None:
    with path.open("a", newline="") as file:
        csv.DictWriter(file, [field.name for field in _FIELDS]).writerow(dataclasses.asdict(row))
