"""Fine-tune, recalibrate, evaluate: plain functions over a model and its batches."""

from __future__ import annotations

import hashlib
import itertools
import logging
import math
from collections.abc import Callable, Iterator, Sized
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import nn
from torch.nn import functional as F
from torch.optim.swa_utils import update_bn

from raytune_edge.config import Retrain
from raytune_edge.task import Batches

__all__ = [
    "Accuracy",
    "Epoch",
    "Teacher",
    "TrainingLoop",
    "best_device",
    "evaluate",
    "fine_tune",
    "has_collapsed",
    "recalibrate",
]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Accuracy:
    """How well a model does on some data: fractions in [0, 1], mean loss in nats."""

    top1: float
    top5: float
    loss: float
    samples: int


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """The end of one pass over the training data.

    Attributes:
        number: 1 for the first.
        loss: Mean training loss in nats.
        state: What the loop needs, beside the model's own weights, to go on from here.
        finished: False if ``interrupt`` ended the epoch early.
    """

    number: int
    loss: float
    state: dict[str, Any]
    finished: bool = True


class TrainingLoop(Protocol):
    """What may stand in `fine_tune`'s place: ``Recipe(training_loop=...)``."""

    def __call__(
        self,
        model: nn.Module,
        batches: Batches,
        settings: Retrain,
        *,
        seed: int,
        interrupt: Callable[[], bool],
        resume: dict[str, Any] | None,
    ) -> Iterator[Epoch]:
        """Train ``model`` in place and yield after each epoch.

        Args:
            model: On the device it should be trained on.
            batches: The training data.
            settings: Epochs, learning rate and the rest.
            seed: Two runs with the same seed on one machine give the same weights.
            interrupt: When it turns true, return soon, or yield once with ``finished=False``.
            resume: The ``state`` of the epoch to go on from; the model has its weights already.
        """


def best_device() -> torch.device:
    """The CUDA device that Ray gave this process, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def fine_tune(
    model: nn.Module,
    batches: Batches,
    settings: Retrain,
    *,
    seed: int = 0,
    interrupt: Callable[[], bool] = lambda: False,
    resume: dict[str, Any] | None = None,
    teacher: Callable[[torch.Tensor], torch.Tensor] | None = None,
) -> Iterator[Epoch]:
    """SGD with Nesterov momentum on cross-entropy; a `TrainingLoop`.

    The generator is seeded anew for each epoch, so a resumed run draws the same batches as one
    that was never stopped. On CUDA it trains in mixed precision if the settings say so.

    Args:
        teacher: Logits to distil from, such as a `Teacher`; weighted by ``settings.distill``.

    Source: the OneCycle schedule is Smith and Topin, "Super-Convergence", 2017; distillation is
    Hinton et al., "Distilling the Knowledge in a Neural Network", 2015, section 2.
    """
    if settings.epochs == 0:
        return
    device = next(model.parameters()).device
    mixed = settings.mixed_precision and device.type == "cuda"
    steps = len(batches) if isinstance(batches, Sized) else sum(1 for _ in batches)
    optimizer = torch.optim.SGD(
        model.parameters(),
        lr=settings.lr,
        momentum=settings.momentum,
        weight_decay=settings.weight_decay,
        nesterov=settings.momentum > 0,
    )
    schedule: torch.optim.lr_scheduler.LRScheduler
    if settings.schedule == "onecycle":
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, max_lr=settings.lr, total_steps=settings.epochs * steps
        )
    else:
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, settings.epochs * steps)
    scaler = torch.amp.GradScaler(device.type, enabled=mixed)
    first = 1
    if resume is not None:
        optimizer.load_state_dict(resume["optimizer"])
        schedule.load_state_dict(resume["schedule"])
        scaler.load_state_dict(resume["scaler"])
        first = resume["epoch"] + 1
    for number in range(first, settings.epochs + 1):
        torch.manual_seed(seed * 1_000_003 + number)
        model.train()
        loss_sum, samples, finished = 0.0, 0, True
        for images, labels in batches:
            if interrupt():
                finished = False
                break
            images, labels = images.to(device), labels.to(device)
            with torch.autocast(device.type, enabled=mixed):
                logits = model(images)
                loss = F.cross_entropy(logits, labels)
                if teacher is not None:
                    soft = _distillation_loss(logits, teacher(images), settings.temperature)
                    loss = torch.lerp(loss, soft, settings.distill)
            optimizer.zero_grad(set_to_none=True)
            scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
            scaler.step(optimizer)
            scaler.update()
            schedule.step()
            loss_sum += float(loss.detach()) * len(labels)
            samples += len(labels)
        yield Epoch(
            number=number,
            loss=loss_sum / max(samples, 1),
            state={
                "epoch": number,
                "optimizer": optimizer.state_dict(),
                "schedule": schedule.state_dict(),
                "scaler": scaler.state_dict(),
            },
            finished=finished,
        )
        if not finished:
            return


def _distillation_loss(
    logits: torch.Tensor, teacher_logits: torch.Tensor, temperature: float
) -> torch.Tensor:
    return temperature**2 * F.kl_div(
        F.log_softmax(logits / temperature, dim=1),
        F.log_softmax(teacher_logits / temperature, dim=1),
        reduction="batchmean",
        log_target=True,
    )


class Teacher:
    """The logits of a trained model, computed once for each image and kept.

    Images are known by their content, so the order of the data does not matter; augmented images
    are new ones and are computed. At most ``keep`` images are kept.
    """

    def __init__(self, model: nn.Module, *, keep: int = 200_000) -> None:
        self._model = model.eval()
        self._keep = keep
        self._logits: dict[bytes, torch.Tensor] = {}

    @torch.no_grad()
    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Logits (N, classes) of images (N, C, H, W), on their device."""
        keys = [hashlib.blake2b(image.cpu().numpy().tobytes()).digest() for image in images]
        missing = [row for row, key in enumerate(keys) if key not in self._logits]
        fresh: dict[bytes, torch.Tensor] = {}
        if missing:
            answers = self._model.to(images.device)(images[missing]).float()
            fresh = {keys[row]: logits for row, logits in zip(missing, answers, strict=True)}
            if len(self._logits) + len(fresh) <= self._keep:
                self._logits |= fresh
        return torch.stack([fresh[key] if key in fresh else self._logits[key] for key in keys])


def recalibrate(model: nn.Module, batches: Batches, count: int, *, seed: int = 0) -> None:
    """Take the BatchNorm statistics of ``model`` anew from ``count`` training batches, in place.

    Pruning changes what reaches each BatchNorm, and a short fine-tune lags behind the weights;
    without this a good network can stand at chance level.
    """
    torch.manual_seed(seed)
    device = next(model.parameters()).device
    update_bn(itertools.islice(batches, count), model, device=device)


@torch.inference_mode()
def evaluate(model: nn.Module, batches: Batches) -> Accuracy:
    """Top-1, top-5 and mean cross-entropy of ``model``; its train or eval mode is kept.

    With fewer than five classes ``top5`` is 1.
    """
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    top1 = top5 = samples = 0
    loss = 0.0
    for images, labels in batches:
        images, labels = images.to(device), labels.to(device)
        logits = model(images).float()
        ranked = logits.topk(min(5, logits.shape[1]), dim=1).indices == labels[:, None]
        top1 += int(ranked[:, 0].sum())
        top5 += int(ranked.any(dim=1).sum())
        loss += float(F.cross_entropy(logits, labels, reduction="sum"))
        samples += len(labels)
    model.train(was_training)
    return Accuracy(top1=top1 / samples, top5=top5 / samples, loss=loss / samples, samples=samples)


def has_collapsed(accuracy: Accuracy, num_classes: int) -> bool:
    """Whether a model is no better than chance.

    Chance level is ``1 / num_classes``; three standard deviations of a guesser's hits on this
    many samples are allowed on top. A loss that is no number is a collapse as well.
    """
    chance = 1 / num_classes
    spread = math.sqrt(chance * (1 - chance) / accuracy.samples)
    return not math.isfinite(accuracy.loss) or accuracy.top1 <= chance + 3 * spread
