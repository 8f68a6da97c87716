"""Metrics → score: any feasible network before any infeasible one, and always finite."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from raytune_edge.records import METRIC_UNITS, SHAPE_METRICS

__all__ = ["ENDS", "WORST_SCORE", "Objective", "Verdict", "trained"]

ENDS = ("done", "infeasible", "collapsed", "unsupported")
"""The ``stage`` of a trial's last report, where it came to an end of its own."""

WORST_SCORE = -1.0
"""Score of a network that no device can run or whose figures are not numbers."""

_COMPLETE = 1e-6


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What an `Objective` makes of some metrics.

    Attributes:
        score: Finite, larger is better; at least 0 when feasible, in [-1, 0) when not.
        feasible: Whether every constraint whose metric is known holds.
        reason: The constraints that are missed, each with value and limit; "" when feasible.
        violation: By how much of its limit each constraint is missed, summed; 0 when feasible.
    """

    score: float
    feasible: bool
    reason: str = ""
    violation: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Objective:
    """What the search should look for.

    ``maximize`` and ``minimize`` name the goals, at least one in all; the rest are constraints.
    With several goals the search looks for their front.

    Attributes:
        maximize: Metric to maximise, such as ``"top1"``, or several.
        minimize: Metric to minimise, such as ``"latency_p50_ms"``, or several.
        latency_budget_ms: Largest ``latency_p50_ms`` that is feasible.
        top1_floor: Smallest ``top1`` that is feasible, a fraction.
        at_most: More upper limits by metric, such as ``{"params": 100_000}``.
        at_least: More lower limits by metric, such as ``{"throughput_fps": 200}``.

    Raises:
        ValueError: On construction, for an unknown metric, one that is named twice, or a limit
            that is not above 0, or above 1 for a fraction.

    >>> objective = Objective(maximize="top1", latency_budget_ms=0.8)
    >>> objective.verdict({"top1": 0.9, "latency_p50_ms": 0.6})
    Verdict(score=0.9, feasible=True, reason='', violation=0.0)
    >>> objective.verdict({"top1": 0.99, "latency_p50_ms": 1.6}).reason
    'latency_p50_ms 1.6 ms is over the limit of 0.8 ms'
    >>> front = Objective(maximize="top1", minimize="latency_p50_ms", top1_floor=0.8)
    >>> front.losses({"top1": 0.9, "latency_p50_ms": 0.6})
    (-0.9, 0.6)
    """

    maximize: str | tuple[str, ...] | None = None
    minimize: str | tuple[str, ...] | None = None
    latency_budget_ms: float | None = None
    top1_floor: float | None = None
    at_most: Mapping[str, float] = field(default_factory=dict)
    at_least: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names = [name for name, _ in self.goals]
        if not names or len(set(names)) < len(names):
            raise ValueError(
                "Objective: expected at least one metric in maximize= and minimize=, none twice, "
                f"got maximize={self.maximize!r} and minimize={self.minimize!r}"
            )
        for name in (*names, *self.at_most, *self.at_least):
            if name not in METRIC_UNITS:
                raise ValueError(
                    f"Objective: no metric is called {name!r}; there are {sorted(METRIC_UNITS)}"
                )
        for name, short, value, others in (
            ("latency_p50_ms", "latency_budget_ms", self.latency_budget_ms, self.at_most),
            ("top1", "top1_floor", self.top1_floor, self.at_least),
        ):
            if value is not None and name in others:
                raise ValueError(
                    f"Objective: {name} has two limits, {short}={value!r} and {others[name]!r}; "
                    "give one of them"
                )
        for name, limit in (*self.upper.items(), *self.lower.items()):
            _check_limit(name, limit)

    @property
    def goals(self) -> tuple[tuple[str, int], ...]:
        """Each goal's metric, with -1 where it is maximised and 1 where it is minimised."""
        return (
            *((name, -1) for name in _names(self.maximize)),
            *((name, 1) for name in _names(self.minimize)),
        )

    @property
    def upper(self) -> dict[str, float]:
        """Upper limits by metric."""
        budget = self.latency_budget_ms
        return {**self.at_most, **({} if budget is None else {"latency_p50_ms": budget})}

    @property
    def lower(self) -> dict[str, float]:
        """Lower limits by metric."""
        floor = self.top1_floor
        return {**self.at_least, **({} if floor is None else {"top1": floor})}

    @property
    def metrics(self) -> frozenset[str]:
        """All that goals and limits are about."""
        return frozenset({name for name, _ in self.goals} | {*self.upper, *self.lower})

    def losses(self, metrics: Mapping[str, float]) -> tuple[float, ...]:
        """The goals' figures, smaller is better; infinity for one that is not known."""
        figures = (sign * metrics.get(name, math.nan) for name, sign in self.goals)
        return tuple(figure if math.isfinite(figure) else math.inf for figure in figures)

    def verdict(self, metrics: Mapping[str, float]) -> Verdict:
        """Judge ``metrics``. A metric that is absent or NaN is unknown and misses no constraint.

        A feasible network scores its goal: the metric itself when maximised, ``1 / (1 + metric)``
        when minimised; of several goals it scores their geometric mean. A goal that is not known
        yet counts as its limit, the worst that is allowed. Where it has none, the network scores
        less than any whose goals are all known, between 0 and 1e-6 by those that are. An
        infeasible network scores ``-miss / (1 + miss)``, where ``miss`` sums by how much of its
        limit each constraint is missed.
        """
        misses: list[tuple[float, str]] = []
        for sign, word, limits in ((1, "over", self.upper), (-1, "under", self.lower)):
            for name, limit in limits.items():
                value = metrics.get(name, math.nan)
                if sign * (value - limit) > 0:
                    unit = METRIC_UNITS[name]
                    text = f"{name} {value:.4g} {unit} is {word} the limit of {limit:.4g} {unit}"
                    misses.append((sign * (value - limit) / limit, text))
        if misses:
            miss = sum(size for size, _ in misses)
            score = -miss / (1 + miss) if math.isfinite(miss) else WORST_SCORE
            reason = "; ".join(text for _, text in misses)
            return Verdict(score=score, feasible=False, reason=reason, violation=miss)
        return Verdict(score=self._goal(metrics), feasible=True)

    def judge(self, report: Mapping[str, Any]) -> Verdict:
        """Judge a trial's report, as `verdict` does.

        One that ended as infeasible before it was retrained is judged by its shape alone: what it
        tells of accuracy is that of an untrained network.
        """
        if report.get("stage") == "infeasible" and not trained(report):
            report = {name: report[name] for name in SHAPE_METRICS if name in report}
        return self.verdict(report)

    def _goal(self, metrics: Mapping[str, float]) -> float:
        scores = []
        for name, sign in self.goals:
            value = metrics.get(name, math.nan)
            if not math.isfinite(value):
                value = (self.lower if sign < 0 else self.upper).get(name, math.nan)
            if math.isfinite(value):
                scores.append(max(value, 0.0) if sign < 0 else 1 / (1 + max(value, 0.0)))
        mean = math.prod(score ** (1 / len(scores)) for score in scores) if scores else 0.0
        if len(scores) < len(self.goals):
            return _COMPLETE * mean / (1 + mean)
        return mean if len(self.goals) == 1 else max(mean, _COMPLETE)


def trained(report: Mapping[str, Any]) -> bool:
    """Whether a trial's last report is of a network that was retrained to its end.

    That is then tested, and only then. One that misses a limit may end either way: before it was
    retrained, or after its last measurement.
    """
    return report.get("stage") == "done" or math.isfinite(report.get("test_top1", math.nan))


def _check_limit(name: str, limit: float) -> None:
    if not (math.isfinite(limit) and limit > 0):
        raise ValueError(
            f"Objective: the limit on {name} must be a finite number above 0, got {limit!r}"
        )
    if METRIC_UNITS[name].startswith("fraction") and limit > 1:
        raise ValueError(
            f"Objective: {name} is a fraction, so its limit must be above 0 and at most 1, got "
            f"{limit!r}; 92 % is 0.92"
        )


def _names(metrics: str | tuple[str, ...] | None) -> tuple[str, ...]:
    if metrics is None:
        return ()
    return (metrics,) if isinstance(metrics, str) else tuple(metrics)
