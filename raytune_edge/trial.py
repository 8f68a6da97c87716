"""The Tune trainable: one trial, from a sampled config to a measured, retrained network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from raytune_edge import stages
from raytune_edge.config import Recipe
from raytune_edge.devices import DevicePool
from raytune_edge.errors import UnsupportedModelError
from raytune_edge.reporting import Report

__all__ = ["prune_and_retrain"]


def prune_and_retrain(config: Mapping[str, Any], *, recipe: Recipe, devices: DevicePool) -> None:
    """Prune the recipe's baseline as ``config`` says, retrain it and measure it; for `ray.tune`.

    Use it with ``tune.with_parameters(prune_and_retrain, recipe=recipe, devices=devices)``, which
    puts the baseline into the object store once. Every report carries every metric of
    `records.METRIC_UNITS` (NaN while unknown) and ``stage``, ``reason``, ``epoch``, ``feasible``,
    ``signature``, ``flags``, ``device_id`` and ``spans``; the score is always finite. A trial that
    a scheduler or a fault interrupts goes on from its last epoch.

    A network that misses a limit of the objective that its shape decides ends as
    ``"infeasible"``; one at chance level as ``"collapsed"``; one that no device can run as
    ``"unsupported"``; all others as ``"done"``, with a checkpoint: see `checkpoint`.

    Args:
        config: A point of `search_space`.
        recipe: What to prune and how to retrain, measure and judge it.
        devices: Where to measure: from `connect_devices`.

    Raises:
        PlanError: If ``config`` asks for what cannot be: an unknown group, a ratio out of range.
        DeviceError: If the pool gave up on its devices; this is no evidence about the network.
    """
    stages.prepare_host(recipe, devices)
    report = Report(recipe)
    if report.told_to_its_end():
        return None
    try:
        # 1. Prune, recalibrate, and see what is left.
        network = stages.prune_baseline(config, recipe, report)

        # 2. Ask for the latency at once: it depends on the shape, not on the weights.
        first = stages.ask_for_latency(network, recipe, devices, report)
        report.tell("pruned")
        if recipe.gate == "wait":
            first.wait()

        # 3. and 4. Retrain meanwhile; end what turns out infeasible or collapsed.
        for epoch, accuracy in stages.retrain(network, recipe, report, interrupt=first.misses):
            if hopeless := stages.collapse(epoch, accuracy, recipe):
                return report.tell("collapsed", reason=hopeless)
            files = stages.epoch_files(network, epoch, report)
            report.tell("retrain", files=files)
        first.wait()
        if first.misses():
            return report.tell("infeasible")

        # 5. Measure the network as it will be deployed.
        exported, final = stages.measure_final(network, recipe, devices, report, first.measurement)

        # 6. Report once more and leave all that is needed to deploy it.
        files = stages.result_files(network, exported, final)
        report.tell("infeasible" if report.limit_missed() else "done", files=files)
    except UnsupportedModelError as error:
        report.tell("unsupported", reason=str(error))
