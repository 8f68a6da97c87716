"""Pictures of what pruning removed and of what each group costs, to be saved by ``savefig``.

Kept channels against the original are drawn by `analysis.plots.plot_kept_channels`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from torch import nn

from raytune_edge.pruning.groups import Group
from raytune_edge.pruning.rows import Sensitivity

__all__ = ["draw_filters", "draw_sensitivity"]

_KEPT, _REMOVED = "#0072B2", "#E69F00"
_COLUMNS = 6


def draw_filters(model: nn.Module, removed: Mapping[Group, Sequence[int]]) -> Figure:
    """Draw the L1 norm of each filter of each pruned layer, largest first, the removed ones marked.

    Args:
        model: The unpruned network.
        removed: From `Pruner.choose`.
    """
    layers = [(layer, set(gone)) for group, gone in removed.items() for layer in group.members]
    rows = max(1, math.ceil(len(layers) / _COLUMNS))
    figure = Figure(figsize=(2.2 * _COLUMNS, 1.7 * rows + 0.6), layout="constrained")
    panels = figure.subplots(rows, _COLUMNS, squeeze=False).ravel()
    for panel in panels:
        panel.set_axis_off()
    for panel, (layer, gone) in zip(panels, layers, strict=False):
        panel.set_axis_on()
        norms = model.get_parameter(f"{layer}.weight").detach().abs().flatten(1).sum(1).cpu()
        order = norms.argsort(descending=True).tolist()
        colours = [_REMOVED if channel in gone else _KEPT for channel in order]
        panel.bar(range(len(order)), norms[order].numpy(), width=1.0, color=colours)
        panel.set_title(f"{layer}\n{len(gone)} of {len(order)} removed", fontsize="x-small")
        panel.tick_params(labelsize="xx-small")
        panel.set_xticks([])
    figure.supxlabel("filters, largest first (blue kept, orange removed)", fontsize="small")
    figure.supylabel("L1 norm of the filter", fontsize="small")
    return figure


def draw_sensitivity(found: Sensitivity) -> Figure:
    """Draw top-1 by group and level, before and after BatchNorm is recalibrated.

    Levels that keep as many channels as a lower one are blank.

    Args:
        found: From `sensitivity`.
    """
    groups = list(dict.fromkeys(row.group for row in found.rows))
    levels = sorted({row.level for row in found.rows})
    figure = Figure(figsize=(4 + 0.9 * len(levels), 1.5 + 0.28 * len(groups)), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for panel, figures, title in (
        (panels[0], [row.top1_before for row in found.rows], "before recalibration"),
        (panels[1], [row.top1 for row in found.rows], "after recalibration"),
    ):
        cells = np.full((len(groups), len(levels)), np.nan)
        for row, top1 in zip(found.rows, figures, strict=True):
            cells[groups.index(row.group), levels.index(row.level)] = top1
        drawn = panel.imshow(cells, vmin=0, vmax=1, cmap="viridis", aspect="auto")
        panel.set_xticks(range(len(levels)), [f"{level:g}" for level in levels])
        panel.set_yticks(range(len(groups)), groups, fontsize="x-small")
        panel.set_title(title, fontsize="small")
    figure.supxlabel("pruning ratio (fraction)", fontsize="small")
    figure.colorbar(drawn, ax=panels, label=f"top-1 (unpruned: {found.baseline.top1:.3f})")
    return figure
