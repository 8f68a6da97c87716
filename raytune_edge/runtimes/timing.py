"""What the child measured → a `Measurement`: percentiles, interval, doubts."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from raytune_edge.config import Timing
from raytune_edge.records import LayerTime, Measurement

__all__ = ["measurement"]


def measurement(
    raw: Mapping[str, Any], timing: Timing, *, measure_s: float, **identity: Any
) -> Measurement:
    """Make the record of one measurement.

    Args:
        raw: The child's result: ``samples_ms``, ``block_medians_ms``, ``half_interval_ms`` and
            the facts that a record carries unchanged.
        timing: The settings it was measured with.
        measure_s: Time on the device, reading and compiling included.
        identity: ``runtime``, ``device``, ``device_name``, ``device_id`` and ``signature``.

    Raises:
        ValueError: If a figure is not a positive number.
        KeyError: If one is missing.
    """
    samples = np.asarray(raw["samples_ms"], dtype=float)
    for name in ("samples_ms", "block_medians_ms", "throughput_fps", "first_inference_ms"):
        figures = np.atleast_1d(np.asarray(raw[name], dtype=float))
        if not (figures.size and np.isfinite(figures).all() and (figures > 0).all()):
            raise ValueError(f"expected {name} above 0, got {figures[:5]}")
    if not 0 <= raw["half_interval_ms"] < np.inf:
        raise ValueError(f"expected half_interval_ms from 0, got {raw['half_interval_ms']}")
    p50, p90, p99 = (float(each) for each in np.percentile(samples, (50, 90, 99)))
    # The interval is that of the block medians, whose centre need not be the median of all samples.
    centre = float(np.mean(raw["block_medians_ms"]))
    return Measurement(
        latency_p50_ms=p50,
        latency_p50_low_ms=max(centre - raw["half_interval_ms"], 0.0),
        latency_p50_high_ms=centre + raw["half_interval_ms"],
        latency_p90_ms=p90,
        latency_p99_ms=p99,
        latency_min_ms=float(samples.min()),
        latency_mean_ms=float(samples.mean()),
        block_medians_ms=tuple(raw["block_medians_ms"]),
        samples=len(samples),
        cpu_s_per_inference=raw["cpu_s"] / len(samples),
        layers=tuple(LayerTime(**layer) for layer in raw.get("layers", ())),
        flags=_doubts(raw, timing),
        measure_s=measure_s,
        taken_at=time.time(),
        usb_mbps=raw.get("usb_mbps"),
        top1=raw.get("top1"),
        top5=raw.get("top5"),
        **{name: raw[name] for name in _UNCHANGED},
        **identity,
    )


_UNCHANGED = (
    "stopped_by",
    "throughput_fps",
    "requests_in_flight",
    "first_inference_ms",
    "read_s",
    "compile_s",
    "cpu_wait",
    "cpu_pressure",
    "precision",
    "threads",
    "streams",
    "temperature_c",
    "model_sha256",
)


def _doubts(raw: Mapping[str, Any], timing: Timing) -> tuple[str, ...]:
    doubts, blocks = [], len(raw["block_medians_ms"])
    if raw["noisy_blocks"]:
        doubts.append(
            f"{raw['noisy_blocks']} of {blocks} blocks were measured while the CPU was wanted by "
            f"others for more than {timing.max_pressure:.0%} of the time"
        )
    if blocks < timing.min_blocks:
        doubts.append(
            f"only {blocks} of {timing.min_blocks} blocks fitted into half of "
            f"timeout_s={timing.timeout_s:g}"
        )
    return tuple(doubts)
