"""From the child's raw figures to a record."""

from typing import Any

import numpy as np
import pytest

from raytune_edge.config import Timing
from raytune_edge.records import Measurement
from raytune_edge.runtimes.timing import measurement

IDENTITY = {
    "runtime": "r 1",
    "device": "CPU",
    "device_name": "n",
    "device_id": "d",
    "signature": "",
}


def raw(**changes: Any) -> dict[str, Any]:
    samples = np.random.default_rng(0).exponential(size=500) + 1
    return {
        "samples_ms": samples.tolist(),
        "block_medians_ms": [1.7, 1.6, 1.7, 1.65, 1.7],
        "half_interval_ms": 0.05,
        "noisy_blocks": 0,
        "cpu_s": 1.0,
        "stopped_by": "tolerance",
        "throughput_fps": 500.0,
        "requests_in_flight": 2,
        "first_inference_ms": 3.0,
        "read_s": 0.1,
        "compile_s": 0.2,
        "cpu_wait": 0.01,
        "cpu_pressure": None,
        "precision": "f32",
        "threads": 1,
        "streams": 1,
        "temperature_c": None,
        "model_sha256": "00",
        **changes,
    }


def record(**changes: Any) -> Measurement:
    return measurement(raw(**changes), Timing(), measure_s=2.0, **IDENTITY)


def test_the_record_has_numpys_percentiles() -> None:
    made, samples = record(), raw()["samples_ms"]
    assert made.latency_p50_ms == pytest.approx(np.median(samples))
    assert made.latency_p99_ms == pytest.approx(np.quantile(samples, 0.99))
    assert made.latency_min_ms == min(samples)
    assert made.cpu_s_per_inference == pytest.approx(1.0 / 500)
    assert made.flags == ()


def test_the_interval_is_that_of_the_block_medians() -> None:
    medians = [2.0, 2.1, 2.2]
    made = record(block_medians_ms=medians, half_interval_ms=0.25)
    assert made.latency_p50_low_ms == pytest.approx(np.mean(medians) - 0.25)
    assert made.latency_p50_high_ms == pytest.approx(np.mean(medians) + 0.25)
    assert made.latency_p50_ms < made.latency_p50_low_ms  # the median of all samples is another one


def test_fewer_blocks_than_asked_for_are_flagged() -> None:
    assert "only 2 of 5 blocks" in record(block_medians_ms=[1.7, 1.6]).flags[0]


def test_blocks_under_pressure_are_flagged() -> None:
    assert "3 of 5 blocks" in record(noisy_blocks=3).flags[0]


@pytest.mark.parametrize(
    "changes",
    [
        {"samples_ms": []},
        {"samples_ms": [1.0, 0.0]},
        {"throughput_fps": float("nan")},
        {"half_interval_ms": float("inf")},
        {"first_inference_ms": -1.0},
    ],
)
def test_a_figure_that_cannot_be_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="expected"):
        record(**changes)
