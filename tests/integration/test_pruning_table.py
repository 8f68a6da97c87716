"""The architectures that people use, pruned by both backends and held against the original.

The reference is the original network with the same channels zeroed, in the convolutions and in the
BatchNorms that follow; multiply-accumulates are counted by hooks, by the textbook's formula.
"""

import copy
from collections.abc import Callable, Mapping, Sequence

import pytest
import torch
import torchvision
from torch import nn

from raytune_edge.counting import count
from raytune_edge.errors import PruningError
from raytune_edge.pruning import Group, Plan, Pruner, plan, prunable_groups, prune
from raytune_edge.pruning.graph import couplings
from raytune_edge.tasks.resnet import cifar_resnet

pytestmark = pytest.mark.slow

BACKENDS = ["nni", "torch-pruning"]
TORCHVISION = [
    "resnet18", "resnet50", "mobilenet_v2", "mobilenet_v3_small",
    "mnasnet0_5", "efficientnet_b0", "densenet121", "squeezenet1_1",
]  # fmt: skip


def with_narrow_head(make: Callable[[], nn.Module]) -> nn.Module:
    """64 features in place of 4096: without 100 million weights that pruning doesn't touch."""
    model = make()
    first = next(each for each in model.classifier if isinstance(each, nn.Linear))
    model.classifier = nn.Sequential(
        nn.Linear(first.in_features, 64), nn.ReLU(), nn.Dropout(), nn.Linear(64, 10)
    )
    return model


MODELS: dict[str, Callable[[], nn.Module]] = {
    **{name: getattr(torchvision.models, name) for name in TORCHVISION},
    "alexnet": lambda: with_narrow_head(torchvision.models.alexnet),
    "vgg11_bn": lambda: with_narrow_head(torchvision.models.vgg11_bn),
    "googlenet": lambda: torchvision.models.googlenet(aux_logits=False, init_weights=False),
    "cifar_resnet20": lambda: cifar_resnet(20),
    "cifar_resnet56": lambda: cifar_resnet(56),
    "resnext50_32x4d": torchvision.models.resnext50_32x4d,
}
GROUPS = {"cifar_resnet20": 12, "mobilenet_v2": 25, "resnet50": 37}


def made_for(model: nn.Module, example: torch.Tensor, ratios: str) -> Plan:
    groups = prunable_groups(model, example)
    if ratios == "uniform":
        return plan(groups, {group.name: 0.5 for group in groups}, round_to=1, min_keep=1)
    mixed = [0.25, 0.75, 0.0, 0.5, 0.9]
    return plan(groups, {each.name: mixed[i % len(mixed)] for i, each in enumerate(groups)})


@pytest.mark.parametrize("ratios", ["uniform", "mixed"])
@pytest.mark.parametrize("name", MODELS)
def test_both_backends_give_the_planned_network(name: str, ratios: str) -> None:
    example = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    model = look_trained(MODELS[name]())
    made = made_for(model, example, ratios)
    groups = prunable_groups(model, example)
    assert len(groups) == GROUPS.get(name, len(groups))
    removed = Pruner(model, example).choose(made)
    with torch.no_grad():
        reference = zeroed(model, example, removed)(example)
        spread = reference.abs().max()
    macs = set()
    for backend in BACKENDS:
        pruned = prune(model, example, made, backend=backend)
        for group in groups:
            for member in group.members:
                assert pruned.get_submodule(member).out_channels == made.kept[group.name]
        with torch.no_grad():
            difference = (pruned(example) - reference).abs().max()
        assert difference <= 1e-5 * spread, f"{backend}: {difference / spread:.2g}"
        macs.add(count(pruned, example).macs)
        assert count(pruned, example).macs == textbook_macs(pruned, example)
    assert len(macs) == 1
    assert macs.pop() < 0.7 * textbook_macs(model, example)


@pytest.mark.parametrize("backend", BACKENDS)
def test_shufflenet_is_refused_by_name_of_what_is_not_supported(backend: str) -> None:
    model = torchvision.models.shufflenet_v2_x0_5()
    anything = Plan(kept={"conv1.0": 8}, channels={"conv1.0": 24}, asked={"conv1.0": 0.6})
    with pytest.raises(PruningError, match=r"shuffling channels.*shufflenetv2\.py:\d+: x = x\.vi"):
        prune(model, torch.rand(1, 3, 64, 64), anything, backend=backend)


def look_trained(model: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.3)
            module.running_mean.normal_(std=0.3)
            module.running_var.uniform_(0.5, 1.5)
    return model.eval()


def zeroed(
    model: nn.Module, example: torch.Tensor, removed: Mapping[Group, Sequence[int]]
) -> nn.Module:
    """``model`` with the removed channels zeroed, in the convolutions and in their BatchNorms."""
    norms = {each.group: each.norms for each in couplings(model, example)}
    model = copy.deepcopy(model)
    with torch.no_grad():
        for group, channels in removed.items():
            for member in group.members:
                for parameter in model.get_submodule(member).parameters():
                    parameter[list(channels)] = 0
            for site in norms[group]:
                gone = site.positions[torch.isin(site.channels, torch.tensor(channels))]
                for parameter in model.get_submodule(site.layer).parameters():
                    parameter[gone] = 0
    return model


def textbook_macs(model: nn.Module, example: torch.Tensor) -> int:
    """Each weight of a convolution is used once for each pixel of its output."""
    total = 0

    def add(layer: nn.Module, inputs: object, output: torch.Tensor) -> None:
        nonlocal total
        pixels = output.shape[2] * output.shape[3] if isinstance(layer, nn.Conv2d) else 1
        total += pixels * layer.weight.numel()

    layers = [each for each in model.modules() if isinstance(each, (nn.Conv2d, nn.Linear))]
    hooks = [layer.register_forward_hook(add) for layer in layers]
    with torch.no_grad():
        model(example)
    for hook in hooks:
        hook.remove()
    return total
