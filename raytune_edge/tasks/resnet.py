"""The CIFAR ResNet family (depths 20, 32, 44, 56, 110), with projection shortcuts."""

import torch
from torch import nn
from torch.nn import functional as F

__all__ = ["CifarResNet", "cifar_resnet"]


class _Block(nn.Module):
    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.shortcut = nn.Sequential()
        if stride != 1 or in_channels != channels:
            self.shortcut = nn.Sequential(
                nn.Conv2d(in_channels, channels, 1, stride, bias=False),
                nn.BatchNorm2d(channels),
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        return F.relu(out + self.shortcut(x))


class CifarResNet(nn.Module):
    """Three stages of ``blocks`` two-convolution blocks with 16, 32 and 64 channels.

    Source: He et al., "Deep Residual Learning for Image Recognition", 2015, section 4.2; with
    projection shortcuts (option B) where the shape changes.
    """

    def __init__(self, blocks: int, num_classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = _stage(16, 16, blocks, stride=1)
        self.layer2 = _stage(16, 32, blocks, stride=2)
        self.layer3 = _stage(32, 64, blocks, stride=2)
        self.fc = nn.Linear(64, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits (N, num_classes) of images (N, 3, H, W)."""
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        x = torch.flatten(F.adaptive_avg_pool2d(x, 1), 1)
        logits: torch.Tensor = self.fc(x)
        return logits


def _stage(in_channels: int, channels: int, blocks: int, stride: int) -> nn.Sequential:
    first = _Block(in_channels, channels, stride)
    return nn.Sequential(first, *(_Block(channels, channels, 1) for _ in range(blocks - 1)))


def cifar_resnet(depth: int, num_classes: int = 10) -> CifarResNet:
    """An untrained CIFAR ResNet of ``depth`` layers.

    Raises:
        ValueError: If ``depth`` is not ``6 n + 2``.

    >>> sum(p.numel() for p in cifar_resnet(20).parameters())
    272474
    """
    if depth < 8 or depth % 6 != 2:
        raise ValueError(f"cifar_resnet(depth): expected 6 n + 2 (20, 56, ...), got {depth}")
    return CifarResNet((depth - 2) // 6, num_classes)
