"""A folder of images, one sub-folder a class, and any of torchvision's classifiers."""

from __future__ import annotations

import functools
import os
from pathlib import Path

from torch import nn
from torch.utils.data import DataLoader
from torchvision import datasets, models, transforms

from raytune_edge.config import Retrain
from raytune_edge.errors import TaskError
from raytune_edge.task import Loaders, Task
from raytune_edge.tasks.baseline import load_weights, trained

__all__ = ["image_folder"]

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_PARTS = ("train", "validation", "test")


def image_folder(
    path: str | os.PathLike[str],
    arch: str,
    *,
    weights: str | os.PathLike[str] | None = None,
    pretrained: bool = False,
    epochs: int = 20,
    lr: float = 0.01,
    image_size: int = 224,
    batch_size: int = 64,
    workers: int = 0,
) -> Task:
    """A task on the images in ``path/train``, ``path/validation`` and ``path/test``.

    Each of the three holds one folder for each class. Images become (N, 3, ``image_size``,
    ``image_size``), normalised with ImageNet's mean and deviation.

    Args:
        arch: Name of one of torchvision's classifiers, such as ``"mobilenet_v2"``.
        weights: File with the state dict of a network trained on these classes; without one the
            baseline is trained on first use and kept.
        pretrained: Begin that training from torchvision's ImageNet weights (downloaded), with a
            new output layer.
        epochs: Of that training, as is ``lr``.
        workers: Data-loading processes.

    Raises:
        TaskError: If a folder is missing, the classes differ, or ``arch`` is unknown.
    """
    root = Path(path).resolve()
    classes = _classes(root)
    known = models.list_models(module=models)
    if arch not in known:
        raise TaskError(f"image_folder(arch={arch!r}): torchvision's classifiers are {known}")
    loaders = functools.partial(_loaders, root, image_size, batch_size, workers)
    untrained = functools.partial(_network, arch, len(classes), pretrained)
    name = f"{root.name}_{arch}"

    def model() -> nn.Module:
        if weights is not None:
            return load_weights(_network(arch, len(classes), False), weights)
        settings = Retrain(epochs=epochs, lr=lr, collapse_epochs=0)
        return trained(name, untrained, loaders, settings)

    return Task(
        model=model,
        loaders=loaders,
        input_shape=(1, 3, image_size, image_size),
        num_classes=len(classes),
        name=name,
        labels=classes,
        mean=_MEAN,
        std=_STD,
    )


def _classes(root: Path) -> tuple[str, ...]:
    found = {}
    for part in _PARTS:
        try:
            found[part] = tuple(datasets.folder.find_classes(str(root / part))[0])
        except FileNotFoundError as error:
            raise TaskError(
                f"image_folder({str(root)!r}): expected the folders {_PARTS}, each with one folder "
                f"of images for each class: {error}"
            ) from error
    if len(set(found.values())) != 1:
        raise TaskError(f"image_folder({str(root)!r}): the classes differ: {found}")
    return found["train"]


def _loaders(root: Path, image_size: int, batch_size: int, workers: int) -> Loaders:
    plain = [transforms.ToTensor(), transforms.Normalize(_MEAN, _STD)]
    centred = [transforms.Resize(image_size * 8 // 7), transforms.CenterCrop(image_size)]
    augment = [transforms.RandomResizedCrop(image_size), transforms.RandomHorizontalFlip()]

    def batches(part: str) -> DataLoader[object]:
        steps = augment if part == "train" else centred
        data = datasets.ImageFolder(str(root / part), transforms.Compose([*steps, *plain]))
        return DataLoader(data, batch_size=batch_size, shuffle=part == "train", num_workers=workers)

    return Loaders(**{part: batches(part) for part in _PARTS})


def _network(arch: str, classes: int, pretrained: bool) -> nn.Module:
    extra = {"aux_logits": False} if arch in ("googlenet", "inception_v3") else {}
    network: nn.Module = models.get_model(arch, weights=None, num_classes=classes, **extra)
    if pretrained:
        (weights, *_) = models.get_model_weights(arch)
        state = weights.get_state_dict(progress=False, check_hash=True)
        own = network.state_dict()
        fitting = {k: v for k, v in state.items() if k in own and v.shape == own[k].shape}
        network.load_state_dict(own | fitting)
    return network
