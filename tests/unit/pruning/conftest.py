"""A small network with everything in it that couples channels."""

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn import functional as F


def conv_bn(ins: int, outs: int, size: int = 3, groups: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(ins, outs, size, padding=size // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outs), nn.ReLU())


class Everything(nn.Module):
    """Residual sum, depthwise and grouped convolutions, concatenation, gate, flattening."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv_bn(3, 16)
        self.residual = nn.Sequential(conv_bn(16, 24), nn.Conv2d(24, 16, 3, padding=1))
        self.inverted = nn.Sequential(conv_bn(16, 32, 1), conv_bn(32, 32, groups=32))
        self.gate = nn.Sequential(nn.Conv2d(32, 8, 1), nn.ReLU(), nn.Conv2d(8, 32, 1))
        self.project = conv_bn(32, 32, 1)
        self.grouped = conv_bn(32, 32, groups=4)
        self.left, self.right = conv_bn(32, 8), conv_bn(32, 16, 1)
        self.after = conv_bn(24, 16)
        self.head = nn.Linear(16 * 4, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        x = x + self.residual(x)
        x = self.inverted(x)
        x = x * torch.sigmoid(self.gate(F.adaptive_avg_pool2d(x, 1)))
        x = self.grouped(self.project(x))
        x = self.after(torch.cat([self.left(x), self.right(x)], 1))
        return self.head(F.adaptive_avg_pool2d(x, 2).flatten(1))


class Untraceable(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = conv_bn(3, 16), conv_bn(16, 16)
        self.head = nn.Linear(16, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x)
        if x.mean() > -1:  # the line that stops the tracer
            x = self.second(x) + 1
        return self.head(x.mean((2, 3)))


@pytest.fixture
def example() -> torch.Tensor:
    return torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def network() -> nn.Module:
    """`Everything` with BatchNorms that look trained: no scale is 1, no shift and mean is 0."""
    return look_trained(Everything())


@pytest.fixture
def untraceable() -> nn.Module:
    return look_trained(Untraceable())


@pytest.fixture
def trained_looks() -> Callable[[nn.Module], nn.Module]:
    return look_trained


def look_trained(model: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.3)
            module.running_mean.normal_(std=0.3)
            module.running_var.uniform_(0.5, 1.5)
    return model.eval()
