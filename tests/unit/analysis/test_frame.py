"""`to_frame` and what is read off it."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from raytune_edge.analysis import baseline, feasible, to_frame, to_history, to_spans
from raytune_edge.records import METRIC_UNITS


def test_one_row_a_trial_with_typed_columns(any_grid: Any) -> None:
    frame = to_frame(any_grid)
    assert frame["trial_id"].tolist() == [trial.trial_id for trial in any_grid.trials]
    assert frame["trial"].tolist() == list(range(1, len(any_grid.trials) + 1))
    assert (frame[list(METRIC_UNITS)].dtypes == "float64").all()
    assert frame["feasible"].dtype == frame["finished"].dtype == bool
    assert str(frame["epoch"].dtype) == "Int64"
    for name in ("stage", "reason", "flags", "signature", "device_id", "spans", "checkpoint"):
        assert all(isinstance(text, str) for text in frame[name])


def test_failed_trials_stay_with_the_last_line_of_their_error(trials: Any) -> None:
    frame = to_frame(trials(10, kind="failed"))
    assert set(frame["status"]) == {"failed"}
    assert set(frame["reason"]) == {"DeviceDiedError: gone <b>&</b>"}
    assert not frame["finished"].any()
    assert feasible(frame).empty


@pytest.mark.parametrize(
    ("status", "done", "stage", "told", "finished"),
    [
        ("TERMINATED", True, "done", "done", True),
        ("TERMINATED", True, "collapsed", "collapsed", True),
        ("TERMINATED", True, "retrain", "stopped", True),
        ("TERMINATED", False, "retrain", "unfinished", False),
        ("RUNNING", False, "retrain", "unfinished", False),
        ("PAUSED", False, "pruned", "unfinished", False),
        ("PENDING", False, "", "unfinished", False),
    ],
)
def test_status_tells_how_a_trial_ended(
    trials: Any, status: str, done: bool, stage: str, told: str, finished: bool
) -> None:
    grid = trials(1)
    grid.trials[0].status = status
    grid.trials[0].last_result |= {"stage": stage, "done": done}
    row = to_frame(grid).iloc[0]
    assert (row["status"], row["finished"]) == (told, finished)


def test_trials_are_numbered_in_the_order_in_which_they_were_made(trials: Any) -> None:
    grid = trials(12)
    expected = to_frame(grid)
    grid.trials.sort(key=lambda trial: trial.trial_id[::-1])
    pd.testing.assert_frame_equal(to_frame(grid), expected)


def test_a_trial_without_any_report_is_kept(trials: Any) -> None:
    grid = trials(2)
    grid.trials[1].has_reported_at_least_once = False  # Tune then makes up a last result
    row = to_frame(grid).iloc[1]
    assert math.isnan(row["top1"])
    assert row["stage"] == ""
    assert not row["feasible"]


def test_config_values_that_no_column_can_hold_become_text(trials: Any) -> None:
    grid = trials(1)
    grid.trials[0].config["shape"] = (1, 2)
    assert to_frame(grid)["config/shape"].tolist() == ["(1, 2)"]


def test_history_has_every_report(trials: Any) -> None:
    grid = trials(20)
    history = to_history(grid)
    told = sum(len(each) for each in grid.trial_dataframes.values())
    assert len(history) == told
    assert history.columns[:4].tolist() == ["trial", "trial_id", "stage", "epoch"]
    assert to_history(to_frame(grid)).empty


def test_spans_are_read_and_garbage_is_left_out(trials: Any) -> None:
    grid = trials(3)
    grid.trials[1].last_result["spans"] = "not json"
    grid.trials[2].last_result["spans"] = '[{"what": "measure"}, 3]'
    spans = to_spans(grid)
    assert set(spans["trial"]) == {1}
    assert spans["what"].tolist() == ["prune", "queue", "measure", "retrain"]


def test_the_baseline_is_judged_before_retraining(trials: Any) -> None:
    grid = trials(5)
    unpruned = baseline(grid)
    assert unpruned is not None
    assert unpruned["trial"] == 1
    assert unpruned["top1"] == grid.trials[0].last_result["top1_pruned"]
    assert baseline(to_frame(grid).iloc[1:]) is None


def test_what_is_no_result_is_refused(tmp_path: Any) -> None:
    with pytest.raises(ValueError, match="got int"):
        to_frame(3)
    with pytest.raises(ValueError, match="no Tune experiment in"):
        to_frame(tmp_path)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "experiment_state-1.json").write_text("{}")
    with pytest.raises(ValueError, match="several Tune experiments"):
        to_frame(tmp_path)


def test_an_empty_experiment_is_an_empty_frame() -> None:
    frame = to_frame(SimpleNamespace(trials=[], trial_dataframes={}))
    assert frame.empty
    assert "latency_p50_ms" in frame.columns
