"""A tuning run whose networks are shown to the stick's compiler before any device is asked."""

from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import torch
from ray import tune
from torch import nn

import raytune_edge as rte
from raytune_edge.errors import NoRuntimeError
from raytune_edge.runtimes.ncs2 import environment
from raytune_edge.testing import FakeDevice

pytestmark = pytest.mark.usefixtures("ray_cluster")


class Narrow(nn.Module):
    """Takes a sine, which the stick's compiler lacks and nobody needs, once channels are gone."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 16, 3, padding=1)
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.conv(x))
        useless = 0 * torch.sin(x) if self.conv.out_channels == 8 else 0
        return self.head(x + useless)


def loaders() -> rte.Loaders:
    labels = torch.arange(64) % 4
    images = torch.rand(64, 1, 8, 8) + labels.view(-1, 1, 1, 1)
    batches = list(zip(images.split(16), labels.split(16), strict=True))
    return rte.Loaders(train=batches, validation=batches, test=batches)


def run(folder: Path, **recipe: Any) -> tune.ResultGrid:
    """Two trials: one with all channels, one with half of them."""
    task = rte.Task(model=Narrow, loaders=loaders, input_shape=(1, 1, 8, 8), num_classes=4)
    devices = rte.connect_devices(FakeDevice(latency_ms=0.5), resource="ncs")
    settings = {"retrain": rte.Retrain(epochs=1, collapse_epochs=0), "precheck": "ncs2", **recipe}
    trainable = tune.with_parameters(
        rte.prune_and_retrain, recipe=rte.Recipe(task=task, **settings), devices=devices
    )
    try:
        return tune.Tuner(
            tune.with_resources(trainable, {"cpu": 1}),
            param_space={"pruning_ratio:conv": tune.grid_search([0.5, 0.0])},
            tune_config=tune.TuneConfig(metric="score", mode="max", max_concurrent_trials=1),
            run_config=tune.RunConfig(storage_path=str(folder), verbose=0),
        ).fit()
    finally:
        devices.close()


@pytest.mark.legacy
def test_what_the_stick_cannot_run_is_told_and_the_run_goes_on(tmp_path: Path) -> None:
    narrow, wide = run(tmp_path)
    assert narrow.metrics["stage"] == "unsupported"
    assert "Neural Compute Stick 2" in narrow.metrics["reason"]
    assert "'Sin' (layer '/Sin_output_0')" in narrow.metrics["reason"]
    assert not narrow.metrics["feasible"]
    assert narrow.metrics["measure_s"] == 0
    assert wide.metrics["stage"] == "done"
    assert wide.metrics["predicted_hw_ms"] > 0


@pytest.mark.legacy
def test_a_limit_on_the_prediction_ends_a_trial_unmeasured(tmp_path: Path) -> None:
    objective = rte.Objective(maximize="top1", at_most={"predicted_hw_ms": 1e-6})
    _, wide = run(tmp_path, objective=objective)
    assert wide.metrics["stage"] == "infeasible"
    assert "predicted_hw_ms" in wide.metrics["reason"]
    assert wide.metrics["measure_s"] == 0


def test_without_the_sticks_runtime_a_trial_ends_before_time_is_spent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(environment.VARIABLE, str(tmp_path))
    recipe = rte.Recipe(task=Mock(), precheck="ncs2")
    with pytest.raises(NoRuntimeError, match="raytune-edge ncs2 install"):
        rte.prune_and_retrain({}, recipe=recipe, devices=Mock())
