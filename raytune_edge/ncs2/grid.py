"""The channel counts that pay on the stick: where the predicted cost of a group steps.

The neural engine shares its blocks between outputs by powers of two, and works through inputs one
by one. So a group's cost rises in steps with the outputs of the convolutions that make its
channels, and evenly with the inputs of those that read them: just below a step, channels are cheap.
"""

from __future__ import annotations

import copy
import logging
import statistics
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from raytune_edge.ncs2.probing import Convolution, predicted_ms
from raytune_edge.pruning import ratio_steps
from raytune_edge.pruning.graph import Coupling, couplings
from raytune_edge.pruning.groups import table
from raytune_edge.pruning.plan import kept_channels

if TYPE_CHECKING:
    from raytune_edge.task import Task

__all__ = ["ChannelGrid", "channel_grid", "steps"]

logger = logging.getLogger(__name__)

_STEP = 1.5
"""A step costs at least this many times what the usual next count costs."""

_NOISE_MS = 1e-9
"""Of adding floats."""


@dataclass(frozen=True, kw_only=True)
class ChannelGrid(Mapping[str, tuple[int, ...]]):
    """Group → the channel counts worth having, in rising order, all of its channels last.

    Attributes:
        counts: By group.
        predicted_ms: By group and count, for every count that was probed: what the convolutions
            that make or read the group's channels cost together, all other groups unpruned. By the
            compiler's own cost, not calibrated.
    """

    counts: Mapping[str, tuple[int, ...]]
    predicted_ms: Mapping[str, Mapping[int, float]]

    def __getitem__(self, group: str) -> tuple[int, ...]:
        return self.counts[group]

    def __iter__(self) -> Iterator[str]:
        return iter(self.counts)

    def __len__(self) -> int:
        return len(self.counts)

    def __str__(self) -> str:
        rows = (
            (name, " ".join(f"{count} ({costs[count]:.3g} ms)" for count in self.counts[name]))
            for name, costs in self.predicted_ms.items()
        )
        return table(("group", "channels (predicted)"), rows)


def channel_grid(
    task: Task,
    *,
    round_to: int = 8,
    min_keep: int = 8,
    cache: Path | None = None,
    tell: Callable[[str], None] = logger.info,
) -> ChannelGrid:
    """Ask the stick's compiler, without a stick, which channel counts pay.

    Args:
        task: Whose network is to be pruned.
        round_to: The recipe's; probed counts are multiples of it, or all channels.
        min_keep: The recipe's.
        cache: File that probed costs are kept in; by default one in the user's cache folder.
        tell: Gets a line on the progress now and then.

    Raises:
        NoRuntimeError: If the stick's runtime is missing; the message says what makes it.
        UnsupportedModelError: If the compiler refuses a layer.

    Example:
        grid = rte.ncs2.channel_grid(recipe.task)
        space = rte.search_space(recipe, grid=grid)
    """
    model, example = task.baseline(), task.example()
    layers = _convolutions(model, example)
    asked: dict[str, dict[int, list[Convolution]]] = {}
    for coupling in couplings(model, example):
        group = coupling.group
        step, steps_down = ratio_steps(group, round_to, min_keep)
        kept = [
            kept_channels(group, step * number, round_to, min_keep)
            for number in range(steps_down, -1, -1)
        ]
        if steps_down:
            asked[group.name] = {count: list(_touched(coupling, layers, count)) for count in kept}
    wanted = {each for by_count in asked.values() for some in by_count.values() for each in some}
    costs = predicted_ms(wanted, cache=cache, tell=tell)
    predicted = {
        name: {count: sum(costs[each] for each in some) for count, some in by_count.items()}
        for name, by_count in asked.items()
    }
    counts = {name: steps(by_count) for name, by_count in predicted.items()}
    return ChannelGrid(counts=counts, predicted_ms=predicted)


def steps(predicted: Mapping[int, float]) -> tuple[int, ...]:
    """The counts just below a step of the cost, and the largest; all where it rises evenly.

    A step is where the next count costs half as much again as the usual next count does.

    >>> steps({8: 1.0, 16: 1.1, 24: 2.0, 32: 2.1, 40: 2.2, 48: 3.5, 56: 3.6, 64: 3.7})
    (16, 40, 64)
    >>> steps({8: 1.0, 16: 2.0, 24: 3.0})
    (8, 16, 24)
    """
    counts = sorted(predicted)
    rises = {below: predicted[above] - predicted[below] for below, above in pairwise(counts)}
    usual = max(statistics.median(rises.values()), 0.0) if rises else 0.0
    found = [count for count, rise in rises.items() if rise > _STEP * usual + _NOISE_MS]
    return (*found, counts[-1]) if found else tuple(counts)


def _convolutions(model: nn.Module, example: torch.Tensor) -> dict[str, Convolution]:
    """Each convolution of ``model`` that runs, with the size of the image that it meets."""
    found: dict[str, Convolution] = {}

    def recorder(name: str) -> Callable[..., None]:
        def record(layer: nn.Module, inputs: tuple[torch.Tensor], _: torch.Tensor) -> None:
            assert isinstance(layer, nn.Conv2d)
            found[name] = Convolution(
                inputs=layer.in_channels,
                outputs=layer.out_channels,
                groups=layer.groups,
                kernel=_pair(layer.kernel_size),
                stride=_pair(layer.stride),
                padding=_padding(layer),
                dilation=_pair(layer.dilation),
                size=_pair(inputs[0].shape[2:]),
            )

        return record

    model = copy.deepcopy(model).eval()
    for name, layer in model.named_modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(recorder(name))
    with torch.inference_mode():
        model(example)
    return found


def _pair(sides: Sequence[int]) -> tuple[int, int]:
    height, width = sides
    return int(height), int(width)


def _padding(layer: nn.Conv2d) -> tuple[int, int]:
    if isinstance(layer.padding, str):
        same = layer.padding == "same"
        sides = zip(layer.dilation, layer.kernel_size, strict=True)
        return _pair([dilation * (kernel - 1) // 2 if same else 0 for dilation, kernel in sides])
    return _pair(layer.padding)


def _touched(
    coupling: Coupling, layers: Mapping[str, Convolution], count: int
) -> Iterator[Convolution]:
    """The convolutions that make or read the group's channels, if it keeps ``count`` of them."""
    removed: Counter[tuple[str, bool]] = Counter()
    for site in (*coupling.outputs, *coupling.inputs):
        # A concatenation may bring the same channels to a layer more than once.
        removed[site.layer, site.is_input] += int((site.channels >= count).sum())
    for name in dict.fromkeys(name for name, _ in removed):
        if name not in layers:
            continue  # a linear layer: the compiler gives it no comparable cost
        layer = layers[name]
        inputs = layer.inputs - removed.get((name, True), 0)
        outputs = layer.outputs - removed.get((name, False), 0)
        depthwise = layer.groups == layer.inputs == layer.outputs
        if depthwise:
            inputs = outputs = min(inputs, outputs)
        yield layer._replace(
            inputs=inputs, outputs=outputs, groups=outputs if depthwise else layer.groups
        )
