"""HyperOpt's documents: points of a space as its ``Trials`` keep them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import hyperopt
import numpy as np

__all__ = ["document", "mixed", "off_grid", "values_of"]

_FLOAT_ERROR = 1e-6


def values_of(doc: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a document by label; those of branches not taken are absent."""
    return {name: each[0] for name, each in doc["misc"]["vals"].items() if len(each)}


def document(
    trials: hyperopt.Trials, domain: hyperopt.Domain, values: Mapping[str, Any]
) -> dict[str, Any]:
    """A new document for the point ``values``, not yet inserted."""
    (tid,) = trials.new_trial_ids(1)
    misc = {"tid": tid, "cmd": domain.cmd, "workdir": domain.workdir}
    misc["idxs"] = {name: [tid] if name in values else [] for name in domain.params}
    misc["vals"] = {name: [values[name]] if name in values else [] for name in domain.params}
    (doc,) = trials.new_trial_docs([tid], [None], [domain.new_result()], [misc])
    return dict(doc)


def mixed(
    values: Mapping[str, Any],
    others: Sequence[Mapping[str, Any]],
    rate: float,
    rng: np.random.RandomState,
) -> dict[str, Any]:
    """``values``, each replaced by that of one of the ``others`` with probability ``rate``.

    A point that took other branches of a choice can't be mixed in: the first of these is taken
    whole.
    """
    for other in others:
        if other.keys() != values.keys():
            return dict(other)
    return {
        name: others[rng.randint(len(others))][name] if rng.random_sample() < rate else value
        for name, value in values.items()
    }


def off_grid(domain: hyperopt.Domain, values: Mapping[str, Any]) -> str:
    """The first label whose value its distribution can't draw; "" if there is none."""
    for name, node in domain.params.items():
        if node.name in ("uniform", "quniform"):
            limits = {key: getattr(arg, "obj", 0.0) for key, arg in node.arg.items()}
            low, high, step = (limits.get(key, 0.0) for key in ("low", "high", "q"))
            value = float(values[name])
            on_grid = not step or abs(round(value / step) * step - value) < _FLOAT_ERROR
            if not (low - _FLOAT_ERROR <= value <= high + _FLOAT_ERROR and on_grid):
                return str(name)
    return ""
