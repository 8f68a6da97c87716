"""A finished run under another objective, without measuring or training."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from raytune_edge.analysis.experiment import Results
from raytune_edge.analysis.frame import to_frame
from raytune_edge.dominance import order, undominated
from raytune_edge.objective import WORST_SCORE, Objective, Verdict, trained
from raytune_edge.records import METRIC_UNITS

__all__ = ["replay"]


def replay(results: Results, *, objective: Objective) -> pd.DataFrame:
    """The trials as ``objective`` judges them, the best first; nothing is measured or trained.

    Rows and columns are those of `to_frame`, with ``score``, ``feasible`` and ``reason`` as
    ``objective`` finds them, and ``best``: whether no other feasible network is better. With one
    goal that is the best network (or several that are equal), with several goals the front.

    A network that the run ended as infeasible before it was retrained may be within the new limits
    by its size and latency. Its reason says so then: it is not known to be feasible, but worth a
    trial. One that was retrained all the same, as with ``gate="off"``, is judged as any other.
    Collapsed, failed, stopped and unfinished trials keep their reason and come last.

    >>> import pandas as pd
    >>> trials = pd.DataFrame({
    ...     "trial_id": ["a", "b", "c"], "status": "done", "feasible": True, "reason": "",
    ...     "top1": [0.99, 0.97, 0.90], "latency_p50_ms": [1.0, 0.6, 0.2],
    ... })
    >>> again = replay(trials, objective=Objective(maximize="top1", latency_budget_ms=0.7))
    >>> again[["trial_id", "score", "feasible", "best"]]
      trial_id  score  feasible   best
    1        b   0.97      True   True
    2        c   0.90      True  False
    0        a  -0.30     False  False
    """
    frame = to_frame(results).copy()
    rows = [{str(name): value for name, value in row.items()} for row in frame.to_dict("records")]
    if not rows:
        return frame.assign(best=False)
    verdicts = [_judge(row, objective) for row in rows]
    losses = np.array([objective.losses(_figures(row)) for row in rows])
    feasible = np.array([verdict.feasible for verdict in verdicts])
    frame["score"] = [verdict.score for verdict in verdicts]
    frame["feasible"] = feasible
    frame["reason"] = [verdict.reason for verdict in verdicts]
    frame["best"] = False
    frame.loc[frame.index[feasible], "best"] = undominated(losses[feasible])
    return frame.iloc[order(losses, np.array([verdict.violation for verdict in verdicts]))]


def _judge(row: Mapping[str, Any], objective: Objective) -> Verdict:
    figures = _figures(row)
    if row["status"] not in ("done", "infeasible"):
        return _no_use(row["reason"] or row["status"])
    if not trained({"stage": row["status"], **figures}):
        missed = objective.verdict(figures | dict.fromkeys(_LEARNT, math.nan))
        if not missed.feasible:
            return missed
        return _no_use("within the limits, but not retrained")
    judged = [*(name for name, _ in objective.goals), *objective.upper, *objective.lower]
    if unknown := [name for name in judged if not math.isfinite(figures.get(name, math.nan))]:
        return _no_use(f"{unknown[0]} is not known")
    return objective.verdict(figures)


def _no_use(reason: str) -> Verdict:
    return Verdict(score=WORST_SCORE, feasible=False, reason=reason, violation=math.inf)


def _figures(row: Mapping[str, Any]) -> dict[str, float]:
    return {name: float(row[name]) for name in METRIC_UNITS if name in row}


_LEARNT = ("top1", "top5", "val_loss", "test_top1", "test_top5", "device_top1", "device_top5")
