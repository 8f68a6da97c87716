"""Pictures show what they say."""

from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from torch import nn

from raytune_edge.pruning import (
    Plan,
    Pruner,
    Sensitivity,
    SensitivityRow,
    plan,
    prunable_groups,
)
from raytune_edge.pruning.pictures import draw_filters, draw_sensitivity


@pytest.fixture
def made(network: nn.Module, example: torch.Tensor) -> Plan:
    return plan(prunable_groups(network, example), {"stem.0": 0.5, "left.0": 0.25}, round_to=1,
                min_keep=1)  # fmt: skip


def shown(figure: Figure) -> list[str]:
    return [axes.get_title().split("\n")[0] for axes in figure.axes if axes.axison]


def test_filters_have_a_panel_for_each_pruned_layer(
    network: nn.Module, example: torch.Tensor, made: Plan, tmp_path: Path
) -> None:
    removed = Pruner(network, example).choose(made)
    figure = draw_filters(network, removed)
    assert shown(figure) == ["stem.0", "residual.1", "left.0"]
    bars = figure.axes[2].patches
    norms = network.left[0].weight.detach().abs().sum((1, 2, 3)).sort(descending=True).values
    np.testing.assert_allclose([bar.get_height() for bar in bars], norms, rtol=1e-6)
    colours = [to_hex(bar.get_facecolor()) for bar in bars]
    assert colours == ["#0072b2"] * 6 + ["#e69f00"] * 2
    figure.savefig(tmp_path / "filters.png")


def test_sensitivity_has_a_cell_for_each_group_and_level() -> None:
    def row(group: str, level: float, top1: float) -> SensitivityRow:
        return SensitivityRow(
            network="n", group=group, level=level, channels=16, kept=8, macs_ratio=0.9,
            top1_before=top1 / 2, top5_before=0, loss_before=0, top1=top1, top5=0, loss=0,
        )  # fmt: skip

    rows = (row("a", 0.25, 0.9), row("a", 0.5, 0.8), row("b", 0.5, 0.6))
    figure = draw_sensitivity(Sensitivity(baseline=row("", 0, 0.95), rows=rows))
    before, after = (axes.images[0].get_array().filled(-1) for axes in figure.axes[:2])
    np.testing.assert_allclose(after, [[0.9, 0.8], [-1, 0.6]])
    np.testing.assert_allclose(before, [[0.45, 0.4], [-1, 0.3]])
