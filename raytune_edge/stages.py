"""The stages of a trial: plain functions that `trial` puts together."""

from __future__ import annotations

import dataclasses
import functools
import io
import json
import logging
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from ray import tune
from torch import nn

from raytune_edge import counting, pruning, training
from raytune_edge.config import Recipe, Retrain
from raytune_edge.devices import DevicePool
from raytune_edge.devices.cores import keep_off
from raytune_edge.export import ExportedModel, export_onnx
from raytune_edge.measuring import FirstMeasurement, last_measurement
from raytune_edge.ncs2.checking import require
from raytune_edge.records import Measurement
from raytune_edge.reporting import Report
from raytune_edge.runtimes.ncs2 import legacy_python
from raytune_edge.space import unpack
from raytune_edge.task import Loaders
from raytune_edge.training import Accuracy, Epoch

__all__ = [
    "Network",
    "ask_for_latency",
    "collapse",
    "epoch_files",
    "measure_final",
    "prune_baseline",
    "result_files",
    "retrain",
    "prepare_host",
]

logger = logging.getLogger(__name__)

_TRAINING_STATE = "training.pt"


@dataclass(frozen=True, kw_only=True)
class Network:
    """A pruned network on its way through a trial.

    Attributes:
        model: On the trial's device; changed in place by retraining.
        plan: Kept channels by group.
        removed: The channels that were removed, by group.
        settings: The recipe's, with what the trial's config says otherwise.
        loaders: The task's data.
        resume: State of the training loop to go on from; None at the start.
    """

    model: nn.Module
    plan: pruning.Plan
    removed: Mapping[str, Sequence[int]]
    settings: Retrain
    loaders: Loaders
    resume: dict[str, Any] | None = None


def prepare_host(recipe: Recipe, devices: DevicePool) -> None:
    """Use as many torch threads as Tune gave this trial, and keep off the devices' cores.

    Raises:
        NoRuntimeError: If the host lacks what the recipe's precheck needs, before time is spent.
    """
    if recipe.precheck == "ncs2":
        legacy_python()
    resources = tune.get_context().get_trial_resources()
    cpus = resources.required_resources.get("CPU", 1) if resources else 1
    torch.set_num_threads(max(1, int(cpus)))
    keep_off(devices.quiet_cores())


def prune_baseline(config: Mapping[str, Any], recipe: Recipe, report: Report) -> Network:
    """Step 1: the pruned, recalibrated network, with its size and accuracy in ``report``.

    A trial that goes on after an interruption gets the weights of its last epoch instead.
    """
    task, example = recipe.task, recipe.task.example()
    baseline = task.baseline()
    pruner = pruning.Pruner(baseline, example)
    moves = unpack(config, pruner.groups)
    with report.span("prune"):
        plan = pruning.plan(
            pruner.groups, moves.ratios, round_to=recipe.round_to, min_keep=recipe.min_keep
        )
        loaders = task.loaders()
        torch.manual_seed(recipe.seed)
        removed = pruner.choose(
            plan,
            criterion=moves.criterion or recipe.criterion,
            kind={group.name: recipe.kind for group in pruner.groups} | dict(moves.kinds),
            seed=recipe.seed,
            data=loaders.train,
        )
        model = pruner.without(removed, backend=recipe.backend)
    before, after = (counting.count(each, example) for each in (baseline, model))
    model.to(training.best_device())
    settings = dataclasses.replace(
        recipe.retrain,
        epochs=recipe.retrain.epochs if moves.epochs is None else moves.epochs,
        lr=recipe.retrain.lr if moves.lr is None else moves.lr,
    )
    network = Network(
        model=model,
        plan=plan,
        removed={group.name: channels for group, channels in removed.items()},
        settings=settings,
        loaders=loaders,
    )
    if checkpoint := tune.get_checkpoint():
        return _resume(network, checkpoint, report)
    report.add(
        macs=after.macs,
        params=after.params,
        macs_ratio=after.macs / before.macs,
        params_ratio=after.params / before.params,
    )
    accuracy = _assess(network, recipe, report)
    report.add(top1_pruned=accuracy.top1, top5_pruned=accuracy.top5)
    return network


def _resume(network: Network, checkpoint: tune.Checkpoint, report: Report) -> Network:
    with checkpoint.as_directory() as folder:
        path = os.path.join(folder, _TRAINING_STATE)
        if not os.path.exists(path):
            return network
        state = torch.load(path, map_location="cpu", weights_only=True)
    network.model.load_state_dict(state["model"])
    report.restore(state["report"])
    logger.info("going on after epoch %d", state["loop"]["epoch"])
    return dataclasses.replace(network, resume=state["loop"])


def _assess(network: Network, recipe: Recipe, report: Report) -> Accuracy:
    with report.span("evaluate"):
        training.recalibrate(
            network.model,
            network.loaders.train,
            network.settings.recalibrate_batches,
            seed=recipe.seed,
        )
        accuracy = training.evaluate(network.model, network.loaders.validation)
    report.add(top1=accuracy.top1, top5=accuracy.top5, val_loss=accuracy.loss)
    return accuracy


def ask_for_latency(
    network: Network, recipe: Recipe, devices: DevicePool, report: Report
) -> FirstMeasurement:
    """Step 2: send the network to the devices and don't wait.

    One that the precheck refuses, or that misses a limit before it is measured, is not sent.
    """
    exported = export_onnx(network.model, recipe.task.example())
    report.add(size_bytes=len(exported.onnx), signature=exported.signature)
    request = None
    if recipe.precheck == "ncs2":
        with report.span("precheck"):
            report.add(predicted_hw_ms=require(exported.onnx).predicted_hw_ms)
    if recipe.gate != "off" and not report.limit_missed():
        request = devices.submit(exported.onnx, timing=recipe.timing, signature=exported.signature)
    return FirstMeasurement(request, report)


def retrain(
    network: Network, recipe: Recipe, report: Report, *, interrupt: Callable[[], bool]
) -> Iterator[tuple[Epoch, Accuracy]]:
    """Step 4: train ``network`` in place; yields each epoch that ends, with its accuracy.

    Stops soon after ``interrupt`` turns true, also within an epoch.
    """
    teacher = training.Teacher(recipe.task.baseline()) if network.settings.distill else None
    loop = recipe.training_loop or functools.partial(training.fine_tune, teacher=teacher)
    epochs = loop(
        network.model,
        network.loaders.train,
        network.settings,
        seed=recipe.seed,
        interrupt=interrupt,
        resume=network.resume,
    )
    while True:
        with report.span("retrain"):
            epoch = next(epochs, None)
        if epoch is None or not epoch.finished:
            return
        report.add(epoch=epoch.number)
        yield epoch, _assess(network, recipe, report)


def collapse(epoch: Epoch, accuracy: Accuracy, recipe: Recipe) -> str:
    """Why this network is past hope, in words; "" if it isn't.

    A network at chance level after pruning and some epochs does not recover.
    """
    patience = recipe.retrain.collapse_epochs
    if not math.isfinite(epoch.loss):
        return f"the training loss of epoch {epoch.number} is {epoch.loss}"
    if 0 < patience <= epoch.number and training.has_collapsed(accuracy, recipe.task.num_classes):
        return f"top-1 {accuracy.top1:.3f} is chance level after {epoch.number} epochs"
    return ""


def epoch_files(network: Network, epoch: Epoch, report: Report) -> dict[str, bytes]:
    """The checkpoint from which an interrupted trial goes on."""
    state = {"model": network.model.state_dict(), "loop": epoch.state, "report": report.state()}
    return {_TRAINING_STATE: _torch_bytes(state)}


def measure_final(
    network: Network,
    recipe: Recipe,
    devices: DevicePool,
    report: Report,
    first: Measurement | None,
) -> tuple[ExportedModel, Measurement]:
    """Step 5: export the network, measure it as it will be deployed, and test it meanwhile."""
    exported = export_onnx(network.model, recipe.task.example())
    report.add(size_bytes=len(exported.onnx), signature=exported.signature)
    ask = functools.partial(
        devices.submit,
        exported.onnx,
        timing=recipe.timing,
        signature=exported.signature,
        fresh=True,
        sample=_sample(network.loaders, recipe.task.device_samples),
        priority=1,  # the trial holds a trainer until it is answered
    )
    request = ask()
    with report.span("evaluate"):
        test = training.evaluate(network.model, network.loaders.test)
    report.add(test_top1=test.top1, test_top5=test.top5)
    return exported, last_measurement(request, ask, report, first)


def _sample(
    loaders: Loaders, count: int
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]] | None:
    """The first ``count`` validation images and their labels; None for no count."""
    if not count:
        return None
    images: list[torch.Tensor] = []
    labels: list[torch.Tensor] = []
    for some_images, some_labels in loaders.validation:
        images.append(some_images)
        labels.append(some_labels)
        if sum(map(len, labels)) >= count:
            break
    return torch.cat(images)[:count].numpy(), torch.cat(labels)[:count].numpy()


def result_files(
    network: Network, exported: ExportedModel, measurement: Measurement
) -> dict[str, bytes]:
    """The checkpoint of a finished trial: all that is needed to deploy its network."""
    return {
        "model.onnx": exported.onnx,
        "plan.json": _json_bytes(network.plan.to_dict() | {"removed": network.removed}),
        "measurement.json": _json_bytes(measurement.to_dict()),
        "state_dict.pt": _torch_bytes(network.model.cpu().state_dict()),
    }


def _json_bytes(values: Mapping[str, Any]) -> bytes:
    return (json.dumps(values, indent=2) + "\n").encode()


def _torch_bytes(value: object) -> bytes:
    file = io.BytesIO()
    torch.save(value, file)
    return file.getvalue()
