"""Searches without trials: networks whose figures are made up, and small real ones."""

import math
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

import raytune_edge as rte
from raytune_edge.records import METRIC_UNITS
from raytune_edge.space import ratio_grid

FRONT = rte.Objective(maximize="top1", minimize="latency_p50_ms", latency_budget_ms=0.8)
NAMES = [f"pruning_ratio:{name}" for name in "abcd"]


def grid(steps: int = 3) -> dict[str, Any]:
    return {name: ratio_grid(0.25, steps) for name in NAMES}


def figures(config: dict[str, Any]) -> dict[str, Any]:
    """A made-up network: what it measures, as a trial reports it."""
    ratios = np.array([config[name] for name in NAMES])
    ms = 0.2 + 0.8 * float((1 - ratios).prod() ** 0.5)
    top1 = 0.99 - 0.3 * float(np.average(ratios**2, weights=(1, 2, 4, 8)))
    report = {"top1": top1, "latency_p50_ms": ms}
    verdict = FRONT.verdict(report)
    stage = "done" if verdict.feasible else "infeasible"
    return {**report, "score": verdict.score, "stage": stage, "epoch": 1}


def begun(searcher: Any, space: dict[str, Any]) -> Any:
    assert searcher.set_search_properties("score", "max", space)
    return searcher


def searched(searcher: Any, trials: int) -> list[dict[str, Any]]:
    """Run ``trials`` made-up trials, one after the other."""
    configs = []
    for number in range(trials):
        config = searcher.suggest(f"t{number}")
        if config == searcher.FINISHED:
            break
        configs.append(config)
        searcher.on_trial_complete(f"t{number}", result=figures(config))
    return configs


def told(searcher: rte.FrontSearch) -> list[float]:
    return [doc["result"]["loss"] for doc in searcher._hpopt_trials.trials if doc["state"] == 2]


def point(config: dict[str, Any]) -> tuple[float, ...]:
    return tuple(round(config[name], 6) for name in NAMES)


def earlier(configs: list[dict[str, Any]]) -> pd.DataFrame:
    rows = []
    for number, config in enumerate(configs):
        report = figures(config)
        row = {name: report.get(name, math.nan) for name in METRIC_UNITS}
        row |= {f"config/{name}": value for name, value in config.items()}
        rows.append({**row, "trial_id": str(number), "status": report["stage"], "finished": True})
    return pd.DataFrame(rows)


def small_recipe(**limits: Any) -> rte.Recipe:
    def network() -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(1, 32, 3), nn.BatchNorm2d(32), nn.ReLU(), nn.Conv2d(32, 32, 3), nn.ReLU(),
            nn.Conv2d(32, 16, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 4),
        )  # fmt: skip

    def loaders() -> rte.Loaders:
        batches = [(torch.rand(2, 1, 12, 12), torch.tensor([0, 1]))]
        return rte.Loaders(train=batches, validation=batches, test=batches)

    task = rte.Task(model=network, loaders=loaders, input_shape=(1, 1, 12, 12), num_classes=4)
    return rte.Recipe(task=task, objective=rte.Objective(maximize="top1", **limits))
