"""The stick compiler's predictions held against sticks: compile reports → milliseconds."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import nnls  # type: ignore[import-untyped]
from sklearn.model_selection import RepeatedKFold

from raytune_edge.errors import CalibrationError
from raytune_edge.records import Measurement
from raytune_edge.runtimes.ncs2.compiler import CompileReport

__all__ = ["Calibration", "calibrate"]

LEAST_MODELS = 10
_FOLDS, _REPEATS = 5, 4
_ROUNDS = 20
_TUNING = 1.345
"""Of Huber's weights: 95 % as good as least squares where the noise is normal."""

Figures = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Milliseconds as a sum: a constant, the predicted time scaled, and a price for each stage.

    No part is negative: neither work nor a stage gives time back.

    Attributes:
        constant_ms: Of any network: the call and the transfer.
        scale: Times the compiler's predicted milliseconds of the neural engine.
        software_ms: For each stage on the vector processors.
        copy_ms: For each stage that moves data.
        models: How many networks it was fitted to.
        error_p50: Median relative error on networks that a fit didn't see, a fraction.
        error_p90: 90th percentile of the same.
    """

    constant_ms: float
    scale: float
    software_ms: float
    copy_ms: float
    models: int
    error_p50: float
    error_p90: float

    def predict_ms(self, report: CompileReport) -> float:
        """Latency on a stick, as far as the calibration tells.

        Raises:
            ValueError: If ``report`` is of a network that the stick refuses.
        """
        parts = np.array([self.constant_ms, self.scale, self.software_ms, self.copy_ms])
        return float(_figures(report) @ parts)

    def __str__(self) -> str:
        return (
            f"{self.constant_ms:.3g} ms + {self.scale:.3g} x predicted + {self.software_ms:.3g} ms "
            f"x software stages + {self.copy_ms:.3g} ms x copy stages, from {self.models} models: "
            f"off by {self.error_p50:.1%} (median), {self.error_p90:.1%} (90th percentile)"
        )


def calibrate(records: Iterable[tuple[CompileReport, Measurement]]) -> Calibration:
    """Fit the compiler's figures to what sticks have measured.

    The fit is to relative errors, since a millisecond is much for a small network and little for a
    large one, and networks far off it count for less (Huber's weights). Its own error is taken on
    networks that it didn't see: five folds, four times over. Measurements of one network, that is
    of one signature, are one network: their median counts.

    Args:
        records: For each measurement the report of the same network, from `ncs2.check` with the
            streams that it was measured with.

    Raises:
        CalibrationError: If these are fewer than ten networks, or not from a stick, or a network
            was refused by the compiler.

    Source: P. J. Huber, "Robust Estimation of a Location Parameter", 1964.
    """
    by_network: dict[str, list[tuple[CompileReport, float]]] = {}
    for report, measurement in records:
        if "MYRIAD" not in measurement.device:
            raise CalibrationError(
                f"expected measurements of a stick (MYRIAD), got one of {measurement.device!r}"
            )
        if not report.ok:
            raise CalibrationError(f"the compiler refused a network of these: {report.reason}")
        network = measurement.signature or measurement.model_sha256
        by_network.setdefault(network, []).append((report, measurement.latency_p50_ms))
    if len(by_network) < LEAST_MODELS:
        raise CalibrationError(
            f"expected measurements of at least {LEAST_MODELS} different networks, got "
            f"{len(by_network)}; measure more on a stick: raytune-edge measure MODEL.onnx "
            "--device MYRIAD"
        )
    figures = np.array([_figures(some[0][0]) for some in by_network.values()])
    measured = np.array([np.median([ms for _, ms in some]) for some in by_network.values()])
    errors = _unseen_errors(figures, measured)
    constant, scale, software, copy = (float(part) for part in _fit(figures, measured))
    return Calibration(
        constant_ms=constant,
        scale=scale,
        software_ms=software,
        copy_ms=copy,
        models=len(by_network),
        error_p50=float(np.median(errors)),
        error_p90=float(np.percentile(errors, 90)),
    )


def _figures(report: CompileReport) -> Figures:
    """What latency is a sum over: one, predicted milliseconds, software and copy stages."""
    told = (1.0, report.predicted_hw_ms, report.software_stages, report.copy_stages)
    if None in told:
        raise ValueError(f"expected the report of a network that compiles, got {report.reason!r}")
    return np.array(told, float)


def _fit(figures: Figures, measured: Figures) -> Figures:
    """The parts, none negative, with the least robust relative error."""
    relative = figures / measured[:, None]
    weights = np.ones(len(measured))
    parts = np.zeros(figures.shape[1])
    for _ in range(_ROUNDS):
        root = np.sqrt(weights)
        parts, _ = nnls(relative * root[:, None], root)
        apart = np.abs(relative @ parts - 1)
        spread = max(1.4826 * float(np.median(apart)), 1e-9)
        weights = 1 / np.maximum(apart / (_TUNING * spread), 1)
    return parts


def _unseen_errors(figures: Figures, measured: Figures) -> Figures:
    """The relative errors on networks that the fit didn't see."""
    folds = RepeatedKFold(n_splits=_FOLDS, n_repeats=_REPEATS, random_state=0)
    return np.concatenate(
        [
            np.abs(figures[unseen] @ _fit(figures[seen], measured[seen]) / measured[unseen] - 1)
            for seen, unseen in folds.split(figures)
        ]
    )
