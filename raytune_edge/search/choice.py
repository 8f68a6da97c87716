"""Which of several networks not yet tried promises most: pure functions of what is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from raytune_edge.dominance import front_numbers, hypervolume, order, reference_beyond
from raytune_edge.objective import Objective
from raytune_edge.search.prediction import Regression, value_at

__all__ = ["Evidence", "expected_gains", "ranking", "regressions"]

Floats = npt.NDArray[np.float64]

_LEAST_KNOWN = 6
_SAMPLES = 16
_FAR = 50.0  # of logarithms: beyond, a prediction says nothing


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What is known of one network.

    Attributes:
        point: Its coordinates in the space, and its sizes where they are known.
        losses: The goals' figures, smaller is better.
        violation: By how much it misses the limits; infinite for a network that is no use at all.
        metrics: What it measured, for `Regression`: accuracy is what it has, or is expected to
            have, after its last epoch, and absent where it was not retrained.
    """

    point: tuple[float, ...]
    losses: tuple[float, ...]
    violation: float
    metrics: Mapping[str, float]


def ranking(known: Sequence[Evidence]) -> list[int]:
    """Indices of ``known`` from the best network to the worst: see `dominance.order`."""
    losses = np.array([each.losses for each in known])
    return order(losses, np.array([each.violation for each in known]))


def regressions(known: Sequence[Evidence], metrics: Sequence[str]) -> dict[str, Regression]:
    """A regression of each metric that enough networks have told."""
    fitted = {}
    for metric in metrics:
        rows = [each for each in known if np.isfinite(each.metrics.get(metric, np.nan))]
        if len(rows) >= _LEAST_KNOWN:
            points = np.array([each.point for each in rows])
            fitted[metric] = Regression(
                metric, points, np.array([each.metrics[metric] for each in rows])
            )
    return fitted


def expected_gains(
    objective: Objective,
    known: Sequence[Evidence],
    fitted: Mapping[str, Regression],
    candidates: Floats,
    rng: np.random.RandomState,
    certain: Mapping[str, Floats] | None = None,
) -> Floats | None:
    """By how much each candidate (m, d) is expected to enlarge the front's hypervolume: (m,).

    The mean over samples of what the regressions predict; a sample that misses a limit adds
    nothing. None while a goal can't be predicted or nothing is feasible.

    Args:
        certain: Figures (m,) by metric that are known of all candidates: they are not predicted.

    Source: expected hypervolume improvement, Emmerich et al., "Single- and Multiobjective
    Evolutionary Optimization Assisted by Gaussian Random Field Metamodels", 2006.
    """
    inside = np.array([each.losses for each in known if each.violation <= 0])
    shape = (_SAMPLES, len(candidates))
    draws = {name: np.broadcast_to(figures, shape) for name, figures in (certain or {}).items()}
    for name, regression in fitted.items():
        if name not in draws:
            mean, deviation = regression.predict(candidates)
            logs = mean + deviation * rng.standard_normal(shape)
            draws[name] = value_at(name, np.exp(np.clip(logs, -_FAR, _FAR)))
    if not len(inside) or any(name not in draws for name, _ in objective.goals):
        return None
    feasible = np.ones((_SAMPLES, len(candidates)), dtype=bool)
    for name in draws:
        feasible &= draws[name] <= objective.upper.get(name, np.inf)
        feasible &= draws[name] >= objective.lower.get(name, -np.inf)
    losses = np.stack([sign * draws[name] for name, sign in objective.goals], axis=2)
    reference = reference_beyond(inside)
    front = inside[front_numbers(inside) == 0]
    before = hypervolume(front, reference)
    gains = np.zeros((_SAMPLES, len(candidates)))
    for sample, candidate in np.argwhere(feasible):
        added = np.vstack([front, losses[sample, candidate]])
        gains[sample, candidate] = hypervolume(added, reference) - before
    return np.asarray(gains.mean(axis=0))
