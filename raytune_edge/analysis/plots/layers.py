"""What pruning left of each layer, and what each layer costs on the device."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap

from raytune_edge.analysis.plots import style
from raytune_edge.records import Measurement

__all__ = ["plot_filters_removed", "plot_kept_channels", "plot_layer_times"]


def plot_kept_channels(plan: Mapping[str, Any], *, ax: Axes | None = None) -> Axes:
    """Channels of each group before pruning (outlined) and after (filled).

    Args:
        plan: A trial's ``plan.json``: ``channels`` of each group, and how many it ``kept``.
    """
    channels = plan["channels"]
    ax = style.axes_or_new(ax, width=max(6.0, 0.4 * len(channels)))
    xs = np.arange(len(channels))
    before = list(channels.values())
    after = [plan["kept"].get(group, count) for group, count in channels.items()]
    ax.bar(xs, before, 0.8, color="none", edgecolor=style.GREY, label="unpruned")
    ax.bar(xs, after, 0.8, color=style.BLUE, label="kept")
    ax.set_xticks(xs, list(channels), rotation=60, ha="right", fontsize="small")
    ax.set(xlabel="group of layers", ylabel="channels (count)")
    ax.legend(frameon=False, fontsize="small")
    return ax


def plot_filters_removed(plan: Mapping[str, Any], *, ax: Axes | None = None) -> Axes:
    """Which channels of each group are kept (blue) and removed (orange), by their index.

    Args:
        plan: ``channels`` of each group, and the indices ``removed`` of them.
    """
    channels, removed = plan["channels"], plan["removed"]
    ax = style.axes_or_new(ax, height=1.4 + 0.3 * len(channels))
    picture = np.full((len(channels), max(channels.values(), default=1)), np.nan)
    for row, (group, count) in enumerate(channels.items()):
        picture[row, :count] = 1
        picture[row, list(removed.get(group, ()))] = 0
    ax.imshow(
        picture, aspect="auto", interpolation="nearest", vmin=0, vmax=1,
        cmap=ListedColormap([style.ORANGE, style.BLUE]),
    )  # fmt: skip
    ax.grid(visible=False)
    ax.set_yticks(np.arange(len(channels)), list(channels), fontsize="small")
    ax.set(xlabel="channel (index; blue kept, orange removed)", ylabel="group of layers")
    return ax


def plot_layer_times(
    before: Measurement, after: Measurement, *, most: int = 20, ax: Axes | None = None
) -> Axes:
    """Device time of each layer of the unpruned and of the pruned network, the slowest first.

    Both must have been measured with ``Timing(profile=True)``. Layers beyond the ``most`` slowest
    are summed.
    """
    times = [
        {layer.name: layer.ms for layer in measurement.layers} for measurement in (before, after)
    ]
    names = sorted(set(times[0]) | set(times[1]), key=lambda name: -max(_both(times, name)))
    shown = {name: _both(times, name) for name in names[:most]}
    if rest := names[most:]:
        sums = [sum(part) for part in zip(*(_both(times, name) for name in rest), strict=True)]
        shown[f"{len(rest)} more"] = (sums[0], sums[1])
    ax = style.axes_or_new(ax, height=1.6 + 0.3 * len(shown))
    if not shown:
        style.explain(ax, "not profiled: Timing(profile=True) measures layers")
    ys = np.arange(len(shown))[::-1]
    sides = (("unpruned", style.ORANGE, 0.2), ("pruned", style.BLUE, -0.2))
    for side, (label, colour, offset) in enumerate(sides):
        ax.barh(ys + offset, [ms[side] for ms in shown.values()], 0.4, color=colour, label=label)
    ax.set_yticks(ys, list(shown), fontsize="x-small")
    ax.set(xlabel="time on the device (ms)", ylabel="layer")
    ax.legend(frameon=False, fontsize="small")
    return ax


def _both(times: list[dict[str, float]], name: str) -> tuple[float, float]:
    return times[0].get(name, 0.0), times[1].get(name, 0.0)
