"""HyperOpt's documents: points of a space as its ``Trials`` keep them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import hyperopt
import numpy as np

__all__ = ["document", "levels", "limits", "mixed", "off_grid", "values_of"]

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


def limits(node: Any) -> tuple[float, float]:
    """The least and the largest value that a distribution draws; infinite where it has none."""
    low, high = (getattr(node.arg.get(key), "obj", None) for key in ("low", "high"))
    if node.name == "randint":  # randint(n) or randint(low, high), which excludes its end
        return (0.0, float(low or 0) - 1) if high is None else (float(low or 0), float(high) - 1)
    if low is None or high is None:
        return -math.inf, math.inf
    if node.name.endswith("loguniform"):
        return math.exp(low), math.exp(high)
    return float(low), float(high)


def levels(node: Any) -> list[float] | list[int] | None:
    """All values that a distribution can draw, in order; None if they can't be counted."""
    low, high = limits(node)
    if node.name == "randint":
        return list(range(int(low), int(high) + 1))
    if node.name == "quniform":
        step = float(node.arg["q"].obj)
        first, last = round(low / step + _FLOAT_ERROR), round(high / step - _FLOAT_ERROR)
        return [number * step for number in range(first, last + 1)]
    return None


def off_grid(domain: hyperopt.Domain, values: Mapping[str, Any]) -> str:
    """The first label whose value its distribution can't draw; "" if there is none."""
    for name, node in domain.params.items():
        (low, high), grid = limits(node), levels(node)
        value, slack = float(values[name]), _FLOAT_ERROR
        inside = low - slack <= value <= high + slack
        if not inside or (grid and min(abs(value - level) for level in grid) > slack):
            return str(name)
    return ""
