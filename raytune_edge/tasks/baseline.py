"""A baseline that is trained once and kept by the hash of its settings."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import os
import pickle
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from raytune_edge.config import Retrain
from raytune_edge.errors import TaskError
from raytune_edge.task import Loaders
from raytune_edge.training import best_device, evaluate, fine_tune, recalibrate

__all__ = ["cache_folder", "load_weights", "trained"]

logger = logging.getLogger(__name__)

_UNREADABLE = (OSError, RuntimeError, EOFError, AttributeError, pickle.UnpicklingError)


def cache_folder() -> Path:
    """``$RAYTUNE_EDGE_CACHE``, else ``raytune_edge`` in the user's cache folder."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("RAYTUNE_EDGE_CACHE") or Path(home) / "raytune_edge")


def load_weights(network: nn.Module, path: str | os.PathLike[str]) -> nn.Module:
    """``network`` with the state dict in the file ``path``, which is read with ``weights_only``.

    A checkpoint that holds the state dict under ``"state_dict"`` or ``"model"`` is taken as well.

    Raises:
        TaskError: If the file cannot be read, or is no state dict of this architecture.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        for wrapper in ("state_dict", "model"):
            state = state.get(wrapper, state)
        network.load_state_dict(state)
    except _UNREADABLE as error:
        raise TaskError(f"{path} holds no weights for this network: {error}") from error
    return network.eval()


def trained(
    name: str,
    model: Callable[[], nn.Module],
    loaders: Callable[[], Loaders],
    settings: Retrain,
    *,
    seed: int = 0,
) -> nn.Module:
    """``model()`` trained on ``loaders()``, from the cache if it was trained before.

    The key is a hash of name, architecture (parameter names and shapes) and settings; a file that
    cannot be read is trained again. A run that is killed while training leaves no file behind.
    """
    torch.manual_seed(seed)
    network = model()
    shapes = {key: list(value.shape) for key, value in network.state_dict().items()}
    identity = json.dumps([name, shapes, dataclasses.asdict(settings), seed], sort_keys=True)
    key = hashlib.sha256(identity.encode()).hexdigest()[:16]
    path = cache_folder() / "baselines" / f"{name}-{key}.pt"
    if path.exists():
        try:
            loaded = load_weights(network, path)
            logger.info("baseline %s: loaded from %s", name, path)
            return loaded
        except TaskError as error:
            logger.warning("baseline %s: training again: %s", name, error)
    _train(name, network, loaders(), settings, seed)
    _save(network, path)
    return network.eval()


def _train(name: str, network: nn.Module, data: Loaders, settings: Retrain, seed: int) -> None:
    network.to(best_device())
    for epoch in fine_tune(network, data.train, settings, seed=seed):
        logger.info("baseline %s: epoch %d/%d", name, epoch.number, settings.epochs)
    recalibrate(network, data.train, settings.recalibrate_batches, seed=seed)
    top1 = evaluate(network, data.validation).top1
    logger.info("baseline %s: trained, validation top-1 %.3f", name, top1)
    network.cpu()


def _save(network: nn.Module, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        torch.save(network.state_dict(), file)
    os.replace(file.name, path)
