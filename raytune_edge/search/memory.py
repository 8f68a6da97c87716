"""What a search knows of the networks that were tried, and foresees of others."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from raytune_edge.objective import Objective, Verdict
from raytune_edge.records import SHAPE_METRICS
from raytune_edge.search.choice import Evidence, expected_gains, ranking, regressions
from raytune_edge.search.curves import Curves
from raytune_edge.search.prediction import Regression
from raytune_edge.search.screening import Screening

__all__ = ["Memory"]

_HOPELESS = ("collapsed", "unsupported")
_COMPILED = "predicted_hw_ms"

Point = tuple[float, ...]


class Memory:
    """Evidence by a network's number, judged by an objective.

    Attributes:
        evidence: What is known of each network that told something.
        screening: What is known or predicted to be infeasible.
    """

    def __init__(self, objective: Objective, *, screening: bool = True) -> None:
        limits = {**objective.upper, **objective.lower}
        goals = [name for name, _ in objective.goals]
        self._objective = objective
        self._metrics = tuple(dict.fromkeys([*goals, *limits]))
        self._curves = {name: Curves(name) for name in self._metrics if name not in SHAPE_METRICS}
        self.evidence: dict[int, Evidence] = {}
        self.screening = Screening(objective, predict=screening)
        self._fit()

    def watch(self, trial_id: str, result: Mapping[str, Any]) -> None:
        """Note a report of a trial that is under way."""
        for name, curves in self._curves.items():
            curves.add(trial_id, int(result.get("epoch", 0)), result.get(name, math.nan))

    def learn(self, number: int, trial_id: str, point: Point, result: Mapping[str, Any]) -> None:
        """Learn from a trial's last report, and check what was foreseen of it."""
        self.watch(trial_id, result)
        done = result.get("stage") == "done"
        metrics = {name: result[name] for name in (*self._metrics, _COMPILED) if name in result}
        for name, curves in self._curves.items():
            outlook = None if done else curves.outlook(trial_id)
            metrics[name] = metrics.get(name, math.nan) if done else (outlook or (0, math.nan))[1]
        hopeless = result.get("stage") in _HOPELESS
        self.evidence[number] = Evidence(
            point=point,
            losses=self._objective.losses(result),
            violation=math.inf if hopeless else self._objective.verdict(result).violation,
            metrics=metrics,
        )
        self.screening.check(trial_id, result)
        self.end(trial_id, finished=done)
        self._fit()

    def learn_infeasible(self, number: int, point: Point, verdict: Verdict) -> None:
        """Learn that a network is not worth a trial."""
        self.evidence[number] = Evidence(
            point=point,
            losses=self._objective.losses({}),
            violation=verdict.violation,
            metrics={},
        )
        self.screening.count(verdict)

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

    def judge(self, known: Mapping[str, float], point: Point) -> Verdict:
        """Whether a network is worth a trial: see `Screening.judge`."""
        return self.screening.judge(known, *self._view(known, point))

    def most_promising(self, points: npt.NDArray[np.float64], rng: np.random.RandomState) -> int:
        """Which of ``points`` (m, d) to try; the first, where too little is known to compare."""
        known = list(self.evidence.values())
        gains = expected_gains(self._objective, known, self._fitted, points, rng)
        return 0 if gains is None else int(np.argmax(gains))

    def _fit(self) -> None:
        known = list(self.evidence.values())
        self._fitted = regressions(known, self._metrics)
        compiled = [
            dataclasses.replace(each, point=_with_compiled(each.point, each.metrics[_COMPILED]))
            for each in known
            if each.metrics.get(_COMPILED, 0.0) > 0.0
        ]
        self._fitted_compiled = regressions(compiled, self._metrics)

    def _view(
        self, known: Mapping[str, float], point: Point
    ) -> tuple[Mapping[str, Regression], Point]:
        """What predicts a network, and what that takes: the compiler's figure too, if known."""
        if self._fitted_compiled and known.get(_COMPILED, 0.0) > 0.0:
            return self._fitted_compiled, _with_compiled(point, known[_COMPILED])
        return self._fitted, point


def _with_compiled(point: Point, predicted_ms: float) -> Point:
    return (*point, math.log(predicted_ms))
