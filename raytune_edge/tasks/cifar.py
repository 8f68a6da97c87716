"""CIFAR-10 and the ResNets that it is used with."""

from __future__ import annotations

import functools
import os
from pathlib import Path

import torch
from sklearn.model_selection import train_test_split
from torch import nn
from torch.utils.data import DataLoader, Subset
from torchvision import datasets, transforms

from raytune_edge.config import Retrain
from raytune_edge.task import Loaders, Task
from raytune_edge.tasks.baseline import cache_folder, load_weights, trained
from raytune_edge.tasks.resnet import cifar_resnet

__all__ = ["cifar10_loaders", "cifar10_resnet20", "cifar10_resnet56"]

_MEAN, _STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
_LABELS = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"
)  # fmt: skip


def cifar10_loaders(
    folder: str | os.PathLike[str] | None = None, *, batch_size: int = 128, workers: int = 0
) -> Loaders:
    """CIFAR-10 as images (N, 3, 32, 32): 45,000 to train, 5,000 to choose, 10,000 to test.

    Downloaded by torchvision on first use. Training images are cropped (4 pixels of padding) and
    flipped at random; the validation split is fixed and stratified.

    Args:
        folder: Where the data is or goes to; ``data`` in the cache folder by default.
        workers: Data-loading processes.
    """
    root = str(folder or cache_folder() / "data")
    plain = [transforms.ToTensor(), transforms.Normalize(_MEAN, _STD)]
    augment = [transforms.RandomCrop(32, padding=4), transforms.RandomHorizontalFlip()]
    augmented = datasets.CIFAR10(
        root, train=True, transform=transforms.Compose([*augment, *plain]), download=True
    )
    unchanged = datasets.CIFAR10(root, train=True, transform=transforms.Compose(plain))
    held_out = datasets.CIFAR10(root, train=False, transform=transforms.Compose(plain))
    train, validation = train_test_split(
        range(len(augmented)), test_size=0.1, stratify=augmented.targets, random_state=0
    )

    def batches(
        data: torch.utils.data.Dataset[tuple[torch.Tensor, int]], shuffle: bool = False
    ) -> DataLoader[tuple[torch.Tensor, int]]:
        return DataLoader(data, batch_size=batch_size, shuffle=shuffle, num_workers=workers)

    return Loaders(
        train=batches(Subset(augmented, train), shuffle=True),
        validation=batches(Subset(unchanged, validation)),
        test=batches(held_out),
    )


def cifar10_resnet20(
    *,
    folder: str | os.PathLike[str] | None = None,
    weights: str | os.PathLike[str] | None = None,
    epochs: int = 160,
) -> Task:
    """ResNet-20 on CIFAR-10.

    Args:
        folder: Of the data, as in `cifar10_loaders`.
        weights: File with the state dict of a trained network; without one the baseline is trained
            on first use, for ``epochs``, and kept.
    """
    return _cifar10_resnet(20, folder, weights, epochs)


def cifar10_resnet56(
    *,
    folder: str | os.PathLike[str] | None = None,
    weights: str | os.PathLike[str] | None = None,
    epochs: int = 160,
) -> Task:
    """ResNet-56 on CIFAR-10, the network of the original work; as `cifar10_resnet20`."""
    return _cifar10_resnet(56, folder, weights, epochs)


def _cifar10_resnet(
    depth: int,
    folder: str | os.PathLike[str] | None,
    weights: str | os.PathLike[str] | None,
    epochs: int,
) -> Task:
    name = f"cifar10_resnet{depth}"
    loaders = functools.partial(cifar10_loaders, folder and Path(folder).resolve())
    settings = Retrain(epochs=epochs, lr=0.1, collapse_epochs=0)

    def model() -> nn.Module:
        if weights is not None:
            return load_weights(cifar_resnet(depth), weights)
        return trained(name, functools.partial(cifar_resnet, depth), loaders, settings)

    return Task(
        model=model,
        loaders=loaders,
        input_shape=(1, 3, 32, 32),
        num_classes=10,
        name=name,
        labels=_LABELS,
        mean=_MEAN,
        std=_STD,
    )
