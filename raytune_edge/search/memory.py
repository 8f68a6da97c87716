"""What a search knows of the networks that were tried, and foresees of others."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.random import RandomState

from raytune_edge.objective import Objective, trained
from raytune_edge.records import SHAPE_METRICS
from raytune_edge.search.choice import Evidence, expected_gains, ranking, regressions
from raytune_edge.search.curves import Curves
from raytune_edge.search.prediction import Regression
from raytune_edge.search.screening import Foreseen, Screening

__all__ = ["Memory"]

_HOPELESS = ("collapsed", "unsupported")
_COMPILED = "predicted_hw_ms"

Point = tuple[float, ...]


class Memory:
    """Evidence by a network's number, judged by an objective.

    Args:
        objective: What is looked for.
        screening: Whether predictions may end suggestions.
        counted: Metrics that are known of every network beforehand, and never predicted.

    Attributes:
        evidence: What is known of each network that told something.
        hints: Figures of networks that are still worth a trial: they help to predict.
        screening: What is known or predicted to be infeasible.
    """

    def __init__(
        self, objective: Objective, *, screening: bool = True, counted: Collection[str] = ()
    ) -> None:
        limits = {**objective.upper, **objective.lower}
        goals = [name for name, _ in objective.goals]
        self._objective = objective
        self._metrics = tuple(dict.fromkeys([*goals, *limits]))
        self._uncertain = tuple(name for name in self._metrics if name not in counted)
        self._curves = {name: Curves(name) for name in self._metrics if name not in SHAPE_METRICS}
        self.evidence: dict[int, Evidence] = {}
        self.hints: list[Evidence] = []
        self.screening = Screening(objective, predict=screening)
        self._fitted: dict[str, Regression] | None = None
        self._fitted_compiled: dict[str, Regression] = {}

    def watch(self, trial_id: str, result: Mapping[str, Any]) -> None:
        """Note a report of a trial that is under way."""
        for name, curves in self._curves.items():
            curves.add(trial_id, int(result.get("epoch", 0)), result.get(name, math.nan))

    def learn(self, number: int, trial_id: str, point: Point, result: Mapping[str, Any]) -> None:
        """Learn from a trial's last report, and check what was foreseen of it."""
        self.watch(trial_id, result)
        done = trained(result)
        metrics = self._figures(result)
        for name, curves in self._curves.items():
            outlook = None if done else curves.outlook(trial_id)
            metrics[name] = metrics.get(name, math.nan) if done else (outlook or (0, math.nan))[1]
        hopeless = result.get("stage") in _HOPELESS
        self.evidence[number] = Evidence(
            point=point,
            losses=self._objective.losses(result),
            violation=math.inf if hopeless else self._objective.judge(result).violation,
            metrics=metrics,
        )
        self.screening.check(trial_id, result)
        self.end(trial_id, finished=done)
        self._fitted = None

    def learn_infeasible(
        self, number: int, point: Point, known: Mapping[str, float], verdict: Foreseen
    ) -> None:
        """Learn that a network is not worth a trial, and what is ``known`` of it."""
        self.evidence[number] = Evidence(
            point=point,
            losses=self._objective.losses({}),
            violation=verdict.violation,
            metrics=self._figures(known),
        )
        self.screening.count(verdict)
        if self.evidence[number].metrics:
            self._fitted = None

    def learn_shape(self, point: Point, result: Mapping[str, Any]) -> None:
        """Learn the figures that the shape decides of a network that is worth a trial."""
        shape = {name: result[name] for name in SHAPE_METRICS if name in result}
        self.hints.append(
            Evidence(point=point, losses=(), violation=0.0, metrics=self._figures(shape))
        )
        self._fitted = None

    def forget(self, number: int) -> None:
        """What was learnt of a network doesn't hold any more."""
        if self.evidence.pop(number).metrics:
            self._fitted = None

    def _figures(self, told: Mapping[str, Any]) -> dict[str, float]:
        """What the regressions learn from."""
        return {name: told[name] for name in (*self._uncertain, _COMPILED) if name in told}

    def end(self, trial_id: str, *, finished: bool = False) -> None:
        """A trial is over; one that did not finish teaches nothing about learning curves."""
        for curves in self._curves.values():
            curves.end(trial_id, finished=finished)

    def best_first(self) -> list[int]:
        """The numbers of all known networks, from the best to the worst."""
        numbers = list(self.evidence)
        return [numbers[place] for place in ranking(list(self.evidence.values()))]

    def foresee(self, trial_id: str, known: Mapping[str, float], point: Point) -> None:
        """Keep what is predicted of a trial that begins, to be checked by `learn`."""
        self.screening.foresee(trial_id, known, *self._view(known, point))

    def judge(self, known: Mapping[str, float], point: Point) -> Foreseen:
        """Whether a network is worth a trial: see `Screening.judge`."""
        return self.screening.judge(known, *self._view(known, point))

    def most_promising(
        self, points: Sequence[Point], known: Sequence[Mapping[str, float]], rng: RandomState
    ) -> int:
        """Which network to try; the first, where too little is known to compare.

        Args:
            points: Of the networks.
            known: Metrics that are certain, of each.
            rng: Chance.
        """
        certain = {
            name: np.array([each[name] for each in known])
            for name in self._metrics
            if all(name in each for each in known)
        }
        gains = expected_gains(
            self._objective,
            list(self.evidence.values()),
            self._regressions()[0],
            np.array(points),
            rng,
            certain,
        )
        return 0 if gains is None else int(np.argmax(gains))

    def _regressions(self) -> tuple[dict[str, Regression], dict[str, Regression]]:
        """Without and with the compiler's figure; fitted when they are asked for."""
        if self._fitted is None:
            known = [*self.evidence.values(), *self.hints]
            self._fitted = regressions(known, self._uncertain)
            compiled = [
                dataclasses.replace(each, point=_with_compiled(each.point, each.metrics[_COMPILED]))
                for each in known
                if each.metrics.get(_COMPILED, 0.0) > 0.0
            ]
            self._fitted_compiled = regressions(compiled, self._uncertain)
        return self._fitted, self._fitted_compiled

    def _view(
        self, known: Mapping[str, float], point: Point
    ) -> tuple[Mapping[str, Regression], Point]:
        """What predicts a network, and what that takes: the compiler's figure too, if known."""
        plain, compiled = self._regressions()
        if compiled and known.get(_COMPILED, 0.0) > 0.0:
            return compiled, _with_compiled(point, known[_COMPILED])
        return plain, point


def _with_compiled(point: Point, predicted_ms: float) -> Point:
    return (*point, math.log(predicted_ms))
