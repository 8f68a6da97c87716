"""The reference model: what counts as drift, and what it is."""

import numpy as np
import onnx
import onnxruntime
import pytest

from raytune_edge.devices.sentinel import TIMING, Sentinel, reference_model
from raytune_edge.export import signature


@pytest.mark.parametrize(
    ("start", "now", "drift", "drifting"),
    [
        ([1.0, 1.0, 1.0], [1.0], 0.0, False),
        ([1.0, 1.0, 1.0], [1.019, 1.019, 1.019], 0.019, False),
        ([1.0, 1.0, 1.0], [1.021, 1.021, 1.021], 0.021, True),
        ([1.0, 1.0, 1.0], [0.97, 0.97, 0.97], -0.03, True),
        ([1.0, 1.1, 1.0], [1.04, 1.04, 1.04], 0.04, False),  # the start was noisy itself
        ([1.0, 1.0, 1.0], [1.05, 1.15, 1.04], 0.05, False),  # noisy now
        ([2.0, 2.0, 2.0], [2.2, 2.2, 2.2], 0.1, True),
    ],
)
def test_drift_is_what_exceeds_tolerance_and_noise(
    start: list[float], now: list[float], drift: float, drifting: bool
) -> None:
    sentinel = Sentinel()
    assert not sentinel.started
    sentinel.start(start)
    assert sentinel.started
    assert sentinel.drift is None
    assert sentinel.judge(now) is drifting
    assert sentinel.drifting is drifting
    assert sentinel.drift == pytest.approx(drift)


def test_a_device_that_has_cooled_down_drifts_no_more() -> None:
    sentinel = Sentinel()
    sentinel.start([1.0, 1.0, 1.0])
    sentinel.judge([1.5, 1.5, 1.5])
    assert "+50.0%" in sentinel.flag
    sentinel.judge([1.01, 1.01, 1.01])
    assert not sentinel.drifting


def test_a_device_that_stays_faster_than_at_the_start_is_compared_with_now() -> None:
    sentinel = Sentinel()
    sentinel.start([1.5, 1.6, 1.5])
    assert sentinel.judge([1.0, 1.0, 1.0])
    sentinel.judge([1.5, 1.5, 1.5])  # once is an exception
    assert sentinel.judge([1.0, 1.0, 1.0])
    sentinel.judge([1.0, 1.0, 1.0])
    assert not sentinel.drifting
    assert sentinel.judge([1.5, 1.5, 1.5])
    assert sentinel.drift == pytest.approx(0.5)
    sentinel.judge([1.5, 1.5, 1.5])
    assert sentinel.drifting  # that it stays slower makes it no better


def test_one_run_near_the_start_is_enough() -> None:
    sentinel = Sentinel()
    sentinel.start([1.0, 1.0, 1.0])
    assert sentinel.is_close(1.019)
    assert not sentinel.is_close(1.03)


def test_the_reference_model_runs_and_is_always_the_same() -> None:
    made = reference_model()
    reference_model.cache_clear()
    assert reference_model() == made
    session = onnxruntime.InferenceSession(made, providers=["CPUExecutionProvider"])
    (output,) = session.run(None, {"image": np.ones((1, 3, 128, 128), np.float32)})
    assert output.shape == (1, 32, 1, 1)
    assert output.any()
    assert signature(made)


def test_the_reference_model_suits_the_oldest_runtime() -> None:
    model = onnx.load_from_string(reference_model())
    assert model.opset_import[0].version == 11
    assert model.ir_version <= 7


def test_a_run_is_short() -> None:
    assert TIMING.warmup_s + TIMING.max_s <= 0.5
    assert TIMING.min_s < TIMING.max_s
    assert TIMING.throughput_s == 0
