"""Ending trials that cannot reach the front any more."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import Any

from ray.tune import Stopper

from raytune_edge.config import Recipe
from raytune_edge.dominance import joint_noise
from raytune_edge.objective import ENDS, Objective, trained
from raytune_edge.records import SHAPE_METRICS
from raytune_edge.search.curves import Curves

__all__ = ["FrontStopper"]

logger = logging.getLogger(__name__)

_INTERVAL = ("latency_p50_low_ms", "latency_p50_high_ms")


class FrontStopper(Stopper):  # type: ignore[misc]
    """Ends a trial when a finished network beats it and its learning curve can't catch up.

    After each epoch: what the network's shape decides, such as its latency, is known. What it
    learns is granted the best that any finished trial gained from this epoch on: see
    `curves.Curves`. The trial is ended if even so it would miss a limit, or a finished, feasible
    network would be better in every goal, and in a measured one by more than noise (the joint
    half intervals, at least 5 %). Until five trials have finished none is ended.

    Use it as ``tune.RunConfig(stop=FrontStopper(recipe))``, with any scheduler or none. Tune saves
    and restores it with the experiment. The curves of trials that retrain for different numbers of
    epochs don't tell of one another: leave it out where ``"epochs"`` is searched.

    Args:
        recipe: The recipe, or its objective.
    """

    def __init__(self, recipe: Recipe | Objective) -> None:
        self._objective = recipe if isinstance(recipe, Objective) else recipe.objective
        limits = {**self._objective.upper, **self._objective.lower}
        names = dict.fromkeys([*(name for name, _ in self._objective.goals), *limits])
        self._curves = {name: Curves(name) for name in names if name not in SHAPE_METRICS}
        self._finished: dict[str, dict[str, Any]] = {}
        self._ended: set[str] = set()
        self.stopped: dict[str, str] = {}
        """Why each trial was ended, by its id."""

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Whether to end this trial, by its latest report."""
        if trial_id in self._ended:  # Tune repeats the last report of a trial
            return False
        for name, curves in self._curves.items():
            curves.add(trial_id, int(result.get("epoch", 0)), result.get(name, math.nan))
        stage = result.get("stage")
        if stage in ENDS:
            self._finish(trial_id, result)
        elif stage == "retrain" and (reason := self._hopeless(trial_id, result)):
            self.stopped[trial_id] = reason
            self._end(trial_id, finished=False)
            logger.info("%s ended after epoch %s: %s", trial_id, result.get("epoch"), reason)
            return True
        return False

    def stop_all(self) -> bool:
        """Never ends the experiment."""
        return False

    def _finish(self, trial_id: str, result: Mapping[str, Any]) -> None:
        self._end(trial_id, finished=trained(result))
        if trained(result) and self._objective.verdict(result).feasible:
            kept = {*(name for name, _ in self._objective.goals), *_INTERVAL}
            self._finished[trial_id] = {name: result.get(name, math.nan) for name in kept}

    def _end(self, trial_id: str, *, finished: bool) -> None:
        self._ended.add(trial_id)
        for curves in self._curves.values():
            curves.end(trial_id, finished=finished)

    def _hopeless(self, trial_id: str, result: Mapping[str, Any]) -> str:
        """Why the trial can't reach the front, in words; "" if it may."""
        hoped = dict(result)
        for name, curves in self._curves.items():
            outlook = curves.outlook(trial_id)
            if outlook is None:
                return ""
            hoped[name] = outlook[0]
        verdict = self._objective.verdict(hoped)
        if not verdict.feasible:
            return f"at best {verdict.reason}"
        for other, figures in self._finished.items():
            if all(_better(figures, hoped, name, sign) for name, sign in self._objective.goals):
                told = ", ".join(
                    f"{name} {figures[name]:.4g} against {hoped[name]:.4g}"
                    for name, _ in self._objective.goals
                )
                return f"{other} is better: {told} at best"
        return ""


def _better(figures: Mapping[str, float], hoped: Mapping[str, float], name: str, sign: int) -> bool:
    """Whether ``figures`` are better in one goal, and beyond noise where it is measured."""
    lead = sign * (hoped.get(name, math.nan) - figures[name])
    if name not in SHAPE_METRICS:
        return lead > 0
    halves = 0.0
    if name == "latency_p50_ms":
        low, high = _INTERVAL
        halves = sum(
            (each.get(high, math.nan) - each.get(low, math.nan)) / 2 for each in (figures, hoped)
        )
    noise = float(joint_noise(name, figures[name], hoped.get(name, math.nan), halves))
    return lead > noise if noise else lead >= 0
