"""Which networks are worth having: pure functions on frames.

Latency is measured, so two latencies may differ by noise alone (`dominance.joint_noise`). Such
pairs are *tied*. Fronts are made from the figures as they are, and tell ties.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pandas as pd

from raytune_edge import dominance
from raytune_edge.analysis.experiment import Results
from raytune_edge.analysis.frame import feasible, to_frame

__all__ = ["best_under", "hypervolume", "hypervolume_by", "knee_point", "pareto_front"]

Floats = npt.NDArray[np.float64]


def pareto_front(
    results: Results,
    *,
    maximize: str = "top1",
    minimize: str = "latency_p50_ms",
    infeasible: bool = False,
) -> pd.DataFrame:
    """The networks that no other beats in both metrics, the cheapest first.

    Of networks that are equal in both, the first made stands for all. Rows and columns are those
    of `to_frame`, and ``tied_with``: the trial ids, joined by spaces, of networks that noise does
    not let one tell from this one. Those are within noise of its ``minimize``, and on the front
    too or at least as good in ``maximize``.

    Args:
        maximize: Metric of which more is better.
        minimize: Metric of which less is better.
        infeasible: Also consider trials that are infeasible or did not reach their end, as long
            as both metrics are known.

    >>> import pandas as pd
    >>> trials = pd.DataFrame({
    ...     "trial_id": ["a", "b", "c", "d"], "status": "done", "feasible": True,
    ...     "top1": [0.99, 0.97, 0.96, 0.90], "latency_p50_ms": [1.0, 0.60, 0.59, 0.2],
    ... })
    >>> pareto_front(trials)[["trial_id", "top1", "latency_p50_ms", "tied_with"]]
      trial_id  top1  latency_p50_ms tied_with
    3        d  0.90            0.20
    2        c  0.96            0.59         b
    1        b  0.97            0.60         c
    0        a  0.99            1.00
    """
    rows = _candidates(results, maximize, minimize, infeasible)
    gain, cost = _values(rows, maximize), _values(rows, minimize)
    members = _undominated(gain, cost)
    front = rows.iloc[members].copy()
    near = tied(rows, minimize)[members]
    near &= np.isin(np.arange(len(rows)), members) | (gain >= gain[members, None])
    near[np.arange(len(members)), members] = False
    ids = rows["trial_id"].to_numpy(dtype=str)
    front["tied_with"] = [" ".join(ids[row]) for row in near]
    return front


def hypervolume(
    results: Results,
    *,
    maximize: str = "top1",
    minimize: str = "latency_p50_ms",
    reference: tuple[float, float] | None = None,
) -> float:
    """The area that the front dominates, in units of ``maximize`` times units of ``minimize``.

    Args:
        reference: The worst (``maximize``, ``minimize``) that counts. By default 0 and the largest
            known ``minimize`` of any trial, the unpruned network's for example.

    Returns:
        0.0 where nothing is feasible.

    >>> import pandas as pd
    >>> trials = pd.DataFrame({
    ...     "trial_id": ["a", "b"], "status": "done", "feasible": True,
    ...     "top1": [0.9, 0.5], "latency_p50_ms": [1.0, 0.5],
    ... })
    >>> hypervolume(trials, reference=(0, 2.0))  # 0.9 * (2 - 1) + 0.5 * (1 - 0.5)
    1.15
    """
    rows = _candidates(results, maximize, minimize, infeasible=False)
    reference = reference or default_reference(results, minimize)
    return _area(_values(rows, maximize), _values(rows, minimize), reference)


def hypervolume_by(
    results: Results,
    *,
    maximize: str = "top1",
    minimize: str = "latency_p50_ms",
    reference: tuple[float, float] | None = None,
) -> pd.DataFrame:
    """How `hypervolume` grew, one row for each trial in the order in which they ended.

    Columns: ``trials`` (ended so far), ``elapsed_s`` (since the first trial began), ``retrain_s``
    (retraining seconds spent so far, those of infeasible and failed trials included) and
    ``hypervolume``.
    """
    frame = to_frame(results)
    reference = reference or default_reference(frame, minimize)
    ended = frame.sort_values("ended_at", kind="stable", na_position="last")
    steps = pd.DataFrame(
        {
            "trials": np.arange(1, len(ended) + 1),
            "elapsed_s": (ended["ended_at"] - frame["started_at"].min()).to_numpy(),
            "retrain_s": ended["retrain_s"].fillna(0.0).cumsum().to_numpy(),
        }
    )
    steps["hypervolume"] = _growth(ended, maximize, minimize, reference)
    return steps


def knee_point(
    results: Results, *, maximize: str = "top1", minimize: str = "latency_p50_ms"
) -> pd.Series | None:
    """The front's network after which one pays much for little; None if there is no front.

    Both metrics are scaled to the front's extent; the knee is the point furthest above the line
    between the front's ends (the first one where all lie on that line).

    Source: Satopää et al., "Finding a 'Kneedle' in a Haystack", ICDCS workshops 2011.
    """
    front = pareto_front(results, maximize=maximize, minimize=minimize)
    if front.empty:
        return None
    gain, cost = _scaled(_values(front, maximize)), _scaled(_values(front, minimize))
    return front.iloc[int(np.argmax(np.round(gain - cost, 12)))]


def best_under(results: Results, *, latency_ms: float, maximize: str = "top1") -> pd.Series | None:
    """The feasible network with the most ``maximize`` among those within ``latency_ms`` (p50).

    Its ``tied_with`` names networks that are as good and not measurably slower or faster. None
    if no network is that fast.
    """
    frame = to_frame(results)
    front = pareto_front(frame[frame["latency_p50_ms"] <= latency_ms], maximize=maximize)
    return None if front.empty else front.iloc[-1]


def default_reference(results: Results, minimize: str) -> tuple[float, float]:
    """The reference of `hypervolume` where none is given."""
    return 0.0, float(to_frame(results)[minimize].max())


def tied(rows: pd.DataFrame, metric: str) -> npt.NDArray[np.bool_]:
    """Which pairs of rows noise does not let one tell apart in ``metric``: (rows, rows).

    Intervals are known of ``latency_p50_ms``; of other times only the spread between runs; what is
    counted, such as ``macs``, has no noise.
    """
    values, half = _values(rows, metric), np.zeros(len(rows))
    if metric == "latency_p50_ms":
        low, high = _values(rows, "latency_p50_low_ms"), _values(rows, "latency_p50_high_ms")
        half = np.nan_to_num((high - low) / 2)
    one, other = values[:, None], values[None]
    noise = dominance.joint_noise(metric, one, other, half[:, None] + half[None])
    return np.asarray(np.abs(one - other) <= noise)


def _losses(gain: Floats, cost: Floats) -> Floats:
    """As `dominance` wants them: smaller is better."""
    return np.column_stack([cost, -gain])


def _undominated(gain: Floats, cost: Floats) -> npt.NDArray[np.intp]:
    """Indices of the Pareto front by rising cost; of equal points the first."""
    losses = _losses(gain, cost)
    members = np.flatnonzero(dominance.undominated(losses))
    _, first = np.unique(losses[members], axis=0, return_index=True)
    return members[first]


def _area(gain: Floats, cost: Floats, reference: tuple[float, float]) -> float:
    worst_gain, worst_cost = reference
    return dominance.hypervolume(_losses(gain, cost), np.array([worst_cost, -worst_gain]))


def _growth(
    ended: pd.DataFrame, maximize: str, minimize: str, reference: tuple[float, float]
) -> list[float]:
    usable = ended.index.isin(_candidates(ended, maximize, minimize, infeasible=False).index)
    gain, cost = _values(ended, maximize), _values(ended, minimize)
    front: npt.NDArray[np.intp] = np.empty(0, dtype=np.intp)
    area, areas = 0.0, []
    for step, counts in enumerate(usable):
        if counts:
            pool = np.append(front, step)
            front = pool[_undominated(gain[pool], cost[pool])]
            area = _area(gain[front], cost[front], reference)
        areas.append(area)
    return areas


def _candidates(results: Results, maximize: str, minimize: str, infeasible: bool) -> pd.DataFrame:
    rows = to_frame(results) if infeasible else feasible(results)
    for name in (maximize, minimize):
        if name not in rows.columns:
            raise ValueError(f"no column is called {name!r}; there are {sorted(rows.columns)}")
    known = np.isfinite(_values(rows, maximize)) & np.isfinite(_values(rows, minimize))
    return rows[known]


def _values(rows: pd.DataFrame, name: str) -> Floats:
    if name not in rows.columns:
        return np.full(len(rows), math.nan)
    return rows[name].to_numpy(dtype="float64")


def _scaled(values: Floats) -> Floats:
    extent = values.max() - values.min()
    return (values - values.min()) / extent if extent > 0 else np.zeros_like(values)
