"""The folder of results."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from raytune_edge.analysis import best_trial, pareto_front, sections, to_frame, write_results
from raytune_edge.errors import OutputError


@pytest.fixture(autouse=True)
def _short_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is in the report is `test_report`'s."""
    monkeypatch.setattr(sections, "all_sections", lambda results, **settings: [])


def test_everything_is_written_and_reads_back(any_grid: Any, tmp_path: Path, capsys: Any) -> None:
    written = write_results(any_grid, tmp_path / "new" / "folder", budget_ms=0.8)
    frame = to_frame(any_grid)
    rows = pd.read_csv(written.trials)
    assert rows["trial_id"].tolist() == frame["trial_id"].tolist()
    assert rows["status"].tolist() == frame["status"].tolist()
    front = pd.read_csv(written.front)
    assert front["trial_id"].tolist() == pareto_front(frame)["trial_id"].tolist()
    assert written.picture.read_bytes()[:4] == b"\x89PNG"
    assert "<html" in written.report.read_text()
    assert capsys.readouterr().out == ""


def test_the_best_trial_has_the_highest_score_and_of_equals_is_faster(trials: Any) -> None:
    grid = trials(3)
    for trial, latency in zip(grid.trials, (0.7, 0.5, 0.6), strict=True):
        trial.last_result |= {
            "stage": "done", "feasible": True, "score": 0.9, "latency_p50_ms": latency
        }  # fmt: skip
    best = best_trial(grid)
    assert best is not None
    assert best["trial"] == 2


def test_the_best_networks_files_lie_in_best(trials: Any, tmp_path: Path) -> None:
    source = tmp_path / "checkpoint"
    source.mkdir()
    for name in ("model.onnx", "manifest.json", ".tune_metadata"):
        (source / name).write_text(name)
    grid = trials(12)
    local = SimpleNamespace(type_name="local")
    for trial in grid.trials:
        trial.checkpoint = SimpleNamespace(path=str(source), filesystem=local)
    target = tmp_path / "results"
    (target / "best").mkdir(parents=True)
    (target / "best" / "stale.txt").write_text("of an earlier search")
    written = write_results(grid, target)
    assert written.model == target / "best" / "model.onnx"
    assert sorted(os.listdir(target / "best")) == ["manifest.json", "model.onnx"]


def test_a_folder_that_cannot_be_written_is_refused_before_anything_is(
    trials: Any, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match=r"cannot be written to .*Tune's storage is untouched"):
        write_results(trials(3), tmp_path / "file" / "folder")
    assert (tmp_path / "file").read_text() == "in the way"
