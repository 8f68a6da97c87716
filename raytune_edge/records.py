"""The records that cross module borders, and the names and units of every metric."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["METRIC_UNITS", "SHAPE_METRICS", "LayerTime", "Measurement", "disagree", "within_noise"]

METRIC_UNITS: dict[str, str] = {
    "score": "",
    "top1": "fraction",
    "top5": "fraction",
    "top1_pruned": "fraction",
    "top5_pruned": "fraction",
    "test_top1": "fraction",
    "test_top5": "fraction",
    "device_top1": "fraction",
    "device_top5": "fraction",
    "val_loss": "nats",
    "macs": "multiply-accumulates",
    "params": "parameters",
    "macs_ratio": "fraction of the unpruned model",
    "params_ratio": "fraction of the unpruned model",
    "size_bytes": "bytes",
    "predicted_hw_ms": "ms, not calibrated",
    "latency_p50_ms": "ms",
    "latency_p50_low_ms": "ms",
    "latency_p50_high_ms": "ms",
    "latency_p90_ms": "ms",
    "latency_p99_ms": "ms",
    "throughput_fps": "frames/s",
    "queue_wait_s": "s",
    "measure_s": "s",
    "retrain_s": "s",
}
"""Unit of each number that a trial reports. ``top1`` and ``top5`` are on validation data and
taken after retraining; ``*_pruned`` before it; ``test_*`` on test data never used to choose;
``device_*`` as the device classifies a sample of the validation data. ``predicted_hw_ms`` is
known only with ``Recipe(precheck="ncs2")``, and ranks networks.
``queue_wait_s`` and ``measure_s`` are sums over the trial's measurements."""

SHAPE_METRICS = frozenset(
    name
    for name in METRIC_UNITS
    if name.startswith(("macs", "params", "size_", "predicted_", "latency_", "throughput_"))
)
"""The metrics that a network's shape decides: they are final before retraining begins."""


@dataclass(frozen=True, kw_only=True)
class LayerTime:
    """What one layer of a compiled model took, by the runtime's own profiler."""

    name: str
    kind: str
    ms: float


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One model measured on one device. Always a value: a measurement that failed is an exception.

    Latency is one synchronous batch-1 request as the caller sees it: transfer included, compile
    and queue wait excluded. Throughput is measured apart, with ``requests_in_flight`` requests;
    it is not ``1 / latency``.

    Attributes:
        latency_p50_ms: Median over all ``samples`` requests; ``p90``, ``p99``, ``min``, ``mean``
            are over the same requests.
        latency_p50_low_ms: Lower end of the 95 % interval of the median, taken over block medians
            because neighbouring requests are not independent; ``high`` is the upper end.
        block_medians_ms: The median of each block, in the order measured.
        samples: Number of timed requests.
        stopped_by: ``"tolerance"`` if the interval became narrow enough, else ``"max_s"``.
        throughput_fps: Inferences per second with ``requests_in_flight`` at once.
        first_inference_ms: The first request after compiling.
        read_s: Time to read the model; ``compile_s``: to compile it for the device.
        cpu_s_per_inference: CPU seconds of the measuring process per timed request.
        cpu_wait: Fraction of the measured time in which the measuring threads stood ready but had
            no CPU; None where the kernel does not tell.
        cpu_pressure: Fraction of the measured time in which some task of the host waited for a
            CPU (Linux pressure-stall information), 0 to 1; None where the kernel does not tell.
        precision: Inference precision that the compiled model answers to have, such as ``"f32"``.
        threads: Inference threads that the compiled model answers to use.
        streams: Streams of the latency run that the compiled model answers to have.
        runtime: Runtime and version, such as ``"openvino 2026.4.1"``.
        device: Device name of the runtime, such as ``"CPU"``.
        device_name: What the device calls itself, such as the processor's name.
        device_id: Which unit of which host, such as ``"stickhost/ncs:0"``.
        model_sha256: Of the ONNX bytes that were measured.
        signature: Weight-free signature of the model (`export.signature`), or "".
        queue_wait_s: Time between the request and its start on the device, tries that went wrong
            and waiting for a quiet CPU included.
        measure_s: Time on the device, reading and compiling included.
        taken_at: Unix time of the end of the measurement.
        temperature_c: Device temperature where the device tells it.
        usb_mbps: Speed of the link to a USB stick, 480 (USB 2) or 5000 (USB 3); None otherwise.
        top1: Accuracy on the device on the sample handed over, as is ``top5``; None without one.
        layers: Per-layer times, only where profiling was asked for; `device_latency_ms` is their
            sum, beside the latency as the caller sees it.
        flags: What casts doubt on the figures, in plain words; empty when nothing does.
        cached: True if the store answered; the figures are then from ``taken_at``.
    """

    latency_p50_ms: float
    latency_p50_low_ms: float
    latency_p50_high_ms: float
    latency_p90_ms: float
    latency_p99_ms: float
    latency_min_ms: float
    latency_mean_ms: float
    block_medians_ms: tuple[float, ...]
    samples: int
    stopped_by: str
    throughput_fps: float
    requests_in_flight: int
    first_inference_ms: float
    read_s: float
    compile_s: float
    cpu_s_per_inference: float
    cpu_wait: float | None
    cpu_pressure: float | None
    precision: str
    threads: int
    streams: int
    runtime: str
    device: str
    device_name: str
    device_id: str
    model_sha256: str
    signature: str = ""
    queue_wait_s: float = 0.0
    measure_s: float = 0.0
    taken_at: float = 0.0
    temperature_c: float | None = None
    usb_mbps: int | None = None
    top1: float | None = None
    top5: float | None = None
    layers: tuple[LayerTime, ...] = ()
    flags: tuple[str, ...] = ()
    cached: bool = False

    @property
    def device_latency_ms(self) -> float | None:
        """The device's own time, transfer and calls excluded; None without a profile.

        The sum over the layers. They come from a run of its own, slowed by the profiler: for a
        network under a millisecond it can be larger than the latency.
        """
        return sum(layer.ms for layer in self.layers) if self.layers else None

    def metrics(self) -> dict[str, float]:
        """The figures that a trial reports, by their names in `METRIC_UNITS`."""
        return {name: getattr(self, name) for name in SHAPE_METRICS if hasattr(self, name)}

    def to_dict(self) -> dict[str, Any]:
        """As plain values that JSON can carry, `device_latency_ms` among them.

        `from_dict` is the inverse.
        """
        return {**dataclasses.asdict(self), "device_latency_ms": self.device_latency_ms}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Measurement:
        """Inverse of `to_dict`, also after a trip through JSON (lists become tuples again).

        Raises:
            ValueError: If a field is missing or unknown.
        """
        names = {field.name for field in dataclasses.fields(cls)}
        fields = {name: value for name, value in values.items() if name != "device_latency_ms"}
        if unknown := sorted(set(fields) - names):
            raise ValueError(f"a Measurement has no fields {unknown}; it has {sorted(names)}")
        try:
            for name in ("block_medians_ms", "flags"):
                fields[name] = tuple(fields.get(name, ()))
            fields["layers"] = tuple(
                layer if isinstance(layer, LayerTime) else LayerTime(**layer)
                for layer in fields.get("layers", ())
            )
            return cls(**fields)
        except TypeError as error:
            raise ValueError(f"not a whole Measurement: {error}") from error


def disagree(first: Measurement, second: Measurement) -> bool:
    """Whether two figures of one network's shape differ, though the same device gave them.

    The same is what calls itself the same under the same runtime; a stick tells its USB speed too.
    """
    kinds = {(each.device_name, each.runtime) for each in (first, second)}
    return len(kinds) == 1 and not within_noise(first, second)


def within_noise(first: Measurement, second: Measurement, *, floor: float = 0.05) -> bool:
    """Whether two medians differ by no more than their joint noise.

    The joint noise is the sum of both half intervals, and never less than ``floor`` of the
    smaller median: on shared machines the run-to-run spread is wider than within one run.
    """
    half_intervals = sum(
        (each.latency_p50_high_ms - each.latency_p50_low_ms) / 2 for each in (first, second)
    )
    smaller = min(first.latency_p50_ms, second.latency_p50_ms)
    difference = abs(first.latency_p50_ms - second.latency_p50_ms)
    return difference <= max(half_intervals, floor * smaller)
