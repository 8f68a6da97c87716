"""What networks not yet tried would measure, from those that were.

Latency is a time that each layer adds to, and a layer's work is a product of two widths. Hence a
regression on the coordinates, their squares and products, for accuracy as well.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import BayesianRidge

from raytune_edge.records import METRIC_UNITS

__all__ = ["Regression", "remaining", "value_at"]

Floats = npt.NDArray[np.float64]

_LEAST_REMAINING = 1e-3
_MOST_FOR_PRODUCTS = 32


def remaining(metric: str, values: Floats | float) -> Floats:
    """How far ``values`` are from their ideal: from 1 for accuracies, from 0 for all else.

    >>> float(remaining("top1", 0.75)), float(remaining("latency_p50_ms", 0.75))
    (0.25, 0.75)
    """
    figures = np.asarray(values, dtype=np.float64)
    return np.maximum(1 - figures if _is_accuracy(metric) else figures, _LEAST_REMAINING)


def value_at(metric: str, distance: Floats | float) -> Floats:
    """The value that is ``distance`` from its ideal: the inverse of `remaining`."""
    figures = np.asarray(distance, dtype=np.float64)
    return 1 - figures if _is_accuracy(metric) else figures


def _is_accuracy(metric: str) -> bool:
    return METRIC_UNITS.get(metric) == "fraction"


class Regression:
    """A Bayesian ridge regression of one metric, on the logarithm of what `remaining` tells.

    So errors are relative, and each prediction has a standard deviation of its own that grows
    where little is known.

    Source: MacKay, "Bayesian Interpolation", 1992, as in scikit-learn's ``BayesianRidge``.

    Args:
        metric: Its name in `records.METRIC_UNITS`.
        points: What is known of the networks (n, d): coordinates in the space, sizes.
        values: What they measured (n,).
    """

    def __init__(self, metric: str, points: Floats, values: Floats) -> None:
        self._low = points.min(axis=0)
        self._extent = np.maximum(points.max(axis=0) - self._low, 1e-9)
        logs = np.log(remaining(metric, values))
        self._center, self._scale = float(logs.mean()), float(logs.std()) or 1e-9
        self._model = BayesianRidge()
        self._model.fit(self._features(points), (logs - self._center) / self._scale)

    def predict(self, points: Floats) -> tuple[Floats, Floats]:
        """Means and standard deviations (m,) of the logarithms for ``points`` (m, d)."""
        features, model = self._features(points), self._model
        # As the model's own predict, whose checks take ten times as long for a single network.
        centered = features - model.X_offset_
        variance = np.einsum("ij,jk,ik->i", centered, model.sigma_, centered) + 1 / model.alpha_
        mean = features @ model.coef_ + model.intercept_
        return mean * self._scale + self._center, np.sqrt(variance) * self._scale

    def _features(self, points: Floats) -> Floats:
        unit = (points - self._low) / self._extent
        if unit.shape[1] > _MOST_FOR_PRODUCTS:
            return np.hstack([unit, unit**2])
        first, second = np.triu_indices(unit.shape[1])
        return np.hstack([unit, unit[:, first] * unit[:, second]])
