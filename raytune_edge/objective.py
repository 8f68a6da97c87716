"""Metrics → score: any feasible network before any infeasible one, and always finite."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from raytune_edge.records import METRIC_UNITS

__all__ = ["WORST_SCORE", "Objective", "Verdict"]

WORST_SCORE = -1.0
"""Score of a network that no device can run or whose figures are not numbers."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What an `Objective` makes of some metrics.

    Attributes:
        score: Finite, larger is better; at least 0 when feasible, in [-1, 0) when not.
        feasible: Whether every constraint whose metric is known holds.
        reason: The constraints that are missed, each with value and limit; "" when feasible.
    """

    score: float
    feasible: bool
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Objective:
    """What the search should look for.

    Exactly one of ``maximize`` and ``minimize`` names the goal; the rest are constraints.

    Attributes:
        maximize: Metric to maximise, such as ``"top1"``.
        minimize: Metric to minimise, such as ``"latency_p50_ms"``.
        latency_budget_ms: Largest ``latency_p50_ms`` that is feasible.
        top1_floor: Smallest ``top1`` that is feasible, a fraction.
        at_most: More upper limits by metric, such as ``{"params": 100_000}``.
        at_least: More lower limits by metric, such as ``{"throughput_fps": 200}``.

    Raises:
        ValueError: On construction, for an unknown metric or a limit that is not above 0.

    >>> objective = Objective(maximize="top1", latency_budget_ms=0.8)
    >>> objective.verdict({"top1": 0.9, "latency_p50_ms": 0.6})
    Verdict(score=0.9, feasible=True, reason='')
    >>> objective.verdict({"top1": 0.99, "latency_p50_ms": 1.6}).reason
    'latency_p50_ms 1.6 ms is over the limit of 0.8 ms'
    """

    maximize: str | None = None
    minimize: str | None = None
    latency_budget_ms: float | None = None
    top1_floor: float | None = None
    at_most: Mapping[str, float] = field(default_factory=dict)
    at_least: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if (self.maximize is None) == (self.minimize is None):
            raise ValueError(
                "Objective: expected exactly one of maximize= and minimize=, "
                f"got maximize={self.maximize!r} and minimize={self.minimize!r}"
            )
        for name in (self.maximize or self.minimize, *self.at_most, *self.at_least):
            if name not in METRIC_UNITS:
                raise ValueError(
                    f"Objective: no metric is called {name!r}; there are {sorted(METRIC_UNITS)}"
                )
        for name, limit in (*self._upper().items(), *self._lower().items()):
            if not (math.isfinite(limit) and limit > 0):
                raise ValueError(
                    f"Objective: the limit on {name} must be a finite number above 0, got {limit!r}"
                )

    def _upper(self) -> dict[str, float]:
        budget = self.latency_budget_ms
        return {**self.at_most, **({} if budget is None else {"latency_p50_ms": budget})}

    def _lower(self) -> dict[str, float]:
        floor = self.top1_floor
        return {**self.at_least, **({} if floor is None else {"top1": floor})}

    def verdict(self, metrics: Mapping[str, float]) -> Verdict:
        """Judge ``metrics``. A metric that is absent or NaN is unknown and misses no constraint.

        A feasible network scores its goal: the metric itself when maximised, ``1 / (1 + metric)``
        when minimised, 0 while unknown. An infeasible one scores ``-miss / (1 + miss)``, where
        ``miss`` sums by how much of its limit each constraint is missed.
        """
        misses: list[tuple[float, str]] = []
        for sign, word, limits in ((1, "over", self._upper()), (-1, "under", self._lower())):
            for name, limit in limits.items():
                value = metrics.get(name, math.nan)
                if sign * (value - limit) > 0:
                    unit = METRIC_UNITS[name]
                    text = f"{name} {value:.4g} {unit} is {word} the limit of {limit:.4g} {unit}"
                    misses.append((sign * (value - limit) / limit, text))
        if misses:
            miss = sum(size for size, _ in misses)
            score = -miss / (1 + miss) if math.isfinite(miss) else WORST_SCORE
            return Verdict(score=score, feasible=False, reason="; ".join(t for _, t in misses))
        return Verdict(score=self._goal(metrics), feasible=True)

    def _goal(self, metrics: Mapping[str, float]) -> float:
        value = metrics.get(self.maximize or self.minimize or "", math.nan)
        if not math.isfinite(value):
            return 0.0
        return max(value, 0.0) if self.maximize else 1 / (1 + max(value, 0.0))
