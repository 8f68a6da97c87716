"""The timing loop on a made-up clock, its figures against NumPy and SciPy."""

import importlib.util
import itertools
import math
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy import stats

import raytune_edge
from raytune_edge.config import Timing


@pytest.fixture(scope="module")
def loop() -> ModuleType:
    """The child's module, which is no part of the package for the parent."""
    path = Path(raytune_edge.__file__).parent / "runtimes" / "worker" / "loop.py"
    spec = importlib.util.spec_from_file_location("loop", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Device:
    """Takes scripted times, in ms, on a clock of its own."""

    def __init__(self, *script_ms: float) -> None:
        self.now_s, self.script_ms, self.requests = 0.0, script_ms, 0

    def clock(self) -> float:
        return self.now_s

    def infer(self) -> None:
        self.now_s += self.script_ms[self.requests % len(self.script_ms)] / 1e3
        self.requests += 1


def pressures(*waits: float | None, host: float) -> Callable[[], Any]:
    """Told of block after block; the last one of all that follow."""
    script = itertools.chain(waits, itertools.repeat(waits[-1]))
    return lambda: SimpleNamespace(since=lambda: (next(script), host))


CALM = pressures(0.0, host=0.0)


def timed(
    loop: ModuleType, device: Device, pressure: Callable[[], Any] = CALM, **settings: Any
) -> dict[str, Any]:
    return loop.time_latency(device.infer, asdict(Timing(**settings)), device.clock, pressure)


@pytest.mark.parametrize("fraction", [0.0, 0.1, 0.5, 0.9, 0.99, 1.0])
def test_percentiles_are_numpys(loop: ModuleType, fraction: float) -> None:
    values = np.random.default_rng(0).exponential(size=37)
    assert loop.percentile(list(values), fraction) == pytest.approx(np.quantile(values, fraction))


@pytest.mark.parametrize("count", [2, 5, 30, 31, 60])
def test_the_interval_is_students(loop: ModuleType, count: int) -> None:
    medians = np.random.default_rng(count).normal(10, 1, count)
    low, high = stats.t.interval(0.95, count - 1, loc=medians.mean(), scale=stats.sem(medians))
    assert loop.half_interval(list(medians)) == pytest.approx((high - low) / 2, rel=2e-3)


def test_a_steady_device_is_measured_in_the_least_blocks(loop: ModuleType) -> None:
    device = Device(10.0)
    raw = timed(loop, device, warmup_requests=7, warmup_s=0.0)
    assert raw["stopped_by"] == "tolerance"
    assert len(raw["block_medians_ms"]) == 5
    assert len(raw["samples_ms"]) == 500
    assert device.requests == 507
    assert raw["samples_ms"][0] == pytest.approx(10.0)
    assert raw["timed_s"] == pytest.approx(5.0)


def test_warm_up_lasts_for_its_count_and_its_time(loop: ModuleType) -> None:
    device = Device(10.0)
    timed(loop, device, warmup_requests=3, warmup_s=1.0)
    assert device.requests == 500 + 100


def test_a_slow_networks_warm_up_is_short(loop: ModuleType) -> None:
    device = Device(5000.0)
    loop.warm_up(device.infer, asdict(Timing()), device.clock)
    assert device.now_s == 5.0
    device = Device(250.0)
    loop.warm_up(device.infer, asdict(Timing(block_s=1.0)), device.clock)
    assert device.now_s == 1.0
    device = Device(250.0)
    loop.warm_up(device.infer, asdict(Timing(block_s=1.0, warmup_s=4.0)), device.clock)
    assert device.now_s == 4.0


@pytest.mark.parametrize(
    ("request_s", "blocks"), [(1, 5), (4, 5), (9, 5), (12, 3), (19, 2), (70, 2)]
)
def test_a_slow_network_has_five_blocks_or_what_fits_into_half_its_time(
    loop: ModuleType, request_s: float, blocks: int
) -> None:
    device = Device(request_s * 900.0, request_s * 1100.0)  # never within the tolerance
    raw = timed(loop, device, timeout_s=120.0, block_s=0.5, max_s=3.0)
    assert len(raw["block_medians_ms"]) == blocks
    assert raw["stopped_by"] == "max_s"
    assert math.isfinite(raw["half_interval_ms"])


def test_a_slow_network_under_pressure_is_not_measured_again_when_it_is_late(
    loop: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop.time, "sleep", lambda seconds: None)
    device = Device(15_000.0)
    raw = timed(loop, device, pressures(0.5, host=0.5), timeout_s=120.0)
    assert device.now_s <= 75.0
    assert raw["noisy_blocks"] == len(raw["block_medians_ms"]) == 2


def test_a_block_of_slow_requests_ends_by_time(loop: ModuleType) -> None:
    raw = timed(loop, Device(1000.0), warmup_s=0.0, warmup_requests=0)
    assert len(raw["samples_ms"]) == 5 * 3


def test_quick_networks_are_measured_for_a_while(loop: ModuleType) -> None:
    raw = timed(loop, Device(0.1), min_s=1.0)
    assert raw["timed_s"] >= 1.0
    assert len(raw["block_medians_ms"]) > 5


def test_a_restless_device_is_measured_until_the_limit(loop: ModuleType) -> None:
    # Two moods of 100 requests each: the block medians never agree.
    raw = timed(loop, Device(*[5.0] * 100, *[15.0] * 100), max_s=8.0, warmup_s=0, warmup_requests=0)
    assert raw["stopped_by"] == "max_s"
    assert raw["timed_s"] >= 8.0
    assert raw["half_interval_ms"] > 0.02 * 10


def test_a_block_under_pressure_is_measured_again(
    loop: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop.time, "sleep", lambda seconds: None)
    device = Device(10.0)
    pressure = pressures(0.5, 0.5, 0.01, host=0.3)
    raw = timed(loop, device, pressure, warmup_requests=0, warmup_s=0.0)
    assert raw["noisy_blocks"] == 0
    assert len(raw["block_medians_ms"]) == 5
    assert device.requests == 700
    assert raw["cpu_wait"] == pytest.approx(0.01)
    assert raw["cpu_pressure"] == pytest.approx(0.3)


def test_pressure_that_stays_is_told(loop: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop.time, "sleep", lambda seconds: None)
    device = Device(10.0)
    pressure = pressures(None, host=0.9)
    raw = timed(loop, device, pressure, pressure_retries=3, warmup_requests=0, warmup_s=0.0)
    assert raw["noisy_blocks"] == len(raw["block_medians_ms"]) == 5
    assert device.requests == 500 + 300
    assert raw["cpu_wait"] is None


def test_throughput_counts_what_was_in_flight(loop: ModuleType) -> None:
    device = Device(10.0)

    class Request:
        start = staticmethod(device.infer)

        def wait(self) -> None:
            pass

    rate = loop.time_throughput([Request(), Request()], 2.0, device.clock)
    assert rate == pytest.approx(100.0, rel=0.02)
    assert math.isfinite(rate)


def test_the_kernel_tells_the_pressure(loop: ModuleType) -> None:
    before = loop.Pressure()
    deadline = before.at + 0.02
    while loop.time.perf_counter() < deadline:
        pass
    for told in before.since():
        assert told is None or 0 <= told <= 1
