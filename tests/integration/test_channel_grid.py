"""Which channel counts pay on the stick, asked of its real compiler."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest
import torch
from torch import nn

from raytune_edge.config import Recipe
from raytune_edge.errors import PlanError, UnsupportedModelError
from raytune_edge.export import export_onnx
from raytune_edge.ncs2 import probing
from raytune_edge.ncs2.grid import channel_grid
from raytune_edge.ncs2.probing import Convolution
from raytune_edge.pruning import plan, prunable_groups, prune
from raytune_edge.runtimes.ncs2.compiler import Compiler, CompileReport
from raytune_edge.space import schedule_point, search_space, unpack, unpruned_point

IMAGE = torch.rand(1, 3, 28, 28)


class Small(nn.Module):
    """A plain convolution, a depthwise one, and a residual sum."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 64, 3, padding=1)
        self.plain = nn.Conv2d(64, 64, 3, padding=1)
        self.wide = nn.Conv2d(64, 96, 1)
        self.depth = nn.Conv2d(96, 96, 3, padding="same", groups=96)
        self.last = nn.Conv2d(96, 64, 1)
        self.head = nn.Conv2d(64, 10, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x).relu()
        y = self.depth(self.wide(self.plain(x).relu()).relu()).relu()
        return self.head(x + self.last(y)).mean((2, 3))


@pytest.fixture(scope="module")
def task() -> Any:
    torch.manual_seed(0)
    model = Small().eval()
    return SimpleNamespace(baseline=lambda: model, example=lambda: IMAGE)


@pytest.mark.legacy
def test_the_grid_is_what_whole_networks_cost(task: Any, tmp_path: Path) -> None:
    cache, told = tmp_path / "cache.json", []
    grid = channel_grid(task, cache=cache, tell=told.append)
    assert told[-1].endswith(f"of {(total := told[-1].split()[-2])} layers")
    assert f"cost of {total} of" in told[-1]
    # Known of a 3x3 with 64 inputs: 33 outputs cost as much as 64, 17 as much as 32.
    assert {16, 32, 64} <= set(grid["plain"])
    assert not {24, 40, 48, 56} & set(grid["plain"])
    model = task.baseline()
    groups = prunable_groups(model, IMAGE)
    with Compiler() as compiler:

        def whole(group: str, count: int) -> float:
            ratio = 1 - count / groups.named(group).channels
            pruned = prune(model, IMAGE, plan(groups, {group: ratio}), backend="torch-pruning")
            report = compiler.compile(export_onnx(pruned, IMAGE).onnx)
            assert report.predicted_hw_ms is not None
            return report.predicted_hw_ms

        for group in ("stem", "plain", "wide"):
            costs = grid.predicted_ms[group]
            for count in (min(costs), 40):
                saved = whole(group, max(costs)) - whole(group, count)
                assert saved == pytest.approx(costs[max(costs)] - costs[count], rel=0.02)
    assert channel_grid(task, cache=cache, tell=pytest.fail).predicted_ms == grid.predicted_ms
    cache.write_text('{"cut')
    assert channel_grid(task, cache=cache).counts == grid.counts


@pytest.mark.parametrize(
    ("layer", "told"),
    [
        ("y1", r"^the stick refuses Convolution\(inputs=2,"),
        ("z", r"one of 3 convolutions, such as"),
    ],
)
def test_a_convolution_that_is_refused_is_told_alone(layer: str, told: str) -> None:
    batch = [Convolution(each, 8, 1, (3, 3), (1, 1), (1, 1), (1, 1), (8, 8)) for each in (1, 2, 3)]
    refusal = CompileReport(ok=False, reason="no", layer=layer)
    with pytest.raises(UnsupportedModelError, match=told) as caught:
        probing._compile(Mock(compile=lambda onnx_bytes: refusal), batch)
    assert str(caught.value).count("Convolution(") == 1


@pytest.mark.parametrize("by", ["group", "stage"])
def test_the_space_offers_only_the_counts_of_the_grid(task: Any, by: Any) -> None:
    grid = {"stem": (16, 64), "plain": (16, 32, 64), "wide": (24, 96)}
    recipe = Recipe(task=task)
    groups = prunable_groups(task.baseline(), IMAGE)
    space = search_space(recipe, by=by, grid=grid)
    kept: dict[str, set[int]] = {}
    for key, domain in space.items():
        for ratio in domain.categories:
            for group, count in plan(groups, unpack({key: ratio}, groups).ratios).kept.items():
                kept.setdefault(group, set()).add(count)
    wanted = {group: set(counts) for group, counts in grid.items()}
    if by == "stage":  # the ratios that all three share
        wanted = {"stem": {64, 16}, "plain": {64, 16}, "wide": {96, 24}}
    assert kept == wanted
    assert plan(groups, unpack(unpruned_point(space), groups).ratios).keeps_all
    near = schedule_point(space, groups, {"plain": 0.7, "stem": 0.7, "wide": 0.7})
    assert plan(groups, unpack(near, groups).ratios).kept["plain"] == 16


def test_a_grid_of_another_rounding_is_refused(task: Any) -> None:
    with pytest.raises(PlanError, match=r"never keeps \[20\].*channel_grid\(task, round_to=8"):
        search_space(Recipe(task=task), grid={"plain": (20, 64)})


def test_a_grid_of_another_network_is_refused(task: Any) -> None:
    with pytest.raises(
        PlanError, match=r"has no groups \['conv1'\]; it has \['stem', 'plain', 'wide'\]"
    ):
        search_space(Recipe(task=task), grid={"plain": (16, 64), "conv1": (16, 64)})
