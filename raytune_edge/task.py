"""A task: the trained network, its data and its input shape, checked against each other."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import torch
from torch import nn

from raytune_edge.errors import TaskError

__all__ = ["Batches", "Loaders", "Task"]

Batches = Iterable[tuple[torch.Tensor, torch.Tensor]]
"""Yields (images (N, C, H, W) float32, labels (N,) int64); iterable again from its start."""


@dataclass(frozen=True, kw_only=True)
class Loaders:
    """Training data, validation data to choose by, and test data that never chooses."""

    train: Batches
    validation: Batches
    test: Batches


@dataclass(frozen=True, kw_only=True)
class Task:
    """What is to be made fast: a trained classifier and its data.

    ``model`` is called once, here, and the network it returns travels with the task to every
    trial; so a file that it reads needs to exist on this machine only. ``loaders`` is called
    once in each trial, where the data is used.

    Attributes:
        model: Returns the trained network, a ``torch.nn.Module`` from images to logits.
        loaders: Returns the `Loaders`.
        input_shape: Shape of one request, ``(1, C, H, W)``.
        num_classes: Number of logits.
        name: For logs, folders and reports.
        labels: Class names, for the deployable bundle; numbers where there are none.
        mean: What the loaders subtract from pixels in [0, 1], one figure or one a channel, and
            ``std`` what they then divide by; for the deployable bundle.
        device_samples: Validation images that the device classifies when the retrained network is
            measured, for its accuracy as deployed; 0 for none.

    Raises:
        TaskError: On construction, if network, data and shapes do not fit each other.
    """

    model: Callable[[], nn.Module]
    loaders: Callable[[], Loaders]
    input_shape: tuple[int, int, int, int]
    num_classes: int
    name: str = "task"
    labels: tuple[str, ...] = ()
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    device_samples: int = 64
    _baseline: nn.Module = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        shape = tuple(self.input_shape)
        if len(shape) != 4 or shape[0] != 1 or any(int(n) != n or n < 1 for n in shape):
            raise TaskError(
                f"Task(input_shape=...): expected (1, C, H, W) of whole numbers, got {shape}"
            )
        if self.labels and len(self.labels) != self.num_classes:
            raise TaskError(
                f"Task(labels=...): expected {self.num_classes} names, got {len(self.labels)}"
            )
        for name, figures in (("mean", self.mean), ("std", self.std)):
            if len(figures) not in (1, shape[1]) or (name == "std" and min(figures) <= 0):
                raise TaskError(
                    f"Task({name}=...): expected one figure or one for each of {shape[1]} channels"
                    f"{', all above 0' if name == 'std' else ''}, got {figures}"
                )
        if self.device_samples < 0:
            raise TaskError(f"Task(device_samples={self.device_samples}): expected 0 or more")
        network = self.model()
        if not isinstance(network, nn.Module):
            raise TaskError(
                "Task(model=...): expected a function that returns a torch.nn.Module, "
                f"it returned {type(network).__name__}"
            )
        object.__setattr__(self, "_baseline", network.cpu().eval())
        self._check_network(network, shape)
        self._check_batches()

    def baseline(self) -> nn.Module:
        """A copy of the trained network, on the CPU in eval mode; the caller may change it."""
        return copy.deepcopy(self._baseline)

    def example(self) -> torch.Tensor:
        """A fixed input of ``input_shape``, float32 in [0, 1), for tracing and shape checks."""
        return torch.rand(self.input_shape, generator=torch.Generator().manual_seed(0))

    def _check_network(self, network: nn.Module, shape: tuple[int, ...]) -> None:
        try:
            with torch.inference_mode():
                logits = network(self.example())
        except Exception as error:
            raise TaskError(
                f"Task(input_shape={shape}): the network cannot take an input of this shape: "
                f"{error}. Give the shape that it was trained with, batch first."
            ) from error
        expected = (1, self.num_classes)
        got = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
        if got != expected:
            raise TaskError(
                f"Task(num_classes={self.num_classes}): expected logits of shape {expected}, "
                f"the network returns {got}"
            )

    def _check_batches(self) -> None:
        loaders = self.loaders()
        for name in ("train", "validation", "test"):
            try:
                images, labels = next(iter(getattr(loaders, name)))
            except StopIteration:
                raise TaskError(f"Task(loaders=...): the {name} data is empty") from None
            except (TypeError, ValueError, AttributeError) as error:
                raise TaskError(
                    f"Task(loaders=...): expected Loaders whose {name} data yields pairs "
                    f"(images, labels): {error}"
                ) from error
            if tuple(images.shape[1:]) != tuple(self.input_shape[1:]):
                raise TaskError(
                    f"Task(input_shape={self.input_shape}): the {name} data yields images of "
                    f"shape {tuple(images.shape[1:])}, expected {tuple(self.input_shape[1:])}"
                )
            low, high = int(labels.min()), int(labels.max())
            if low < 0 or high >= self.num_classes:
                raise TaskError(
                    f"Task(num_classes={self.num_classes}): the {name} data yields labels from "
                    f"{low} to {high}, expected 0 to {self.num_classes - 1}"
                )
