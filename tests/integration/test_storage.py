"""Searches in a storage that is no plain folder: URIs, and file systems that fsspec brings."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow.fs
import pytest
from fsspec.implementations.local import LocalFileSystem
from ray import tune

import raytune_edge as rte
from raytune_edge.analysis import to_frame
from raytune_edge.analysis.files import checkpoint_folder, read_json
from raytune_edge.testing import FakeDevice

BENCHMARKS = str(Path(__file__).parents[2] / "benchmarks")
TIMING = rte.Timing(warmup_requests=0, warmup_s=0.0, min_s=0.0, throughput_s=0.0)
JOB = {"latency_ms": 0.5, "top1": 0.9, "prune_s": 0.0, "retrain_s": 0.4, "evaluate_s": 0.0}


def trial(
    config: Mapping[str, Any], *, recipe: rte.Recipe, devices: rte.DevicePool, diary: Path
) -> None:
    """Its host is lost, as it were, after two epochs."""

    def note(epoch: int) -> None:
        with diary.open("a") as file:
            file.write(f"{epoch}\n")
        if diary.read_text().split() == ["1", "2"]:
            raise ConnectionError("the host is lost")

    sys.path.insert(0, BENCHMARKS)  # a worker has not pytest's
    import stub_stages

    job = {**JOB, "epochs": 4, "on_epoch": note}
    stub_stages.trial(job, recipe=recipe, devices=devices)


def storages(folder: Path) -> dict[str, dict[str, Any]]:
    handler = pyarrow.fs.FSSpecHandler(LocalFileSystem())
    return {
        "URI": {"storage_path": f"file://{folder}"},
        "fsspec": {
            "storage_path": str(folder),
            "storage_filesystem": pyarrow.fs.PyFileSystem(handler),
        },
    }


@pytest.mark.parametrize("storage", ["URI", "fsspec"])
def test_a_trial_goes_on_from_what_is_kept_there(
    storage: str, ray_cluster: None, tmp_path: Path
) -> None:
    devices = rte.connect_devices(FakeDevice(latency_ms=float, any_model=True), resource="ncs")
    objective = rte.Objective(maximize="top1", latency_budget_ms=1.0)
    recipe = rte.Recipe(task=None, objective=objective, timing=TIMING)
    diary = tmp_path / "diary"
    trainable = tune.with_parameters(trial, recipe=recipe, devices=devices, diary=diary)
    try:
        results = tune.Tuner(
            trainable,
            run_config=tune.RunConfig(
                name="kept",
                verbose=0,
                failure_config=tune.FailureConfig(max_failures=1),
                **storages(tmp_path / "storage")[storage],
            ),
        ).fit()
    finally:
        devices.close()
    assert diary.read_text().split() == ["1", "2", "2", "3", "4"]  # the second was not kept yet
    frame = to_frame(results)
    assert list(frame["status"]) == ["done"]
    assert len(rte.pareto_front(results)) == 1
    with checkpoint_folder(frame.iloc[0]) as kept:
        assert kept is not None
        assert (kept / "model.onnx").read_text() == "0.5"
    assert read_json(frame.iloc[0], "measurement.json")["latency_p50_ms"] > 0
