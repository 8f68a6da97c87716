"""What is known of a network before it becomes a trial: it is built and asked for."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from raytune_edge.config import Recipe
from raytune_edge.errors import DeviceError, NoRuntimeError, ParityError, UnsupportedModelError
from raytune_edge.ncs2.checking import require
from raytune_edge.runtimes.ncs2 import legacy_python
from raytune_edge.store import Store

if TYPE_CHECKING:
    from raytune_edge.devices import DevicePool
    from raytune_edge.export import ExportedModel

__all__ = ["Looks", "StickPredictions", "StoredLatencies"]

logger = logging.getLogger(__name__)


class StoredLatencies:
    """Looks a network's figures up in a store, before it becomes a trial.

    A record is found by its network's signature, so the pruned network is built and exported: about
    a second for one that was not asked for before. Nothing is built while the store has no records.
    A record doesn't tell its network's widths, so it is of no use for networks but its own.

    Args:
        recipe: What is pruned, and how it is measured.
        store: The store's folder, as given to `connect_devices`.
        devices: The pool that will measure: records of other devices or runtimes don't count.
    """

    def __init__(self, recipe: Recipe, store: str | os.PathLike[str], devices: DevicePool) -> None:
        self._recipe = recipe
        self._store = Store(store)
        self._devices = {(each.device_name, each.runtime) for each in devices.status().devices}
        self._empty = not self._store.records()
        self._signatures: dict[tuple[int, ...], str] = {}

    def __call__(self, kept: Mapping[str, int]) -> dict[str, float]:
        """The figures of the network that keeps ``kept`` channels; none where none are stored."""
        if self._empty:  # until now: trials fill it
            self._empty = not self._store.records()
        if self._empty:
            return {}
        key = tuple(kept.values())
        if key not in self._signatures:
            self._signatures[key] = _exported(self._recipe, kept).signature
        for device_name, runtime in self._devices:
            found = self._store.get(
                self._signatures[key],
                device_name=device_name,
                runtime=runtime,
                timing=self._recipe.timing,
            )
            if found is not None:
                return {n: value for n, value in found.metrics().items() if math.isfinite(value)}
        return {}


class StickPredictions:
    """What the stick's compiler predicts of a network, without a stick: ``predicted_hw_ms``.

    Each network is built, exported and compiled once: about a second for a small one.

    Args:
        recipe: What is pruned.

    Raises:
        NoRuntimeError: If this host lacks the stick's runtime; the message says what makes it.
    """

    def __init__(self, recipe: Recipe) -> None:
        legacy_python()
        self._recipe = recipe
        self._found: dict[tuple[int, ...], dict[str, float]] = {}

    @classmethod
    def where_asked_for(cls, recipe: Recipe) -> StickPredictions | None:
        """Those of a recipe whose trials ask the compiler; None where this host cannot."""
        if recipe.precheck != "ncs2":
            return None
        try:
            return cls(recipe)
        except NoRuntimeError as error:
            logger.warning("the search does without the stick's compiler: %s", error)
            return None

    def __call__(self, kept: Mapping[str, int]) -> dict[str, float]:
        """The figure of the network that keeps ``kept`` channels.

        Raises:
            UnsupportedModelError: If the stick cannot run it; the message names the layer.
            DeviceError: If the compiler hung or crashed.
        """
        key = tuple(kept.values())
        if key not in self._found:
            predicted_ms = require(_exported(self._recipe, kept).onnx).predicted_hw_ms
            self._found[key] = {} if predicted_ms is None else {"predicted_hw_ms": predicted_ms}
        return self._found[key]


class Looks:
    """All that is looked up of a network which is about to be tried.

    Args:
        recipe: What is pruned; it says whether the stick's compiler is asked.
        stored: The store, if it is asked.
    """

    def __init__(self, recipe: Recipe, stored: StoredLatencies | None) -> None:
        looks = (stored, StickPredictions.where_asked_for(recipe))
        self._looks = [look for look in looks if look is not None]

    def __call__(self, kept: Mapping[str, int]) -> dict[str, float]:
        """The figures of the network that keeps ``kept`` channels.

        Raises:
            UnsupportedModelError: If the stick cannot run it; the message names the layer.
        """
        found: dict[str, float] = {}
        for look in self._looks:
            try:
                found |= look(kept)
            except (ParityError, UnsupportedModelError):  # of the network, not of the compiler
                raise
            except DeviceError as error:
                logger.warning("the stick's compiler told nothing: %s", error)
        return found


def _exported(recipe: Recipe, kept: Mapping[str, int]) -> ExportedModel:
    from raytune_edge.export import export_onnx
    from raytune_edge.pruning import Plan, prunable_groups, prune

    model, example = recipe.task.baseline(), recipe.task.example()
    channels = {group.name: group.channels for group in prunable_groups(model, example)}
    asked = {name: 1 - kept[name] / channels[name] for name in kept}
    plan = Plan(kept=dict(kept), channels=channels, asked=asked)
    return export_onnx(prune(model, example, plan, backend="torch-pruning"), example)
