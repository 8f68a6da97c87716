"""Finished searches made up without running Tune."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from raytune_edge.analysis import html
from raytune_edge.records import METRIC_UNITS

Trials = Callable[..., SimpleNamespace]


def _trial(number: int, *, status: str = "TERMINATED", error: str = "", **last: Any) -> Any:
    return SimpleNamespace(
        trial_id=f"t{number:04d}",
        status=status,
        config=last.pop("config", {}),
        last_result=last,
        has_reported_at_least_once=bool(last),
        checkpoint=last.pop("checkpoint", None),
        error_file=None,
        experiment_tag=f"{number}_",
        get_error=lambda: error or None,
    )


def _metrics(rng: np.random.Generator, ratio: float, groups: list[str], start: float) -> dict:
    kept = 1 - ratio
    latency = 0.1 + 0.9 * kept**1.5 + rng.normal(0, 0.01)
    top1 = 0.99 - 0.25 * ratio**3 + rng.normal(0, 0.004)
    spans = [
        {"what": "prune", "start": start, "end": start + 1, "where": "trainer"},
        {"what": "queue", "start": start + 1, "end": start + 2, "where": "ncs:0"},
        {"what": "measure", "start": start + 2, "end": start + 4, "where": "ncs:0"},
        {"what": "retrain", "start": start + 1, "end": start + 9, "where": "trainer"},
    ]
    return {
        **dict.fromkeys(METRIC_UNITS, math.nan),
        "config": {f"pruning_ratio:{g}": float(rng.uniform(0, 2 * ratio)) for g in groups},
        "score": top1,
        "stage": "done",
        "reason": "",
        "epoch": 4,
        "feasible": True,
        "signature": f"{rng.integers(2**32):08x}",
        "top1": top1,
        "top5": min(top1 + 0.01, 1.0),
        "top1_pruned": max(top1 - 0.8 * ratio, 0.1),
        "top5_pruned": 0.5,
        "test_top1": top1 - 0.004,
        "test_top5": 1.0,
        "val_loss": 0.1,
        "macs": 40e6 * kept**2,
        "params": 270e3 * kept**2,
        "macs_ratio": kept**2,
        "params_ratio": kept**2,
        "size_bytes": 1.1e6 * kept**2,
        "latency_p50_ms": latency,
        "latency_p50_low_ms": latency - 0.02,
        "latency_p50_high_ms": latency + 0.02,
        "latency_p90_ms": latency * 1.1,
        "latency_p99_ms": latency * 1.4,
        "throughput_fps": 1500 / latency,
        "queue_wait_s": 1.0,
        "measure_s": 2.0,
        "retrain_s": 8.0,
        "flags": "",
        "device_id": "host/ncs:0",
        "spans": json.dumps(spans),
        "timestamp": start + 10,
        "time_total_s": 10.0,
    }


def make_trials(
    count: int, *, kind: str = "mixed", seed: int = 0, groups: tuple[str, ...] = ("g0", "g1", "g2")
) -> SimpleNamespace:
    """What ``ExperimentAnalysis`` offers, with ``count`` trials.

    Args:
        kind: ``"mixed"``: the unpruned network first, every tenth failed, some infeasible;
            ``"infeasible"``: none feasible; ``"failed"``: none but failures.
    """
    rng = np.random.default_rng(seed)
    trials = []
    for number in range(count):
        start = 1_700_000_000.0 + 6 * number
        ratio = 0.0 if number == 0 else float(rng.uniform(0.05, 0.9))
        last = _metrics(rng, ratio, list(groups), start)
        if kind == "failed" or (kind == "mixed" and number % 10 == 9):
            trace = "Traceback (most recent call last):\nDeviceDiedError: gone <b>&</b>"
            if number % 2:
                last = {"config": last["config"]}
            trials.append(_trial(number, status="ERROR", error=trace, **last))
            continue
        if kind == "infeasible" or (kind == "mixed" and last["latency_p50_ms"] > 0.8):
            unknown = dict.fromkeys(
                ("top1", "top5", "test_top1", "test_top5", "val_loss"), math.nan
            )
            last |= {"stage": "infeasible", "feasible": False, "score": -0.2, "epoch": 1, **unknown}
            last["reason"] = f"latency_p50_ms {last['latency_p50_ms']:.2f} ms is over the limit"
        trials.append(_trial(number, **last))
    return SimpleNamespace(trials=trials, trial_dataframes=_histories(trials))


def _histories(trials: list[Any]) -> dict[str, pd.DataFrame]:
    histories = {}
    for trial in trials:
        if last := trial.last_result:
            rows = [
                {**last, "stage": "retrain", "epoch": epoch, "top1": last["top1"] - 0.1 / epoch}
                for epoch in range(1, last.get("epoch", 0) + 1)
            ]
            histories[trial.trial_id] = pd.DataFrame([*rows, last])
    return histories


@pytest.fixture
def trials() -> Trials:
    return make_trials


@pytest.fixture(params=["one", "infeasible", "failed", "mixed"], ids=lambda name: f"grid={name}")
def any_grid(request: pytest.FixtureRequest) -> SimpleNamespace:
    """Each kind of search that every function has to take."""
    if request.param == "one":
        return make_trials(1)
    return make_trials(25, kind=request.param)


@pytest.fixture
def quick_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures are drawn, but not as PNG in full size, which is what takes time."""
    monkeypatch.setattr(html, "_DPI", 10)
