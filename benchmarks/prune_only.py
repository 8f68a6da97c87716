"""Evaluations an hour without retraining: ResNet-56 variants pruned, exported and measured.

Random points of the search space go through `raytune_edge.pruning`, the checked ONNX export and the
pool, whose device is OpenVINO on one of two cores: first with an empty store, then once
more with every latency kept. The clock starts when the workers are warm. Prints what each step took
(medians; ``wait`` is for the answer, ``device`` what of it the device was busy), then JSON:
``{"evaluations_an_hour": {"cold": 950, "warm": 2100}, ...}``. The target is 900 on two cores; the
original work reached 90.

    python benchmarks/prune_only.py [--networks 60] [--backend nni] [--at-once 2]
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from functools import partial
from typing import Any

import numpy as np
import ray
import torch
from _machine import machine

import raytune_edge as rte
from raytune_edge.devices.cores import keep_off
from raytune_edge.export import export_onnx
from raytune_edge.parallel import ray_map
from raytune_edge.pruning import Pruner, plan
from raytune_edge.space import unpack

TIMING = rte.Timing(precision="f32")
STEPS = ("groups", "prune", "export", "device", "wait")


def task() -> rte.Task:
    """ResNet-56 without training: what a network weighs is no matter here."""
    torch.manual_seed(0)
    images = [(torch.rand(8, 3, 32, 32), torch.arange(8))]
    return rte.Task(
        model=lambda: rte.tasks.cifar_resnet(56),
        loaders=lambda: rte.Loaders(train=images, validation=images, test=images),
        input_shape=(1, 3, 32, 32),
        num_classes=10,
    )


def evaluate(
    config: dict[str, float], *, recipe: rte.Recipe, devices: rte.DevicePool
) -> dict[str, float]:
    """Seconds of each step for one network."""
    torch.set_num_threads(1)
    keep_off(devices.quiet_cores())
    network, example = recipe.task.baseline(), recipe.task.example()
    took, last = {}, time.perf_counter()

    def done(step: str) -> None:
        nonlocal last
        took[step], last = time.perf_counter() - last, time.perf_counter()

    pruner = Pruner(network, example)
    done("groups")
    made = plan(pruner.groups, unpack(config, pruner.groups).ratios)
    small = pruner.without(pruner.choose(made), backend=recipe.backend)
    done("prune")
    exported = export_onnx(small, example)
    done("export")
    record = devices.measure(exported.onnx, timing=recipe.timing, signature=exported.signature)
    done("wait")
    took["device"] = 0.0 if record.cached else record.measure_s
    return took


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--networks", type=int, default=60)
    parser.add_argument("--backend", choices=["nni", "torch-pruning"], default="nni")
    parser.add_argument("--at-once", type=int, default=2, help="networks at once")
    arguments = parser.parse_args()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-2:])
    recipe = rte.Recipe(task=task(), backend=arguments.backend, timing=TIMING)
    space = rte.search_space(recipe)
    np.random.seed(0)  # Tune's domains draw from it
    configs = [
        {name: domain.sample() for name, domain in space.items()}
        for _ in range(arguments.at_once + arguments.networks)
    ]
    ray.init(
        address="local",
        num_cpus=arguments.at_once,
        resources={"ncs": 1},
        include_dashboard=False,
        configure_logging=False,
        log_to_driver=False,
    )
    rates: dict[str, float] = {}
    steps: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as store:
        devices = rte.connect_devices("CPU", resource="ncs", store=store)
        run = partial(ray_map, partial(evaluate, recipe=recipe, devices=devices))
        list(run(configs[: arguments.at_once]))
        for name in ("cold", "warm"):
            start = time.perf_counter()
            rows = []
            for row in run(configs[arguments.at_once :]):
                rows.append(row)
                if len(rows) % 10 == 0:
                    print(f"{name}: {len(rows)} of {arguments.networks}", file=sys.stderr)
            rates[name] = round(len(rows) / (time.perf_counter() - start) * 3600)
            steps[name] = {s: round(statistics.median(row[s] for row in rows), 3) for s in STEPS}
        devices.close()
    ray.shutdown()
    print(f"{'store':<6}{'an hour':>9}" + "".join(f"{step + ' s':>10}" for step in STEPS))
    for name, rate in rates.items():
        print(f"{name:<6}{rate:>9}" + "".join(f"{steps[name][s]:>10}" for s in STEPS))
    result = {"evaluations_an_hour": rates, "median_s": steps, "backend": arguments.backend}
    print(json.dumps({**result, "machine": machine()}))


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
