"""Stages of known length in place of `raytune_edge.stages`, for the benchmarks of the pipeline.

The trial itself, its measuring, its reports and checkpoints are the real ones; only pruning,
retraining, evaluating and exporting sleep for as long as the trial's config says:
``{"latency_ms": 0.5, "top1": 0.9, "prune_s": 0.5, "retrain_s": 9, "evaluate_s": 1, "epochs": 3}``;
with a function ``"on_epoch"`` that is called after each.
The ONNX bytes are the network's latency as text: what ``FakeDevice(latency_ms=float,
any_model=True)`` reads from them. Loads no torch.
"""

import functools
import json
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from ray import tune

import raytune_edge as rte
from raytune_edge.measuring import FirstMeasurement, last_measurement

_LOOK_S = 0.05


def trial(config: Mapping[str, Any], *, recipe: rte.Recipe, devices: rte.DevicePool) -> None:
    """`prune_and_retrain` with these stages."""
    sys.modules["raytune_edge.stages"] = sys.modules[__name__]
    from raytune_edge.trial import prune_and_retrain

    prune_and_retrain(config, recipe=recipe, devices=devices)


def prepare_host(recipe: rte.Recipe, devices: rte.DevicePool) -> None:
    devices.quiet_cores()


def prune_baseline(config: Mapping[str, Any], recipe: rte.Recipe, report: Any) -> Any:
    with report.span("prune"):
        time.sleep(config["prune_s"])
    network = SimpleNamespace(onnx=str(config["latency_ms"]).encode(), begun=0, **config)
    if checkpoint := tune.get_checkpoint():
        with checkpoint.as_directory() as folder:
            state = json.loads(Path(folder, "training.json").read_text())
        network.begun = state["epoch"]
        report.restore(state["report"])
    return network


def ask_for_latency(network: Any, recipe: rte.Recipe, devices: Any, report: Any) -> Any:
    asks = recipe.gate != "off"
    request = devices.submit(network.onnx, timing=recipe.timing) if asks else None
    return FirstMeasurement(request, report)


def retrain(
    network: Any, recipe: rte.Recipe, report: Any, *, interrupt: Any
) -> Iterator[tuple[Any, Any]]:
    for number in range(network.begun + 1, network.epochs + 1):
        with report.span("retrain"):
            ends_at = time.monotonic() + network.retrain_s / network.epochs
            while (left_s := ends_at - time.monotonic()) > 0 and not interrupt():
                time.sleep(min(left_s, _LOOK_S))
        if interrupt():
            return
        getattr(network, "on_epoch", lambda _: None)(number)
        report.add(epoch=number, top1=network.top1)
        yield SimpleNamespace(number=number), None


def collapse(epoch: Any, accuracy: Any, recipe: rte.Recipe) -> str:
    return ""


def epoch_files(network: Any, epoch: Any, report: Any) -> dict[str, bytes]:
    return {"training.json": json.dumps({"epoch": epoch.number, "report": report.state()}).encode()}


def measure_final(
    network: Any, recipe: rte.Recipe, devices: Any, report: Any, first: Any
) -> tuple[Any, Any]:
    ask = functools.partial(
        devices.submit, network.onnx, timing=recipe.timing, fresh=True, priority=1
    )
    request = ask()
    with report.span("evaluate"):
        time.sleep(network.evaluate_s)
    return network, last_measurement(request, ask, report, first)


def result_files(network: Any, exported: Any, measurement: Any) -> dict[str, bytes]:
    return {
        "model.onnx": network.onnx,
        "measurement.json": json.dumps(measurement.to_dict()).encode(),
    }
