"""scikit-learn's handwritten digits: 1,797 real images that need no download."""

from __future__ import annotations

import functools

import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from raytune_edge.config import Retrain
from raytune_edge.task import Loaders, Task
from raytune_edge.tasks.baseline import trained
from raytune_edge.tasks.resnet import cifar_resnet

__all__ = ["digits_loaders", "digits_resnet20", "digits_resnet56"]

_BATCH = 64
_SPLIT_SEED = 0


def digits_loaders() -> Loaders:
    """The digits as images (N, 3, 32, 32) in [-1, 1]: 1,077 to train, 360 to choose, 360 to test.

    The split is fixed and stratified by class.
    """
    digits = load_digits()
    images = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 8 - 1
    images = F.interpolate(images, size=(32, 32), mode="bilinear").expand(-1, 3, -1, -1)
    labels = torch.tensor(digits.target, dtype=torch.int64)
    rest, test = train_test_split(
        range(len(labels)), test_size=360, stratify=labels, random_state=_SPLIT_SEED
    )
    train, validation = train_test_split(
        rest, test_size=360, stratify=labels[rest], random_state=_SPLIT_SEED
    )

    def batches(rows: list[int], shuffle: bool) -> DataLoader[tuple[torch.Tensor, ...]]:
        data = TensorDataset(images[rows].contiguous(), labels[rows])
        return DataLoader(data, batch_size=_BATCH, shuffle=shuffle)

    return Loaders(
        train=batches(train, True), validation=batches(validation, False), test=batches(test, False)
    )


def digits_resnet20() -> Task:
    """ResNet-20 on the digits; the baseline is trained on first use and kept."""
    return _digits_resnet(20)


def digits_resnet56() -> Task:
    """ResNet-56 on the digits; the baseline is trained on first use and kept."""
    return _digits_resnet(56)


def _digits_resnet(depth: int) -> Task:
    name = f"digits_resnet{depth}"
    return Task(
        model=functools.partial(
            trained,
            name,
            functools.partial(cifar_resnet, depth),
            digits_loaders,
            Retrain(epochs=10, lr=0.1, collapse_epochs=0),
        ),
        loaders=digits_loaders,
        input_shape=(1, 3, 32, 32),
        num_classes=10,
        name=name,
        labels=tuple("0123456789"),
        mean=(0.5,),
        std=(0.5,),
    )
