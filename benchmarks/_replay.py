"""Searches replayed on a table of networks: what a trial reports, what it costs, what is found."""

from __future__ import annotations

import bisect
import json
import math
import random
import statistics
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ray.tune.search import Searcher

from raytune_edge.dominance import hypervolume
from raytune_edge.objective import Objective

Levels = tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Network:
    """One row: top-1 before retraining and after each epoch, latency in two measuring turns."""

    top1: tuple[float, ...]
    latency_p50_ms: tuple[float, float]

    @property
    def latency_ms(self) -> float:
        """What counts in the end; a trial sees the first turn, then the second."""
        return sum(self.latency_p50_ms) / len(self.latency_p50_ms)


@dataclass(frozen=True, kw_only=True)
class Table:
    """All networks of a grid.

    Attributes:
        dimensions: Evenly spaced levels by name, from 0 on.
        networks: By their levels, in the order of ``dimensions``.
    """

    dimensions: Mapping[str, Levels]
    networks: Mapping[Levels, Network]

    def network(self, config: Mapping[str, float]) -> Network:
        """The network that ``config`` means: the nearest level of each dimension."""
        return self.networks[
            tuple(
                min(levels, key=lambda level: abs(level - config[name]))
                for name, levels in self.dimensions.items()
            )
        ]

    @property
    def unpruned(self) -> Network:
        return self.network(dict.fromkeys(self.dimensions, 0.0))


def load(path: Path) -> tuple[Table, dict[str, Any]]:
    """The table that ``search_table.py`` wrote, and what it says of itself."""
    if not path.exists():
        raise SystemExit(f"{path} is not there: python benchmarks/search_table.py makes it")
    head = json.loads(path.read_text())
    networks = {
        tuple(row["levels"]): Network(
            top1=tuple(row["top1"]), latency_p50_ms=tuple(row["latency_p50_ms"])
        )
        for row in head.pop("networks")
    }
    dimensions = {name: tuple(levels) for name, levels in head["dimensions"].items()}
    return Table(dimensions=dimensions, networks=networks), head


def trial(network: Network, objective: Objective, *, gate: bool) -> Iterator[dict[str, Any]]:
    """What `raytune_edge.prune_and_retrain` reports of ``network``, and ``spent`` epochs.

    With the gate the first measurement comes in while the first epoch is under way: a network over
    its budget ends there, and that epoch counts as spent. Without it the latency is known at last.
    """
    first, last = network.latency_p50_ms
    epochs = len(network.top1) - 1

    def told(stage: str, *, epoch: int, spent: int, latency_p50_ms: float) -> dict[str, Any]:
        metrics = {"top1": network.top1[epoch], "latency_p50_ms": latency_p50_ms}
        verdict = objective.verdict(metrics)
        return {
            **metrics,
            "top1_pruned": network.top1[0],
            "test_top1": network.top1[-1] if stage == "done" else math.nan,
            "stage": stage if verdict.feasible else "infeasible",
            "epoch": epoch,
            "training_iteration": epoch + 1,
            "score": verdict.score,
            "feasible": verdict.feasible,
            "spent": spent,
        }

    yield told("pruned", epoch=0, spent=0, latency_p50_ms=math.nan)
    if gate and not objective.verdict({"latency_p50_ms": first}).feasible:
        yield told("infeasible", epoch=0, spent=1, latency_p50_ms=first)
        return
    for epoch in range(1, epochs + 1):
        known = first if gate else math.nan
        yield told("retrain", epoch=epoch, spent=epoch, latency_p50_ms=known)
    yield told("done", epoch=epochs, spent=epochs, latency_p50_ms=last)


class Shuffled(Searcher):
    """The table's networks in random order, each once."""

    def __init__(self, table: Table, seed: int) -> None:
        super().__init__(metric="score", mode="max")
        self._left = [dict(zip(table.dimensions, levels, strict=True)) for levels in table.networks]
        random.Random(seed).shuffle(self._left)

    def suggest(self, trial_id: str) -> Any:
        return self._left.pop() if self._left else self.FINISHED

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
        """Nothing is learnt."""


@dataclass(frozen=True, kw_only=True)
class Ended:
    """A trial's end.

    Attributes:
        network: What it trained.
        stage: Its last; ``"stopped"`` if it was ended early.
        spent: Epochs spent by it and all before it.
    """

    network: Network
    stage: str
    spent: int


def replay(
    search: Searcher,
    table: Table,
    objective: Objective,
    *,
    gate: bool,
    budget: int,
    stop: Callable[[str, dict[str, Any]], bool] | None = None,
) -> list[Ended]:
    """One trial after the other, as Tune would run them, until ``budget`` epochs are spent.

    A trial that doesn't end within the budget doesn't count.
    """
    ended: list[Ended] = []
    spent = 0
    while spent < budget:
        trial_id = f"{len(ended):05}"
        config = search.suggest(trial_id)
        if config is None or config == Searcher.FINISHED:
            break
        network = table.network(config)
        stage = "failed"
        result: dict[str, Any] = {}
        for result in trial(network, objective, gate=gate):
            stage = result["stage"]
            search.on_trial_result(trial_id, result)
            if stop is not None and stop(trial_id, result) and stage == "retrain":
                stage = "stopped"
                break
        search.on_trial_complete(trial_id, result=result)
        spent += result["spent"]
        if spent <= budget:
            ended.append(Ended(network=network, stage=stage, spent=spent))
    return ended


@dataclass(frozen=True, kw_only=True)
class Scale:
    """How sets of networks are compared: by the hypervolume of those trained to their end.

    Attributes:
        worst_top1: With ``worst_latency_ms`` the point that hypervolume is measured from: what is
            not better in both adds nothing.
    """

    worst_top1: float
    worst_latency_ms: float

    def volume(self, networks: list[Network]) -> float:
        points = [(-each.top1[-1], each.latency_ms) for each in networks]
        reference = np.array([-self.worst_top1, self.worst_latency_ms])
        return hypervolume(np.array(points).reshape(-1, 2), reference)


@dataclass(frozen=True, kw_only=True)
class Curve:
    """The hypervolume found after so many epochs, as fractions of the table's."""

    spent: tuple[int, ...]
    volume: tuple[float, ...]

    def at(self, epochs: float) -> float:
        """The hypervolume when ``epochs`` are spent."""
        place = bisect.bisect_right(self.spent, epochs)
        return self.volume[place - 1] if place else 0.0

    def epochs_to(self, volume: float) -> float:
        """Epochs spent when ``volume`` is reached; infinity if it never is."""
        place = bisect.bisect_left(self.volume, volume)
        return self.spent[place] if place < len(self.volume) else math.inf


def curve(ended: list[Ended], table: Table, scale: Scale) -> Curve:
    """What a replay found; a trial that did not reach its last epoch adds nothing."""
    whole = scale.volume(list(table.networks.values()))
    found: list[Network] = []
    volumes = []
    for each in ended:
        if each.stage == "done" and each.network not in found:
            found.append(each.network)
        volumes.append(scale.volume(found) / whole)
    return Curve(spent=tuple(each.spent for each in ended), volume=tuple(volumes))


def reference_volume(curves: Mapping[str, list[Curve]], epochs: int) -> float:
    """The median hypervolume that ``original`` has when all ``epochs`` are spent."""
    return statistics.median(each.at(epochs) for each in curves["original"])


def median_reaches(curves: list[Curve], epochs: int) -> int:
    """Epochs after which the median over the seeds first has the height that it has at its end."""

    def median(spent: int) -> float:
        return statistics.median(each.at(spent) for each in curves)

    return next(spent for spent in range(epochs + 1) if median(spent) >= median(epochs))


def answers(curves: Mapping[str, list[Curve]], epochs: int) -> dict[str, dict[str, float]]:
    """Medians over seeds: epochs to the reference, ``epochs`` where it is never reached, and
    hypervolume when all ``epochs`` are spent."""
    reference = reference_volume(curves, epochs)
    return {
        "epochs_to_reference": {
            name: statistics.median(min(each.epochs_to(reference), epochs) for each in found)
            for name, found in curves.items()
        },
        "hypervolume_at_equal_epochs": {
            name: round(statistics.median(each.at(epochs) for each in found), 4)
            for name, found in curves.items()
        },
    }
