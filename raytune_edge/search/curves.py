"""Learning curves: what those of finished trials tell of one that is under way."""

from __future__ import annotations

import math
from statistics import median

from raytune_edge.search.prediction import remaining, value_at

__all__ = ["Curves"]

_LEAST_CURVES = 5


class Curves:
    """One metric of each trial after each epoch.

    From an epoch to its end, each finished trial has reduced what `remaining` tells, the error for
    an accuracy, by some factor. The largest reduction of all bounds what another can still do: if
    trials are alike, one more of them exceeds ``n`` others with probability ``1 / (n + 1)`` only.
    The median reduction is what to expect.

    Source: the argument is that of conformal prediction, Vovk et al., "Algorithmic Learning in a
    Random World", 2005; ending runs by their curves is Domhan et al., "Speeding Up Automatic
    Hyperparameter Optimization of Deep Neural Networks by Extrapolation of Learning Curves", 2015.
    """

    def __init__(self, metric: str) -> None:
        self._metric = metric
        self._under_way: dict[str, dict[int, float]] = {}
        self._finished: list[dict[int, float]] = []

    def add(self, trial_id: str, epoch: int, value: float) -> None:
        """Learn what a trial has after ``epoch``; a value that is no number is passed over."""
        if epoch > 0 and math.isfinite(value):
            left = float(remaining(self._metric, value))
            self._under_way.setdefault(trial_id, {})[epoch] = left

    def end(self, trial_id: str, *, finished: bool) -> None:
        """The trial is over; one that was stopped before its last epoch teaches nothing."""
        curve = self._under_way.pop(trial_id, {})
        if finished and curve:
            self._finished.append(curve)

    def outlook(self, trial_id: str) -> tuple[float, float] | None:
        """What a trial under way may reach at best, and what to expect, as values of the metric.

        None while too few trials have finished, or the trial has told nothing yet.
        """
        curve = self._under_way.get(trial_id)
        if not curve:
            return None
        epoch = max(curve)
        reductions = [
            other[max(other)] / other[epoch] for other in self._finished if epoch in other
        ]
        if len(reductions) < _LEAST_CURVES:
            return None
        best, expected = (
            float(value_at(self._metric, curve[epoch] * reduction))
            for reduction in (min(reductions), median(reductions))
        )
        return best, expected
