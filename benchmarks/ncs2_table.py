"""What the Neural Compute Stick 2's compiler makes of well-known networks, without a stick.

Networks of torchvision at 224 x 224 and pruned CIFAR ResNets, with random weights, compiled for one
stream. Needs the stick's runtime: `raytune-edge ncs2 install`. Prints a table, then JSON.

    python benchmarks/ncs2_table.py [--models resnet18 ...]
"""

import argparse
import dataclasses
import io
import json
import warnings

import torch
import torchvision
from _machine import machine
from torch import nn

from raytune_edge.lowering import lower
from raytune_edge.pruning import plan, prunable_groups, prune
from raytune_edge.runtimes.ncs2.compiler import Compiler, CompileReport
from raytune_edge.tasks.resnet import cifar_resnet

MODELS = (
    "alexnet", "vgg11_bn", "resnet18", "resnet50", "mobilenet_v2", "squeezenet1_1", "googlenet",
    "densenet121", "shufflenet_v2_x1_0", "efficientnet_b0", "mnasnet0_5", "regnet_y_400mf",
    "mobilenet_v3_small", "pruned cifar_resnet20", "pruned cifar_resnet56",
)  # fmt: skip

COLUMNS = ("model", "verdict", "hardware", "software", "copy", "CMX MB", "DDR MB", "blob MB",
           "predicted ms", "compile s")  # fmt: skip

_SETTINGS = {
    "googlenet": {"aux_logits": False, "init_weights": False},
    "vgg11_bn": {"init_weights": False},
}


def network(name: str) -> tuple[nn.Module, torch.Tensor]:
    """A network with random weights, in eval mode, and an example of its input."""
    torch.manual_seed(0)
    if name.startswith("pruned cifar_resnet"):
        model: nn.Module = cifar_resnet(int(name.removeprefix("pruned cifar_resnet")))
        example = torch.rand(1, 3, 32, 32)
        groups = prunable_groups(model.eval(), example)
        half = plan(groups, {group.name: 0.5 for group in groups}, round_to=8, min_keep=8)
        return _settled(prune(model, example, half), 32), example
    model = torchvision.models.get_model(name, weights=None, **_SETTINGS.get(name, {}))
    return _settled(model, 224), torch.rand(1, 3, 224, 224)


def _settled(model: nn.Module, size: int) -> nn.Module:
    """Give BatchNorm the statistics of a batch: else signals die away in random weights.

    Of images as large as the network will see: those of smaller ones leave so few values in the
    last layers that rounding grows a hundredfold.
    """
    layers = [each for each in model.modules() if isinstance(each, nn.BatchNorm2d)]
    for layer in layers:
        layer.momentum = 1.0
    if layers:
        with torch.no_grad():
            model.train()(torch.rand(8, 3, size, size))
    return model.eval()


def onnx_of(name: str) -> tuple[bytes, torch.Tensor]:
    """The network as the stick's runtime reads it, and an example of its input."""
    model, example = network(name)
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(model, (example,), file, dynamo=False, opset_version=13)
    return lower(file.getvalue(), tolerance=None), example


def cells(name: str, report: CompileReport) -> list[str]:
    """A row of the table; all but its last cell are the same each time."""
    if not report.ok:
        return [name, report.reason, *["—"] * (len(COLUMNS) - 2)]
    counts = (report.hardware_stages, report.software_stages, report.copy_stages)
    sizes = (report.cmx_bytes, report.ddr_bytes, report.blob_bytes)
    return [
        *(name, "ok", *map(str, counts)),
        *(f"{size / 1e6:.2f}" for size in sizes if size is not None),
        *(f"{report.predicted_hw_ms:.2f}", f"{report.compile_s:.1f}"),
    ]


def row(values: list[str] | tuple[str, ...]) -> str:
    return f"| {' | '.join(values)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--models", nargs="+", default=MODELS)
    arguments = parser.parse_args()
    reports = {}
    print("OpenVINO 2021.4.2, one stream\n")
    print(row(COLUMNS))
    print(row(["---"] * 2 + ["---:"] * (len(COLUMNS) - 2)))
    with Compiler() as compiler:
        for name in arguments.models:
            reports[name] = compiler.compile(onnx_of(name)[0])
            print(row(cells(name, reports[name])), flush=True)
    print()
    plain = {name: dataclasses.replace(each, stages=()) for name, each in reports.items()}
    reports = {name: each.to_dict() for name, each in plain.items()}
    print(json.dumps({"reports": reports, "machine": machine()}))


if __name__ == "__main__":
    main()
