"""What was spent and saved."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd
import pytest

from raytune_edge.analysis import spent, to_frame
from raytune_edge.analysis.spent import epochs_saved


def test_sums_are_those_of_the_trials(trials: Any) -> None:
    grid = trials(20)
    sums = spent(grid)
    told = [trial.last_result for trial in grid.trials if trial.last_result]
    assert sums.retrain_s == pytest.approx(sum(each["retrain_s"] for each in told))
    assert sums.queue_s == pytest.approx(sum(each["queue_wait_s"] for each in told))
    assert sums.epochs == sum(each["epoch"] for each in told)
    measured = {id(each): each["spans"].count('"measure"') for each in told}
    assert sums.measurements == sum(measured.values())
    moved = sum(each["size_bytes"] * measured[id(each)] for each in told)
    assert sums.moved_bytes == pytest.approx(moved)
    begun = min(each["timestamp"] - each["time_total_s"] for each in told)
    assert sums.elapsed_s == pytest.approx(max(each["timestamp"] for each in told) - begun)


def test_epochs_saved_are_those_meant_less_those_run() -> None:
    frame = pd.DataFrame(
        {
            "status": ["done", "infeasible", "collapsed", "stopped", "failed", "done"],
            "epoch": pd.array([10, 1, 2, None, 3, 8], dtype="Int64"),
        }
    )
    assert epochs_saved(frame).tolist() == [0, 9, 8, 10, 0, 0]
    frame["config/epochs"] = [10, 6, 2, 5, 9, 8]
    assert epochs_saved(frame).tolist() == [0, 5, 0, 5, 0, 0]


def test_gate_and_stop_are_told_apart(trials: Any) -> None:
    grid = trials(3)
    for trial, stage in zip(grid.trials, ("done", "infeasible", "collapsed"), strict=True):
        trial.last_result |= {"stage": stage, "epoch": 4 if stage == "done" else 1}
    sums = spent(grid)
    assert (sums.saved_by_gate, sums.saved_by_stop) == (3, 3)


def test_nothing_known_is_zero(trials: Any) -> None:
    grid = trials(2, kind="failed")
    for trial in grid.trials:
        trial.last_result = {}
    sums = spent(to_frame(grid))
    assert (sums.elapsed_s, sums.moved_bytes, sums.measurements) == (0.0, 0.0, 0)
    assert json.dumps(sums.__dict__)
