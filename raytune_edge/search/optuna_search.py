"""Tune's ``OptunaSearch`` for an `Objective`: limits as constraints, and finite figures only."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import optuna
from ray.tune.search.optuna import OptunaSearch

from raytune_edge.config import Recipe
from raytune_edge.objective import Objective
from raytune_edge.search.optuna_space import optuna_space

__all__ = ["OptunaFrontSearch"]

_HOPELESS = ("collapsed", "unsupported")


class OptunaFrontSearch(OptunaSearch):  # type: ignore[misc]
    """Tune's ``OptunaSearch`` with the goals of an `Objective`, whose limits are constraints.

    Optuna refuses what is not a number, and Tune's ``OptunaSearch`` then leaves the trial open for
    ever. Here a figure that a network ended without, and each of a collapsed or unsupported one,
    counts as the worst that any other trial has told so far; before there is one, and after a
    failure, the trial is no evidence.

    Use it as ``tune.TuneConfig(search_alg=OptunaFrontSearch(recipe, space))``, without ``metric``
    and ``mode``.

    Args:
        recipe: The recipe, or its objective.
        space: From `search_space`.
        settings: More arguments of ``OptunaSearch``: ``points_to_evaluate``, ``sampler``, ``seed``.

    Raises:
        ImportError: If Optuna is older than 5, whose trials know no constraints.
    """

    def __init__(
        self,
        recipe: Recipe | Objective,
        space: Mapping[str, Any],
        **settings: Any,
    ) -> None:
        if int(optuna.__version__.partition(".")[0]) < 5:
            raise ImportError(
                f"OptunaFrontSearch needs Optuna 5, this is {optuna.__version__}: "
                "pip install 'optuna>=5'"
            )
        self._objective = recipe if isinstance(recipe, Objective) else recipe.objective
        self._worst: dict[str, float] = {}
        super().__init__(
            self.convert_search_space(optuna_space(space)),
            metric=[name for name, _ in self._objective.goals],
            mode=["max" if sign < 0 else "min" for _, sign in self._objective.goals],
            **settings,
        )

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Tell Optuna of a trial's end: finite figures and by how much it missed the limits."""
        told = None if error or not result else self._finite(result)
        if result and told:
            missed = self._objective.judge(result).violation
            self._ot_trials[trial_id].set_constraint("limits", missed)
        super().on_trial_complete(trial_id, result=told, error=told is None)

    def _finite(self, result: Mapping[str, Any]) -> dict[str, float] | None:
        """The goals' figures; None where one has no stand-in yet."""
        hopeless = result.get("stage") in _HOPELESS
        told: dict[str, float] = {}
        for name, sign in self._objective.goals:
            value = float(result.get(name, math.nan))
            if math.isfinite(value) and not hopeless:
                worst = self._worst.get(name, value)
                self._worst[name] = sign * max(sign * worst, sign * value)
            elif name in self._worst:
                value = self._worst[name]
            else:
                return None
            told[name] = value
        return told
