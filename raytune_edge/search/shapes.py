"""What a config means for the network's size, without building the network."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from raytune_edge.space import unpack

if TYPE_CHECKING:
    from torch import nn

    from raytune_edge.config import Recipe
    from raytune_edge.pruning import Groups

__all__ = ["COUNTED", "Shapes", "Size"]

COUNTED = ("macs", "params", "macs_ratio", "params_ratio")
"""The metrics of `Size`."""


@dataclass(frozen=True, kw_only=True)
class Size:
    """The size of one network.

    Attributes:
        kept: Channels kept, by group.
        metrics: Those of ``COUNTED``, exact.
        work: Logarithm of the multiply-accumulates at each resolution, largest resolution first.
    """

    kept: Mapping[str, int]
    metrics: Mapping[str, float]
    work: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class _Layer:
    """A layer unpruned; ``outputs`` and ``inputs`` say which share of its ends is which group's."""

    macs: int
    weights: int
    biases: int
    height: int
    outputs: Mapping[str, float]
    inputs: Mapping[str, float]


class Shapes:
    """Sizes of the networks that a recipe prunes to; found once, then arithmetic.

    Raises:
        PruningError: If the baseline's channels can't be followed.
    """

    def __init__(self, recipe: Recipe) -> None:
        from raytune_edge.pruning.graph import couplings
        from raytune_edge.pruning.groups import Groups

        model, example = recipe.task.baseline(), recipe.task.example()
        found = couplings(model, example)
        self._round_to, self._min_keep = recipe.round_to, recipe.min_keep
        self._groups: Groups = Groups(coupling.group for coupling in found)
        outputs: dict[str, dict[str, float]] = {}
        inputs: dict[str, dict[str, float]] = {}
        self._norms: dict[str, int] = {}
        modules = dict(model.named_modules())
        for coupling in found:
            name = coupling.group.name
            for site in coupling.outputs:
                outputs.setdefault(site.layer, {})[name] = 1.0
            for site in coupling.inputs:
                width = _input_width(modules[site.layer])
                if width:
                    inputs.setdefault(site.layer, {})[name] = len(site.positions) / width
            self._norms[name] = 2 * sum(len(site.positions) for site in coupling.norms)
        self._layers = [
            _Layer(
                macs=macs,
                weights=modules[name].weight.numel(),
                biases=0 if modules[name].bias is None else modules[name].bias.numel(),
                height=height,
                outputs=outputs.get(name, {}),
                inputs=inputs.get(name, {}),
            )
            for name, (macs, height) in _work(model, example).items()
        ]
        counted = sum(layer.weights + layer.biases for layer in self._layers)
        total = sum(parameter.numel() for parameter in model.parameters())
        self._other_params = total - counted - sum(self._norms.values())
        self._heights = sorted({layer.height for layer in self._layers}, reverse=True)
        self._unpruned = self._count({group.name: group.channels for group in self._groups})

    @property
    def groups(self) -> Groups:
        """The prunable groups of the baseline."""
        return self._groups

    @property
    def unpruned(self) -> Mapping[str, float]:
        """``macs`` and ``params`` of the unpruned network."""
        macs, params = self._unpruned
        return {"macs": float(sum(macs)), "params": params}

    def size(self, config: Mapping[str, Any]) -> Size:
        """The size of the network that ``config`` stands for.

        Raises:
            PlanError: For a config that means nothing.
        """
        from raytune_edge.pruning.plan import kept_channels

        ratios = unpack(config, self._groups).ratios
        kept = {
            group.name: kept_channels(
                group, ratios.get(group.name, 0.0), self._round_to, self._min_keep
            )
            for group in self._groups
        }
        macs, params = self._count(kept)
        whole = self.unpruned
        metrics = {"macs": float(sum(macs)), "params": params}
        ratios_of = {f"{name}_ratio": metrics[name] / whole[name] for name in metrics}
        return Size(
            kept=kept,
            metrics=metrics | ratios_of,
            work=tuple(math.log(max(each, 1.0)) for each in macs),
        )

    def _count(self, kept: Mapping[str, int]) -> tuple[list[float], float]:
        """Multiply-accumulates by resolution, and parameters."""
        share = {group.name: kept[group.name] / group.channels for group in self._groups}
        macs = dict.fromkeys(self._heights, 0.0)
        params = float(self._other_params)
        for layer in self._layers:
            out, into = (
                1 - sum(part * (1 - share[name]) for name, part in ends.items())
                for ends in (layer.outputs, layer.inputs)
            )
            macs[layer.height] += layer.macs * out * into
            params += layer.weights * out * into + layer.biases * out
        params += sum(count * share[name] for name, count in self._norms.items())
        return [float(round(each)) for each in macs.values()], float(round(params))


def _input_width(layer: Any) -> int:
    """Inputs of a layer; 0 for a depthwise convolution, whose inputs are its outputs."""
    if not hasattr(layer, "in_channels"):
        return int(layer.in_features)
    return 0 if 1 < layer.groups == layer.in_channels else int(layer.in_channels)


def _work(model: nn.Module, example: Any) -> dict[str, tuple[int, int]]:
    """Multiply-accumulates and output height of each convolution and linear layer."""
    import torch
    from torch import nn

    found: dict[str, tuple[int, int]] = {}
    names = {module: name for name, module in model.named_modules()}

    def record(module: Any, _: Any, output: torch.Tensor) -> None:
        positions = output.numel() // module.weight.shape[0]
        height = output.shape[2] if output.ndim == 4 else 1
        macs = found.get(names[module], (0, 0))[0] + positions * module.weight.numel()
        found[names[module]] = (macs, height)

    hooks = [
        module.register_forward_hook(record)
        for module in model.modules()
        if isinstance(module, (nn.Conv2d, nn.Linear))
    ]
    with torch.inference_mode():
        model.eval()(example[:1])
    for hook in hooks:
        hook.remove()
    return found
