"""`WandbCallback` against a W&B that fails, hangs or is not there."""

from __future__ import annotations

import logging
import pickle
import sys
import threading
import time
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from raytune_edge.callbacks import WandbCallback
from raytune_edge.callbacks.wandb import _row

REPORT = {"top1": 0.9, "stage": "retrain", "training_iteration": 1}


class Run:
    """What ``wandb.init`` returns, as a list of what was asked of it."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.summary: dict[str, Any] = {}
        self.exit: int | None = None

    def log(self, row: dict[str, Any]) -> None:
        self.rows.append(row)

    def finish(self, exit_code: int) -> None:
        self.exit = exit_code


class FakeWandb:
    """As much of W&B as the callback uses; ``trouble`` is called before each ``init``."""

    def __init__(self) -> None:
        self.runs: dict[str, Run] = {}
        self.options: dict[str, dict[str, Any]] = {}
        self.key = False
        self.trouble = lambda: None
        self.Settings = SimpleNamespace
        self.Table = self.Image = lambda *args, **kwargs: None

    def init(self, **options: Any) -> Run:
        self.trouble()
        self.options[options["id"]] = options
        return self.runs.setdefault(options["id"], Run())

    def login(self, *, prompt: bool) -> bool:
        assert prompt is False
        return self.key


@pytest.fixture
def wandb(monkeypatch: pytest.MonkeyPatch) -> FakeWandb:
    fake = FakeWandb()
    monkeypatch.setitem(sys.modules, "wandb", fake)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    return fake


def told(records: list[logging.LogRecord]) -> list[str]:
    return [record.getMessage() for record in records if record.name.startswith("raytune_edge")]


def test_reports_go_to_the_trials_run_in_order(wandb: FakeWandb, trial: Any, tmp_path: Any) -> None:
    callback = WandbCallback("p", dir=tmp_path)
    trials = [trial(0), trial(1)]
    for step in range(5):
        for each in trials:
            callback.log_trial_result(step, each, {**REPORT, "training_iteration": step})
    trials[0].last_result = {"stage": "done", "reason": ""}
    callback.log_trial_end(trials[0])
    callback.log_trial_end(trials[1], failed=True)
    callback.on_experiment_end([])
    for each in trials:
        rows = wandb.runs[each.trial_id].rows
        assert [row["training_iteration"] for row in rows] == list(range(5))
    assert wandb.runs["t0"].summary["status"] == "done"
    assert wandb.runs["t0"].summary["units"]["latency_p50_ms"] == "ms"
    assert (wandb.runs["t0"].exit, wandb.runs["t1"].exit) == (0, 1)


def test_a_failing_wandb_is_told_once_and_costs_nothing(
    wandb: FakeWandb, trial: Any, caplog: pytest.LogCaptureFixture, tmp_path: Any
) -> None:
    def refuse() -> None:
        raise OSError("no space left")

    wandb.trouble = refuse
    callback = WandbCallback("p", dir=tmp_path)
    for number in range(3):
        callback.log_trial_result(1, trial(number), REPORT)
        callback.log_trial_end(trial(number))
    callback.on_experiment_end([])
    (message,) = told(caplog.records)
    assert "the run of a trial (3 times)" in message
    assert "a report (3 times)" in message
    assert "no space left" in message


def test_an_error_that_cannot_be_read_loses_the_reason_only(
    wandb: FakeWandb, trial: Any, caplog: pytest.LogCaptureFixture, tmp_path: Any
) -> None:
    def unreadable() -> None:
        raise OSError("the storage is away")

    callback = WandbCallback("p", dir=tmp_path)
    callback.log_trial_result(1, trial(), REPORT)
    callback.log_trial_end(trial(get_error=unreadable), failed=True)
    callback.on_experiment_end([])
    assert wandb.runs["t0"].summary["status"] == "failed"
    assert wandb.runs["t0"].exit == 1
    (message,) = told(caplog.records)
    assert "the storage is away" in message


def test_an_absent_wandb_is_told_once(
    monkeypatch: pytest.MonkeyPatch, trial: Any, caplog: pytest.LogCaptureFixture, tmp_path: Any
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    callback = WandbCallback("p", dir=tmp_path)
    callback.log_trial_result(1, trial(), REPORT)
    callback.on_experiment_end([])
    (message,) = told(caplog.records)
    assert "ModuleNotFoundError" in message or "ImportError" in message


def test_a_hanging_wandb_delays_no_trial_and_ends_the_experiment(
    wandb: FakeWandb, trial: Any, caplog: pytest.LogCaptureFixture, tmp_path: Any
) -> None:
    let_go = threading.Event()
    wandb.trouble = lambda: let_go.wait(60) and None
    callback = WandbCallback("p", dir=tmp_path, finish_s=0.2)
    began = time.monotonic()
    for step in range(1000):
        callback.log_trial_result(step, trial(), REPORT)
    callback.on_experiment_end([])
    took = time.monotonic() - began
    let_go.set()
    assert took < 30  # far below the hang, far above any machine's noise
    (message,) = told(caplog.records)
    assert "still to be logged" in message


@pytest.mark.parametrize(
    ("mode", "environment", "key", "expected", "warned"),
    [
        (None, None, True, "offline", False),
        (None, "online", True, "online", False),
        ("online", None, True, "online", False),
        ("online", None, False, "offline", True),
        (None, "disabled", False, "disabled", False),
        ("offline", "online", True, "offline", False),
    ],
)
def test_mode_is_offline_unless_asked_for_with_a_key(
    wandb: FakeWandb, trial: Any, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture, tmp_path: Any,
    mode: Any, environment: str | None, key: bool, expected: str, warned: bool,
) -> None:  # fmt: skip
    if environment:
        monkeypatch.setenv("WANDB_MODE", environment)
    wandb.key = key
    callback = WandbCallback("p", mode=mode, dir=tmp_path)
    callback.log_trial_result(1, trial(), REPORT)
    callback.on_experiment_end([])
    assert wandb.options["t0"]["mode"] == expected
    assert any("no key" in message for message in told(caplog.records)) == warned


def test_a_retried_trial_keeps_its_run(wandb: FakeWandb, trial: Any, tmp_path: Any) -> None:
    callback = WandbCallback("p", dir=tmp_path)
    opened = []
    wandb.trouble = lambda: opened.append(1)
    for _ in range(3):
        callback.log_trial_start(trial())
        callback.log_trial_result(1, trial(), REPORT)
    callback.on_experiment_end([])
    assert len(opened) == 1
    assert len(wandb.runs["t0"].rows) == 3


def test_what_a_trial_left_open_is_closed_as_unfinished(
    wandb: FakeWandb, trial: Any, tmp_path: Any
) -> None:
    callback = WandbCallback("p", dir=tmp_path)
    running = trial(last_result={**REPORT})
    callback.log_trial_result(1, running, REPORT)
    callback.on_experiment_end([running])
    assert wandb.runs["t0"].summary["status"] == "unfinished"
    assert wandb.runs["t0"].exit == 0


def test_an_abandoned_folder_of_the_same_trial_is_replaced(
    wandb: FakeWandb, trial: Any, tmp_path: Any
) -> None:
    old = tmp_path / "wandb" / "offline-run-20260101_000000-t0"
    other = tmp_path / "wandb" / "offline-run-20260101_000000-t00"
    for folder in (old, other):
        folder.mkdir(parents=True)
    callback = WandbCallback("p", dir=tmp_path)
    callback.log_trial_result(1, trial(), REPORT)
    callback.on_experiment_end([])
    assert not old.exists()
    assert other.exists()


def test_only_numbers_and_texts_are_logged() -> None:
    report = {
        "top1": np.float32(0.5), "epoch": np.int64(3), "feasible": True, "stage": "done",
        "picture": np.zeros((2, 2)), "config": {"a": 1}, "none": None,
    }  # fmt: skip
    assert _row(report) == {"top1": 0.5, "epoch": 3, "feasible": True, "stage": "done"}


def test_the_callback_travels_without_its_thread(
    wandb: FakeWandb, trial: Any, tmp_path: Any
) -> None:
    callback = WandbCallback("p", dir=tmp_path)
    callback.log_trial_start(trial())
    other = pickle.loads(pickle.dumps(callback))
    callback.on_experiment_end([])
    other.log_trial_result(1, trial(1), REPORT)
    other.on_experiment_end([])
    assert set(wandb.runs) == {"t0", "t1"}
