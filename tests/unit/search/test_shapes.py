"""Sizes from a config, against the network built and counted; latencies from a store."""

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

import raytune_edge as rte
from raytune_edge import counting, pruning
from raytune_edge.export import export_onnx
from raytune_edge.search.foreknown import StoredLatencies
from raytune_edge.search.shapes import Shapes
from raytune_edge.store import Store
from tests.unit.test_records import measurement


class Mixed(nn.Module):
    """A residual sum, a depthwise and a grouped convolution, and a flatten."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 32, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(32)
        self.inner = nn.Conv2d(32, 32, 3, padding=1)
        self.depthwise = nn.Conv2d(32, 32, 3, stride=2, padding=1, groups=32)
        self.wide = nn.Conv2d(32, 48, 1)
        self.grouped = nn.Conv2d(48, 32, 3, padding=1, groups=2)
        self.head = nn.Linear(32 * 16, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.norm(self.stem(x)))
        x = self.depthwise(torch.relu(x + self.inner(x)))
        return self.head(torch.flatten(torch.relu(self.grouped(torch.relu(self.wide(x)))), 1))


def loaders() -> rte.Loaders:
    batches = [(torch.rand(2, 1, 8, 8), torch.tensor([0, 1]))]
    return rte.Loaders(train=batches, validation=batches, test=batches)


@pytest.fixture(scope="module")
def recipe() -> rte.Recipe:
    task = rte.Task(model=Mixed, loaders=loaders, input_shape=(1, 1, 8, 8), num_classes=4)
    return rte.Recipe(task=task)


def pruned(recipe: rte.Recipe, config: dict[str, float]) -> nn.Module:
    model, example = recipe.task.baseline(), recipe.task.example()
    ratios = {name.partition(":")[2]: ratio for name, ratio in config.items()}
    plan = pruning.plan(pruning.prunable_groups(model, example), ratios)
    return pruning.prune(model, example, plan, backend="torch-pruning")


@pytest.mark.parametrize("ratio", [0.0, 0.3, 0.5, 0.9])
def test_sizes_are_those_of_the_network_that_is_built(recipe: rte.Recipe, ratio: float) -> None:
    shapes = Shapes(recipe)
    assert len(shapes.groups) >= 3
    for each in shapes.groups:
        config = {f"pruning_ratio:{group.name}": ratio for group in shapes.groups}
        config[f"pruning_ratio:{each.name}"] = 0.5
        counted = counting.count(pruned(recipe, config), recipe.task.example())
        size = shapes.size(config)
        assert (size.metrics["macs"], size.metrics["params"]) == (counted.macs, counted.params)
        whole = shapes.unpruned
        assert size.metrics["macs_ratio"] == counted.macs / whole["macs"]
        assert size.metrics["params_ratio"] == counted.params / whole["params"]


def test_a_stored_latency_is_found_for_its_network_device_and_settings(
    recipe: rte.Recipe, tmp_path: Path
) -> None:
    shapes = Shapes(recipe)
    config, other = ({f"pruning_ratio:{shapes.groups[0].name}": ratio} for ratio in (0.5, 0.25))
    signature = export_onnx(pruned(recipe, config), recipe.task.example()).signature
    record = dataclasses.replace(measurement(0.7), signature=signature)
    device = SimpleNamespace(device_name=record.device_name, runtime=record.runtime)
    another = SimpleNamespace(device_name="another", runtime=record.runtime)

    def stored(*devices: Any) -> StoredLatencies:
        pool: Any = SimpleNamespace(status=lambda: SimpleNamespace(devices=devices))
        return StoredLatencies(recipe, tmp_path, pool)

    def look(config: dict[str, float], *devices: Any) -> dict[str, float]:
        return stored(*devices)(shapes.size(config).kept)

    from_the_start = stored(device)
    assert from_the_start(shapes.size(config).kept) == {}
    Store(tmp_path).put(record, recipe.timing)
    assert from_the_start(shapes.size(config).kept)["latency_p50_ms"] == 0.7
    assert look(config, another, device)["latency_p50_ms"] == 0.7
    assert look(other, device) == {}
    assert look(config, another) == {}
