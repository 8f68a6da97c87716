"""Network, data and shapes of a task are checked against each other on construction."""

from typing import Any

import pytest
import torch
from torch import nn

from raytune_edge.errors import TaskError
from raytune_edge.task import Loaders, Task

GOOD: dict[str, Any] = {"input_shape": (1, 3, 8, 8), "num_classes": 4}


def network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())


def loaders(classes: int = 4, side: int = 8, empty: str = "") -> Loaders:
    batch = (torch.rand(8, 3, side, side), torch.arange(8) % classes)
    parts = {name: [] if name == empty else [batch] for name in ("train", "validation", "test")}
    return Loaders(**parts)


def test_a_task_that_fits_is_taken() -> None:
    task = Task(model=network, loaders=loaders, **GOOD)
    assert not task.baseline().training
    assert task.example().shape == (1, 3, 8, 8)


def test_the_baseline_is_a_copy() -> None:
    task = Task(model=network, loaders=loaders, **GOOD)
    first = task.baseline()
    with torch.no_grad():
        first[0].weight.zero_()
    assert task.baseline()[0].weight.abs().sum() > 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"input_shape": (1, 1, 8, 8)}, "cannot take an input of this shape.*trained with"),
        ({"input_shape": (3, 8, 8)}, r"expected \(1, C, H, W\)"),
        ({"input_shape": (1, 3, 16, 16)}, r"train data yields images of shape \(3, 8, 8\)"),
        ({"num_classes": 5}, r"expected logits of shape \(1, 5\).*returns \(1, 4\)"),
        ({"labels": ("a", "b")}, "expected 4 names, got 2"),
        ({"mean": (0.5, 0.5)}, "one figure or one for each of 3 channels"),
        ({"std": (1.0, 0.0, 1.0)}, "all above 0"),
        ({"model": lambda: "resnet20"}, "returns a torch.nn.Module.*str"),
        ({"loaders": lambda: loaders(classes=6)}, "labels from 0 to 5, expected 0 to 3"),
        ({"loaders": lambda: loaders(empty="test")}, "the test data is empty"),
        ({"loaders": lambda: 3}, "expected Loaders"),
    ],
)
def test_what_does_not_fit_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(TaskError, match=message):
        Task(**{"model": network, "loaders": loaders, **GOOD, **settings})
