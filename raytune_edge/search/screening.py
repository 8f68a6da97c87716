"""Whether a network is known to be infeasible before it is tried."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from raytune_edge.objective import Objective, Verdict
from raytune_edge.records import SHAPE_METRICS
from raytune_edge.search.prediction import Regression, remaining, value_at

__all__ = ["Foreseen", "Screening", "ScreeningRecord"]

_DEVIATIONS = 3.0
_WINDOW = 20
_LEAST_CHECKED = 8
_LEAST_RIGHT = 0.85


@dataclass(frozen=True, kw_only=True)
class Foreseen(Verdict):
    """A verdict before a trial.

    Attributes:
        predicted: Whether it rests on a prediction; what is known is certain.
    """

    predicted: bool = False


@dataclass(frozen=True, kw_only=True)
class ScreeningRecord:
    """How screening went.

    Attributes:
        on: Whether predictions, of one metric at least, end suggestions now.
        checked: Predictions that a measurement followed, all metrics together.
        right: Those in which the measurement lay within the predicted error.
        relative_error: Standard deviation of prediction, mean over the last ones; NaN without any.
        screened: Suggestions that cost no trial because they were predicted to be infeasible.
        known: Suggestions that cost no trial because they were known to be infeasible.
    """

    on: bool
    checked: int
    right: int
    relative_error: float
    screened: int
    known: int


class Screening:
    """Judges suggestions by what is known of their shape, and by predictions once they hold.

    A figure that is known, as counted sizes are, counts at once. A prediction only if its network
    misses a limit by more than the error of prediction (three standard deviations), and only while
    of this metric's last 20 predictions made before a measurement at least 85 % (and at least 8 in
    all) lay within that error. Only limits that a network's shape decides are screened.

    Args:
        objective: Whose limits count.
        predict: Whether predictions may count at all.
    """

    def __init__(self, objective: Objective, *, predict: bool = True) -> None:
        limits = {**objective.upper, **objective.lower}
        self._objective = objective
        self._predict = predict
        self.metrics = tuple(name for name in limits if name in SHAPE_METRICS)
        self._foreseen: dict[str, dict[str, tuple[float, float]]] = {}
        self._recent: dict[str, deque[tuple[bool, float]]] = {
            name: deque(maxlen=_WINDOW) for name in self.metrics
        }
        self._record = ScreeningRecord(
            on=False, checked=0, right=0, relative_error=np.nan, screened=0, known=0
        )

    @property
    def record(self) -> ScreeningRecord:
        """How it went so far."""
        errors = [deviation for recent in self._recent.values() for _, deviation in recent]
        return dataclasses.replace(
            self._record,
            on=bool(self.on),
            relative_error=float(np.mean(errors)) if errors else np.nan,
        )

    @property
    def on(self) -> frozenset[str]:
        """The metrics whose predictions count now."""
        hits = {name: [right for right, _ in recent] for name, recent in self._recent.items()}
        return frozenset(
            name
            for name, right in hits.items()
            if self._predict and len(right) >= _LEAST_CHECKED and np.mean(right) >= _LEAST_RIGHT
        )

    def judge(
        self, known: Mapping[str, float], fitted: Mapping[str, Regression], point: tuple[float, ...]
    ) -> Foreseen:
        """What is foreseen of a network; infeasible only if that is beyond the error.

        Args:
            known: Metrics that are certain.
            fitted: Regressions by metric.
            point: What the regressions take.
        """
        known = {name: known[name] for name in self.metrics if name in known}
        certain = self._objective.verdict(known)
        if not certain.feasible:
            return Foreseen(**vars(certain))
        counting = {name: fitted[name] for name in self.on if name in fitted}
        expected, hoped = dict(known), dict(known)
        for name, (mean, deviation) in self._predicted(known, counting, point).items():
            spread = np.array([0.0, -_DEVIATIONS, _DEVIATIONS]) * deviation
            value, *ends = value_at(name, np.exp(mean + spread)).tolist()
            expected[name] = value
            hoped[name] = max(ends) if name in self._objective.lower else min(ends)
        if self._objective.verdict(hoped).feasible:
            return Foreseen(score=0.0, feasible=True)
        verdict = self._objective.verdict(expected)
        reason = f"predicted: {verdict.reason}"
        return Foreseen(**(vars(verdict) | {"reason": reason}), predicted=True)

    def count(self, verdict: Foreseen) -> None:
        """A suggestion was ended by ``verdict``."""
        name = "screened" if verdict.predicted else "known"
        self._record = dataclasses.replace(self._record, **{name: getattr(self._record, name) + 1})

    def foresee(
        self,
        trial_id: str,
        known: Mapping[str, float],
        fitted: Mapping[str, Regression],
        point: tuple[float, ...],
    ) -> None:
        """Keep what is predicted for a trial, to be checked when it has been measured."""
        self._foreseen[trial_id] = self._predicted(known, fitted, point)

    def check(self, trial_id: str, metrics: Mapping[str, float]) -> None:
        """Compare what was foreseen with what a trial measured."""
        for name, (mean, deviation) in self._foreseen.pop(trial_id, {}).items():
            measured = metrics.get(name, np.nan)
            if np.isfinite(measured):
                miss = abs(float(np.log(remaining(name, measured))) - mean)
                right = miss <= _DEVIATIONS * deviation
                self._recent[name].append((right, deviation))
                self._record = dataclasses.replace(
                    self._record,
                    checked=self._record.checked + 1,
                    right=self._record.right + right,
                )

    def _predicted(
        self, known: Mapping[str, float], fitted: Mapping[str, Regression], point: tuple[float, ...]
    ) -> dict[str, tuple[float, float]]:
        found = {}
        for name in self.metrics:
            if name in fitted and name not in known:
                mean, deviation = fitted[name].predict(np.array([point]))
                found[name] = (float(mean[0]), float(deviation[0]))
        return found
