"""Reference models and data to try things on, and to compare with."""

from raytune_edge.tasks.cifar import cifar10_loaders, cifar10_resnet20, cifar10_resnet56
from raytune_edge.tasks.digits import digits_loaders, digits_resnet20, digits_resnet56
from raytune_edge.tasks.folder import image_folder
from raytune_edge.tasks.resnet import cifar_resnet

__all__ = [
    "cifar10_loaders",
    "cifar10_resnet20",
    "cifar10_resnet56",
    "cifar_resnet",
    "digits_loaders",
    "digits_resnet20",
    "digits_resnet56",
    "image_folder",
]
