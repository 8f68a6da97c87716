"""Seconds that each backend takes to prune each model, side by side.

Half of every group's channels go; one thread. A figure is the least of ``--repeats`` runs of the
whole of `raytune_edge.pruning.prune`: groups, ranking, surgery and checks. Prints a table, then
JSON.

    python benchmarks/pruning.py [--models resnet18 ...] [--size 64] [--repeats 3]
"""

import argparse
import json
import time

import torch
import torchvision
from _machine import machine
from torch import nn

from raytune_edge.counting import count
from raytune_edge.pruning import plan, prunable_groups, prune
from raytune_edge.tasks.resnet import cifar_resnet

BACKENDS = ("nni", "torch-pruning")
MODELS = (
    "cifar_resnet20", "cifar_resnet56", "resnet18", "resnet50", "mobilenet_v2",
    "mobilenet_v3_small", "mnasnet0_5", "efficientnet_b0", "googlenet", "densenet121",
    "squeezenet1_1", "alexnet", "vgg11_bn",
)  # fmt: skip


def make(name: str) -> nn.Module:
    if name.startswith("cifar_resnet"):
        return cifar_resnet(int(name.removeprefix("cifar_resnet")))
    if name == "googlenet":
        return torchvision.models.googlenet(aux_logits=False, init_weights=False)
    return torchvision.models.get_model(name)


def measure(name: str, size: int, repeats: int) -> dict[str, object]:
    model, example = make(name).eval(), torch.rand(1, 3, size, size)
    started = time.perf_counter()
    groups = prunable_groups(model, example)
    row: dict[str, object] = {"model": name, "groups": len(groups)}
    row["groups_s"] = round(time.perf_counter() - started, 3)
    half = plan(groups, {group.name: 0.5 for group in groups}, round_to=1, min_keep=1)
    for backend in BACKENDS:
        times = []
        for _ in range(repeats):
            started = time.perf_counter()
            pruned = prune(model, example, half, backend=backend)
            times.append(time.perf_counter() - started)
        row[f"{backend}_s"] = round(min(times), 3)
        row["macs_ratio"] = round(count(pruned, example).macs / count(model, example).macs, 4)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--size", type=int, default=64, help="height and width of the input")
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warm_up = cifar_resnet(8)
    example = torch.rand(1, 3, 32, 32)
    for backend in BACKENDS:  # their imports are not what is measured
        groups = prunable_groups(warm_up, example)
        prune(warm_up, example, plan(groups, {"conv1": 0.5}), backend=backend)
    rows = []
    print(f"{'model':20}{'groups':>7}{'nni s':>9}{'torch-pruning s':>17}{'MACs left':>11}")
    for name in arguments.models:
        rows.append(row := measure(name, arguments.size, arguments.repeats))
        print(
            f"{name:20}{row['groups']:>7}{row['nni_s']:>9}{row['torch-pruning_s']:>17}"
            f"{row['macs_ratio']:>11}",
            flush=True,
        )
    result = {"size": arguments.size, "repeats": arguments.repeats, "rows": rows}
    print(json.dumps({**result, "machine": machine()}))


if __name__ == "__main__":
    main()
