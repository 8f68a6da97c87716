"""Measurements as plain values, and when two of them agree."""

import dataclasses
import json
from typing import Any

import pytest

from raytune_edge.records import LayerTime, Measurement, disagree, within_noise


def measurement(p50: float = 1.0, half: float = 0.01) -> Measurement:
    return Measurement(
        latency_p50_ms=p50,
        latency_p50_low_ms=p50 - half,
        latency_p50_high_ms=p50 + half,
        latency_p90_ms=1.1,
        latency_p99_ms=1.2,
        latency_min_ms=0.9,
        latency_mean_ms=1.0,
        block_medians_ms=(1.0, 1.01),
        samples=200,
        stopped_by="tolerance",
        throughput_fps=900.0,
        requests_in_flight=2,
        first_inference_ms=3.0,
        read_s=0.1,
        compile_s=0.2,
        cpu_s_per_inference=0.001,
        cpu_wait=0.01,
        cpu_pressure=0.02,
        precision="f32",
        threads=1,
        streams=1,
        runtime="openvino 2026.4.1",
        device="CPU",
        device_name="a processor",
        device_id="host/ncs:0",
        model_sha256="0" * 64,
        layers=(LayerTime(name="conv1", kind="Convolution", ms=0.5),),
    )


def test_a_measurement_survives_json() -> None:
    before = measurement()
    assert Measurement.from_dict(json.loads(json.dumps(before.to_dict()))) == before


def test_fields_that_are_missing_or_unknown_are_named() -> None:
    values = measurement().to_dict()
    with pytest.raises(ValueError, match="latency_p51_ms"):
        Measurement.from_dict({**values, "latency_p51_ms": 1.0})
    del values["samples"]
    with pytest.raises(ValueError, match="samples"):
        Measurement.from_dict(values)


@pytest.mark.parametrize("layers", [[{"name": "conv1"}], [{"title": "conv1"}], [1], None])
def test_layers_of_another_version_are_told(layers: object) -> None:
    with pytest.raises(ValueError, match="not a whole Measurement"):
        Measurement.from_dict({**measurement().to_dict(), "layers": layers})


def test_the_devices_own_time_is_told_beside_the_latency() -> None:
    assert measurement().to_dict()["device_latency_ms"] == 0.5
    without = dataclasses.replace(measurement(), layers=())
    assert without.to_dict()["device_latency_ms"] is None


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, True),
        ({"latency_p50_ms": 1.01}, False),
        ({"device_name": "another processor"}, False),
        ({"runtime": "openvino 2025.0"}, False),
        ({"device_id": "host/ncs:1"}, True),
    ],
)
def test_only_figures_of_one_kind_of_device_can_disagree(
    change: dict[str, Any], expected: bool
) -> None:
    other = dataclasses.replace(measurement(2.0), **change)
    assert disagree(measurement(), other) is expected


def test_the_metrics_of_a_measurement_are_those_that_a_trial_reports() -> None:
    assert measurement().metrics() == {
        "latency_p50_ms": 1.0,
        "latency_p50_low_ms": 0.99,
        "latency_p50_high_ms": 1.01,
        "latency_p90_ms": 1.1,
        "latency_p99_ms": 1.2,
        "throughput_fps": 900.0,
    }


@pytest.mark.parametrize(
    ("second", "half", "agree"),
    [(1.04, 0.001, True), (1.06, 0.001, False), (1.06, 0.04, True), (0.94, 0.001, False)],
)
def test_medians_agree_within_their_joint_noise(second: float, half: float, agree: bool) -> None:
    first = measurement(half=half)
    other = measurement(second, half)
    assert within_noise(first, other) is agree
    assert within_noise(other, first) is agree


def test_a_record_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        measurement().samples = 3  # type: ignore[misc]
