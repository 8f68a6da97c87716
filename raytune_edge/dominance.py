"""Which of several points are better, when better means several things. Smaller is better here.

Points are arrays (n, d) float64 of ``n`` points in ``d`` goals; infinity stands for what is not
known. Sets are as small as an experiment's: a few hundred points, a few goals.
"""

from __future__ import annotations

import heapq

import numpy as np
import numpy.typing as npt

__all__ = ["by_hypervolume", "front_numbers", "hypervolume", "joint_noise", "order"]
__all__ += ["reference_beyond", "undominated"]

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]
Flags = npt.NDArray[np.bool_]

_BEYOND_WORST = 0.1
_NOISE_FLOOR = 0.05


def undominated(points: Floats) -> Flags:
    """Which points (n,) no other dominates; equal points don't dominate one another.

    >>> undominated(np.array([[1.0, 4.0], [2.0, 2.0], [2.0, 3.0], [2.0, 2.0]])).tolist()
    [True, True, False, True]
    """
    return np.asarray(~_dominates(points).any(axis=0))


def _dominates(points: Floats) -> Flags:
    """Whether the first of two points dominates the second: (n, n)."""
    nowhere_worse = np.ones((len(points), len(points)), dtype=bool)
    for goal in points.T:
        nowhere_worse &= goal[:, None] <= goal[None]
    return nowhere_worse & ~nowhere_worse.T


def front_numbers(points: Floats) -> Indices:
    """The front (n,) that each point lies on: 0 where no other point dominates, and so on inwards.

    A point dominates another if it is nowhere worse and somewhere better.

    Source: Deb et al., "A Fast and Elitist Multiobjective Genetic Algorithm: NSGA-II", 2002.

    >>> front_numbers(np.array([[1.0, 4.0], [2.0, 2.0], [2.0, 3.0], [4.0, 4.0]])).tolist()
    [0, 0, 1, 2]
    """
    dominates = _dominates(points)
    numbers = np.full(len(points), -1)
    number = 0
    while (left := numbers < 0).any():
        dominated = dominates[left].any(axis=0)
        numbers[left & ~dominated] = number
        number += 1
    return numbers


def hypervolume(points: Floats, reference: Floats) -> float:
    """The volume between ``reference`` (d,) and what ``points`` dominate.

    Points that are not better than the reference in every goal add nothing.

    Source: slicing, after While et al., "A Faster Algorithm for Calculating Hypervolume", 2006.

    >>> hypervolume(np.array([[1.0, 3.0], [2.0, 1.0]]), np.array([4.0, 4.0]))
    7.0
    """
    points = points[(points < reference).all(axis=1)]
    if not len(points):
        return 0.0
    points = points[np.argsort(points[:, 0], kind="stable")]
    ends = np.append(points[1:, 0], reference[0])
    if points.shape[1] == 1:
        return float(reference[0] - points[0, 0])
    if points.shape[1] == 2:
        heights = reference[1] - np.minimum.accumulate(points[:, 1])
        return float(np.sum((ends - points[:, 0]) * heights))
    return sum(
        float(end - point[0]) * hypervolume(points[: place + 1, 1:], reference[1:])
        for place, (point, end) in enumerate(zip(points, ends, strict=True))
        if end > point[0]
    )


def by_hypervolume(points: Floats, reference: Floats) -> list[int]:
    """Indices of ``points``: each next one adds the most hypervolume to those before it.

    Points close to one another don't crowd out the rest: the first that is taken stands for them.

    Source: greedy subset selection, Guerreiro et al., "Greedy Hypervolume Subset Selection in Low
    Dimensions", 2016. A point never adds more to a larger set, so what it added before is a bound.
    """
    heap = [(-hypervolume(point[None], reference), place) for place, point in enumerate(points)]
    heapq.heapify(heap)
    taken: list[int] = []
    volume = 0.0
    fresh = dict.fromkeys(range(len(points)), 0)
    while heap:
        gain, place = heapq.heappop(heap)
        if fresh[place] == len(taken):
            taken.append(place)
            volume -= gain
        else:
            fresh[place] = len(taken)
            more = hypervolume(points[[*taken, place]], reference) - volume
            heapq.heappush(heap, (-more, place))
    return taken


def order(points: Floats, violations: Floats) -> list[int]:
    """Indices of ``points`` from the best to the worst.

    Feasible points come first: by front, and on one front as `by_hypervolume` says, measured from
    a little beyond the worst that is known. Then infeasible ones, the smallest violation first.

    Args:
        points: (n, d), smaller is better, infinity where not known.
        violations: (n,), 0 where every constraint holds.
    """
    feasible = np.flatnonzero(violations <= 0)
    ordered: list[int] = []
    if len(feasible):
        inside = points[feasible]
        reference = reference_beyond(inside)
        numbers = front_numbers(inside)
        for number in range(numbers.max() + 1):
            front = np.flatnonzero(numbers == number)
            ordered += feasible[front[by_hypervolume(inside[front], reference)]].tolist()
    infeasible = np.flatnonzero(violations > 0)
    ordered += infeasible[np.argsort(violations[infeasible], kind="stable")].tolist()
    return ordered


def reference_beyond(points: Floats) -> Floats:
    """A reference (d,) for `hypervolume`, a little worse than the worst known of ``points``."""
    known = np.where(np.isfinite(points), points, np.nan)
    known = np.where(np.isnan(known).all(axis=0), 0.0, known)
    worst, best = np.nanmax(known, axis=0), np.nanmin(known, axis=0)
    return np.asarray(worst + _BEYOND_WORST * np.maximum(worst - best, 1e-12))


def joint_noise(
    metric: str, first: Floats | float, second: Floats | float, halves: Floats | float = 0.0
) -> Floats:
    """By how much two figures of a metric may differ by noise alone.

    That is the sum of both half intervals, and at least 5 % of the smaller figure, since on shared
    machines the spread between runs is wider than within one. What is counted has no noise. It is
    the rule of `records.within_noise`, for any metric and many figures at once.

    Args:
        metric: Its name in `records.METRIC_UNITS`.
        halves: Sum of both half intervals, NaN where unknown.

    >>> float(joint_noise("latency_p50_ms", 1.0, 1.2)), float(joint_noise("macs", 100, 120))
    (0.05, 0.0)
    """
    timed = metric.endswith(("_ms", "_s", "_fps")) and not metric.startswith("predicted_")
    smaller = np.minimum(np.abs(first), np.abs(second))
    return np.asarray(np.maximum(np.nan_to_num(halves), _NOISE_FLOOR * timed * smaller))
