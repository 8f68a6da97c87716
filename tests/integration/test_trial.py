"""The trial on real Ray, real Tune and a fake device: how each kind of trial ends."""

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from ray import tune
from torch import nn

import raytune_edge as rte
from raytune_edge.errors import DeviceError, PlanError
from raytune_edge.records import METRIC_UNITS, Measurement
from raytune_edge.reporting import MANIFEST
from raytune_edge.testing import FakeDevice
from raytune_edge.training import Epoch, fine_tune

pytestmark = pytest.mark.usefixtures("ray_cluster")

BUDGET_MS = 1.0
FACTS = {"stage", "reason", "epoch", "feasible", "signature", "flags", "device_id", "spans"}


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 16, 3, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, 4),
    )


def quadrants() -> rte.Loaders:
    """Images (N, 1, 8, 8) of four brightnesses: learnt within an epoch."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(256) % 4
    images = torch.randn(256, 1, 8, 8, generator=generator) * 0.1 + labels.view(-1, 1, 1, 1)
    batches = list(zip(images.split(16), labels.split(16), strict=True))
    return rte.Loaders(train=batches[:12], validation=batches[12:14], test=batches[14:])


@pytest.fixture(scope="module")
def task() -> rte.Task:
    return rte.Task(model=network, loaders=quadrants, input_shape=(1, 1, 8, 8), num_classes=4)


@pytest.fixture
def run(task: rte.Task, tmp_path: Path) -> Callable[..., tune.ResultGrid]:
    """Run one trial on a fake device; settings of the recipe by keyword."""

    def run(
        device: FakeDevice,
        config: dict[str, Any] | None = None,
        *,
        max_failures: int = 0,
        **recipe: Any,
    ) -> tune.ResultGrid:
        devices = rte.connect_devices(device, resource="ncs")
        settings: dict[str, Any] = {
            "retrain": rte.Retrain(epochs=3),
            "objective": rte.Objective(maximize="top1", latency_budget_ms=BUDGET_MS),
            **recipe,
        }
        trainable = tune.with_parameters(
            rte.prune_and_retrain, recipe=rte.Recipe(task=task, **settings), devices=devices
        )
        tuner = tune.Tuner(
            tune.with_resources(trainable, {"cpu": 1}),
            param_space=config or {"pruning_ratio:0": 0.5},
            tune_config=tune.TuneConfig(metric="score", mode="max"),
            run_config=tune.RunConfig(
                storage_path=str(tmp_path),
                verbose=0,
                failure_config=tune.FailureConfig(max_failures=max_failures),
            ),
        )
        try:
            return tuner.fit()
        finally:
            devices.close()

    return run


def history(result: tune.Result) -> list[dict[str, Any]]:
    """All reports of a trial, as Tune kept them."""
    lines = (Path(result.path) / "result.json").read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_a_feasible_network_is_retrained_measured_and_kept(run: Callable[..., Any]) -> None:
    (result,) = run(FakeDevice(latency_ms=0.5))
    reports = history(result)
    assert [report["stage"] for report in reports] == ["pruned", *["retrain"] * 3, "done"]
    for report in reports:
        assert set(METRIC_UNITS) | FACTS <= set(report)
        assert math.isfinite(report["score"])
    last = result.metrics
    assert last["feasible"]
    assert last["score"] == last["top1"] > last["top1_pruned"]
    assert last["macs_ratio"] < 1
    assert last["test_top1"] > 0.9
    assert {span["what"] for span in json.loads(last["spans"])} >= {"prune", "retrain", "measure"}

    with result.checkpoint.as_directory() as folder:
        files = {path.name: path.read_bytes() for path in Path(folder).iterdir()}
    sums = json.loads(files[MANIFEST])["sha256"]
    kept = {"model.onnx", "plan.json", "measurement.json", "state_dict.pt", "report.json"}
    assert set(sums) == kept
    measurement = Measurement.from_dict(json.loads(files["measurement.json"]))
    assert measurement.model_sha256 == sums["model.onnx"]
    plan = json.loads(files["plan.json"])
    assert plan["kept"]["0"] == 8
    assert len(plan["removed"]["0"]) == 8


@pytest.mark.parametrize(("gate", "epochs"), [("wait", 0), ("off", 3)])
def test_a_slow_network_ends_where_the_gate_says(
    run: Callable[..., Any], gate: str, epochs: int
) -> None:
    (result,) = run(FakeDevice(latency_ms=2.0), gate=gate)
    last = result.metrics
    assert last["stage"] == "infeasible"
    assert last["epoch"] == epochs
    assert not last["feasible"]
    assert last["score"] < 0
    assert "latency_p50_ms" in last["reason"]
    assert str(BUDGET_MS) in last["reason"] or "1 ms" in last["reason"]


def test_the_overlap_gate_ends_retraining_in_its_midst(run: Callable[..., Any]) -> None:
    many = 10_000
    (result,) = run(FakeDevice(latency_ms=2.0), retrain=rte.Retrain(epochs=many))
    assert result.metrics["stage"] == "infeasible"
    assert result.metrics["epoch"] < many


def test_a_limit_on_size_needs_no_device(run: Callable[..., Any]) -> None:
    objective = rte.Objective(maximize="top1", at_most={"params": 10})
    (result,) = run(FakeDevice(latency_ms=0.5), objective=objective)
    assert result.metrics["stage"] == "infeasible"
    assert result.metrics["epoch"] == 0
    assert result.metrics["measure_s"] == 0


def test_a_collapsed_network_is_ended(run: Callable[..., Any]) -> None:
    (result,) = run(FakeDevice(latency_ms=0.5), retrain=rte.Retrain(epochs=50, lr=1e9))
    assert result.metrics["stage"] == "collapsed"
    assert result.metrics["epoch"] < 50
    assert result.metrics["reason"]
    assert math.isfinite(result.metrics["score"])


def test_an_unsupported_network_is_told_to_the_search(run: Callable[..., Any]) -> None:
    (result,) = run(FakeDevice(latency_ms=0.5, faults=["unsupported"] * 5))
    assert result.error is None
    assert result.metrics["stage"] == "unsupported"
    assert result.metrics["score"] == -1
    assert not result.metrics["feasible"]


def test_the_unpruned_network_is_a_trial_like_any_other(run: Callable[..., Any]) -> None:
    (result,) = run(FakeDevice(latency_ms=0.5), {"pruning_ratio:0": 0.0, "epochs": 1})
    assert result.metrics["stage"] == "done"
    assert result.metrics["params_ratio"] == 1
    assert result.metrics["epoch"] == 1


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"pruning_ratio:0": 1.0}, "expected 0 <= ratio < 1, got 1.0"),
        ({"pruning_ratio:0": -0.5}, "expected 0 <= ratio < 1, got -0.5"),
        ({"pruning_ratio:layer9": 0.5}, "layer9"),
    ],
)
def test_a_config_that_cannot_be_is_a_clear_error(
    run: Callable[..., Any], config: dict[str, float], message: str
) -> None:
    (result,) = run(FakeDevice(latency_ms=0.5), config)
    assert PlanError.__name__ in str(result.error)
    assert message in str(result.error)


def test_a_device_that_is_lost_is_no_evidence(run: Callable[..., Any]) -> None:
    timing = rte.Timing(timeout_s=2.0, queue_timeout_s=20.0)
    (result,) = run(FakeDevice(latency_ms=0.5, faults=["die"] * 100), timing=timing)
    assert DeviceError.__name__ in str(result.error) or "Device" in str(result.error)


def fails_once(flag: Path) -> Callable[..., Iterator[Epoch]]:
    """A training loop that raises after its second epoch, the first time it is run."""

    def loop(*args: Any, **keywords: Any) -> Iterator[Epoch]:
        for epoch in fine_tune(*args, **keywords):
            yield epoch
            if epoch.number == 2 and not flag.exists():
                flag.touch()
                raise RuntimeError("the trainer was lost")

    return loop


def test_an_interrupted_trial_goes_on_from_its_last_epoch(
    run: Callable[..., Any], tmp_path: Path
) -> None:
    loop = fails_once(tmp_path / "failed")
    (broken,) = run(FakeDevice(latency_ms=0.5), training_loop=loop, max_failures=1, config=None)
    assert broken.error is None
    stages = [(report["stage"], report["epoch"]) for report in history(broken)]
    assert [epoch for stage, epoch in stages if stage == "retrain"] == [1, 2, 3]
    (unbroken,) = run(FakeDevice(latency_ms=0.5))
    assert broken.metrics["top1"] == unbroken.metrics["top1"]
    assert broken.metrics["val_loss"] == pytest.approx(unbroken.metrics["val_loss"], rel=1e-5)
