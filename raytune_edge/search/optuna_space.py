"""The search space as Tune's ``OptunaSearch`` understands it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ray import tune
from ray.tune.search.sample import Quantized

from raytune_edge.space import is_ratio

__all__ = ["optuna_space"]


def optuna_space(space: Mapping[str, Any]) -> dict[str, Any]:
    """``space``, from `search_space`, with its grids as Optuna counts them.

    HyperOpt rounds what it draws to multiples of a step, Optuna counts the steps from the lower
    end; that is half a step below 0 in `search_space`, so that all ratios are equally likely.

    >>> from raytune_edge.space import ratio_grid
    >>> domain = optuna_space({"pruning_ratio:conv1": ratio_grid(0.25, 3)})["pruning_ratio:conv1"]
    >>> domain.lower, domain.upper, domain.get_sampler().q
    (0.0, 0.75, 0.25)
    """
    made = dict(space)
    for name, domain in space.items():
        if is_ratio(name) and isinstance(domain.get_sampler(), Quantized):
            step = float(domain.get_sampler().q)
            made[name] = tune.quniform(0.0, math.floor(domain.upper / step) * step, step)
    return made
