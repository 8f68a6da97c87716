"""Reading what Tune left: from memory, from its folder, beside its own loggers."""

from __future__ import annotations

import hashlib
import json
import shutil
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from ray.air.integrations.wandb import WandbLoggerCallback
from ray.tune import ExperimentAnalysis

import raytune_edge as rte
from raytune_edge.analysis import best_trial, to_history, to_spans
from raytune_edge.cli import main


def test_a_grid_an_analysis_and_a_folder_are_read_alike(results: Any) -> None:
    frame = rte.to_frame(results)
    assert frame["status"].tolist() == [
        "infeasible", "done", "done", "done", "done", "failed", "failed", "done"
    ]  # fmt: skip
    folder = results.experiment_path
    for other in (ExperimentAnalysis(folder), folder, Path(folder), Path(folder).parent):
        pd.testing.assert_frame_equal(rte.to_frame(other), frame)
    assert to_history(results)["trial"].value_counts().loc[2] == 6
    assert set(to_spans(results)["where"]) == {"trainer", "host/ncs:0"}


def test_failed_trials_keep_their_reason_once_ray_is_gone(results: Any, tmp_path: Path) -> None:
    # Tune's copies on the driver are not needed: the folder alone tells.
    moved = tmp_path / "moved"
    shutil.copytree(results.experiment_path, moved)
    (lost,) = moved.glob("*_00006_*/error.txt")
    lost.unlink()
    code = "import sys, raytune_edge as rte; print(*rte.to_frame(sys.argv[1]).reason, sep='\\n')"
    printed = subprocess.run(
        [sys.executable, "-c", code, str(moved)], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert printed[5] == "RuntimeError: the device died <b>for good</b>"
    assert printed[6] == "the trial failed without telling why"


def test_the_best_network_lies_beside_its_manifest(results: Any, tmp_path: Path) -> None:
    written = rte.write_results(results, tmp_path, budget_ms=0.8)
    assert written.model is not None
    manifest = json.loads((written.model.parent / "manifest.json").read_text())
    for name, told in manifest["sha256"].items():
        content = (written.model.parent / name).read_bytes()
        assert hashlib.sha256(content).hexdigest() == told
    assert "best" in str(written.model)
    assert best_trial(results)["score"] == rte.to_frame(results)["score"].max()


def test_tensorboard_has_every_number(results: Any) -> None:
    from tensorboardX.proto.event_pb2 import Event

    (trial_folder,) = Path(results.experiment_path).glob("*_00001_*")
    (file,) = trial_folder.glob("events.out.tfevents.*")
    data, at, tags = file.read_bytes(), 0, set()
    while at < len(data):
        (length,) = struct.unpack_from("<Q", data, at)
        event = Event.FromString(data[at + 12 : at + 12 + length])
        tags |= {value.tag for value in event.summary.value}
        at += length + 16
    assert {"ray/tune/top1", "ray/tune/latency_p50_ms", "ray/tune/score"} <= tags


def test_tunes_own_wandb_callback_works_beside(
    search: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    config = {"pruning_ratio:stem": 0.2, "pruning_ratio:layer1": 0.2, "end": "done"}
    callback = WandbLoggerCallback(project="edge", dir=str(tmp_path), mode="offline")
    results = search([config], name="tunes", callbacks=[callback])
    assert results.num_errors == 0
    assert rte.to_frame(results)["status"].tolist() == ["done"]


def test_versions_nodes_and_sessions_are_noted(search: Any) -> None:
    config = {"pruning_ratio:stem": 0.2, "pruning_ratio:layer1": 0.2, "end": "done"}
    results = search([config], name="noted", callbacks=[rte.RunRecordCallback()])
    record = json.loads(Path(results.experiment_path, "run_record.json").read_text())
    assert record["versions"]["ray"].startswith("2.")
    assert record["nodes"][0]["resources"]["CPU"] == 2
    (session,) = record["sessions"]
    assert session["began_at"] < session["ended_at"]


def test_the_command_line_writes_the_report(
    results: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "r.html"
    assert main(["report", results.experiment_path, "-o", str(target), "--budget-ms", "0.8"]) == 0
    assert capsys.readouterr().out.strip() == str(target)
    assert "Most accurate within 0.8 ms" in target.read_text()
    assert main(["report", str(tmp_path)]) == 1
    assert "no Tune experiment in" in capsys.readouterr().err


def test_layers_are_set_against_those_of_the_unpruned_network(results: Any, tmp_path: Path) -> None:
    frame = rte.to_frame(results)
    record = Path(frame["checkpoint"].iloc[1]) / "measurement.json"
    unpruned = rte.Measurement.from_dict(json.loads(record.read_text()))
    title = "Device time by layer"
    assert title not in rte.report(results, tmp_path / "a.html").read_text()
    assert title in rte.report(results, tmp_path / "b.html", unpruned=unpruned).read_text()
