"""Which channels belong together. Hides Torch-Pruning's dependency graph.

Torch-Pruning follows the channels of a model through its autograd graph, so it needs no tracing by
``torch.fx`` and sees through concatenation, flattening and broadcasting. Both backends use the
groups found here, so that one plan means one network.
"""

from __future__ import annotations

import copy
import dataclasses
import logging
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch_pruning
from torch import nn

from raytune_edge.errors import PruningError
from raytune_edge.pruning.groups import Group, Groups, block_of
from raytune_edge.pruning.shuffles import NoShuffles

__all__ = ["Coupling", "Site", "couplings", "dependency_graph", "prunable_groups"]

logger = logging.getLogger(__name__)

_LAYERS = (nn.Conv2d, nn.Linear)
_MIXING_NORMS = (nn.GroupNorm, nn.LayerNorm)


@dataclass(frozen=True, eq=False)
class Site:
    """Where a group's channels meet a layer.

    Attributes:
        layer: The layer's name.
        positions: Indices (n,) int64 into the layer's outputs, inputs or features.
        channels: The group's channel (n,) int64 that each position belongs to. After a flatten
            one channel has many positions.
        is_input: Whether the positions are the layer's inputs.
    """

    layer: str
    positions: torch.Tensor
    channels: torch.Tensor
    is_input: bool = False


@dataclass(frozen=True, eq=False)
class Coupling:
    """A group and every layer that its channels touch.

    Attributes:
        outputs: The members, whose outputs the channels are.
        inputs: The consumers, whose inputs the channels are. Depthwise convolutions are both.
        norms: BatchNorms with a scale that the channels pass through.
        mixed: Whether a GroupNorm or LayerNorm mixes these channels. The pruned network then
            differs from the one whose channels are zeroed.
    """

    group: Group
    outputs: tuple[Site, ...]
    inputs: tuple[Site, ...]
    norms: tuple[Site, ...]
    mixed: bool


def prunable_groups(model: nn.Module, example: torch.Tensor) -> Groups:
    """The groups of channels that ``model`` can lose, found in eval mode; ``model`` is unchanged.

    Groups that reach the model's output are left out, and so are those whose members don't share
    all of their channels.

    Args:
        model: A network of two-dimensional convolutions.
        example: One input (1, C, H, W), float32, on the model's device.

    Raises:
        PruningError: If the channels can't be followed, as through a channel shuffle.
    """
    return Groups(coupling.group for coupling in couplings(model, example))


@torch.inference_mode(False)
def couplings(model: nn.Module, example: torch.Tensor) -> tuple[Coupling, ...]:
    """The prunable groups of ``model`` with every layer that they touch, in the model's order.

    Raises:
        PruningError: If the channels can't be followed.
    """
    model = copy.deepcopy(model)
    with _heights_of_outputs(model) as heights:
        graph = dependency_graph(model, example)
    layers = [name for name, module in model.named_modules() if isinstance(module, _LAYERS)]
    if idle := [name for name in layers if name not in heights]:
        logger.warning("not run in eval mode, so left as they are: %s", ", ".join(idle))
    found = [
        coupling
        for raw in graph.get_all_groups(root_module_types=[nn.Conv2d])
        if (coupling := _coupling(graph, raw, layers))
    ]
    found.sort(key=lambda coupling: layers.index(coupling.group.name))
    return tuple(_with_stages(found, heights))


def dependency_graph(model: nn.Module, example: torch.Tensor) -> torch_pruning.DependencyGraph:
    """Torch-Pruning's graph of ``model``, which it leaves in eval mode and needing gradients.

    Raises:
        PruningError: If the channels can't be followed.
    """
    model.requires_grad_(True)
    with torch.enable_grad(), NoShuffles():
        try:
            return torch_pruning.DependencyGraph().build_dependency(
                model,
                example.clone(),
                forward_fn=lambda model, image: model(image),  # else it unpacks the batch
                verbose=False,
            )
        except PruningError:
            raise
        except Exception as error:
            raise PruningError(
                f"the channels of {type(model).__name__} can't be followed: "
                f"{type(error).__name__}: {error}"
            ) from error


@contextmanager
def _heights_of_outputs(model: nn.Module) -> Iterator[dict[str, int]]:
    """Collects the height of the output of each convolution and linear layer that runs."""
    heights: dict[str, int] = {}

    def recorder(name: str) -> Callable[[nn.Module, Any, torch.Tensor], None]:
        def record(module: nn.Module, inputs: Any, output: torch.Tensor) -> None:
            heights[name] = output.shape[2] if output.ndim == 4 else 1

        return record

    hooks = [
        module.register_forward_hook(recorder(name))
        for name, module in model.named_modules()
        if isinstance(module, _LAYERS)
    ]
    try:
        yield heights
    finally:
        for hook in hooks:
            hook.remove()


def _coupling(
    graph: torch_pruning.DependencyGraph, raw: torch_pruning.Group, layers: list[str]
) -> Coupling | None:
    """What a group of Torch-Pruning's means here, or None if it isn't prunable."""
    width = len(raw[0].idxs)
    outputs, inputs, norms, multiples = [], [], [], [1]
    residual = mixed = False
    for item in raw:
        node, module = item.dep.target, item.dep.target.module
        is_output = graph.is_out_channel_pruning_fn(item.dep.handler)
        if is_output and not node.outputs:
            return None  # the model's own output
        residual |= "AddBackward" in str(module) and len(node.inputs) > 1
        mixed |= isinstance(module, _MIXING_NORMS)
        if isinstance(module, nn.GroupNorm):
            multiples.append(module.num_groups)
        elif isinstance(module, nn.modules.batchnorm._BatchNorm):
            norms += [_site(graph, item)] if module.affine else []
        elif isinstance(module, _LAYERS):
            depthwise = isinstance(module, nn.Conv2d) and 1 < module.groups == module.out_channels
            if depthwise and module.in_channels != module.out_channels:
                return None
            if is_output:
                outputs.append(site := _site(graph, item))
                same = torch.equal(site.positions, site.channels)
                if not same or not len(site.positions) == graph.get_out_channels(module) == width:
                    return None
            if depthwise or not is_output:
                inputs.append(_site(graph, item, is_input=True))
            if isinstance(module, nn.Conv2d) and not depthwise:
                multiples.append(module.groups)
        elif isinstance(module, nn.modules.conv._ConvNd):
            return None  # transposed, one- and three-dimensional convolutions
    for sites in (outputs, inputs):
        sites.sort(key=lambda site: layers.index(site.layer))
    members = tuple(site.layer for site in outputs)
    name = next(m for m in members if isinstance(graph.model.get_submodule(m), nn.Conv2d))
    group = Group(
        name=name,
        members=members,
        channels=width,
        multiple=math.lcm(*multiples),
        residual=residual,
        block=block_of(name),
    )
    return Coupling(group, tuple(outputs), tuple(inputs), tuple(norms), mixed)


def _site(graph: torch_pruning.DependencyGraph, item: Any, *, is_input: bool = False) -> Site:
    return Site(
        layer=graph._module2name[item.dep.target.module],
        positions=torch.tensor(item.idxs),
        channels=torch.tensor(item.root_idxs),
        is_input=is_input,
    )


def _with_stages(found: list[Coupling], heights: Mapping[str, int]) -> Iterator[Coupling]:
    """Names the stages: one for each height of feature maps, numbered as they appear.

    The inner layer of a squeeze-and-excitation works on one pixel: it stays in the stage that it
    is found in.
    """
    stages: dict[int, str] = {}
    stage = ""
    for coupling in found:
        height = heights[coupling.group.name]
        if height > 1 or not stage:
            stage = stages.setdefault(height, f"stage{len(stages) + 1}")
        group = dataclasses.replace(coupling.group, stage=stage)
        yield dataclasses.replace(coupling, group=group)
