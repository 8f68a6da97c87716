"""The pool on real Ray: what waits is answered, whatever happens to a device."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import ray
import torch
from torch import nn

from raytune_edge.config import Timing
from raytune_edge.devices import DevicePool, Pending, connect_devices
from raytune_edge.devices.pool import NAMESPACE, actor_name
from raytune_edge.errors import (
    DeviceBusyError,
    DeviceError,
    NoDeviceError,
    OutputError,
    UnsupportedModelError,
)
from raytune_edge.export import ExportedModel, export_onnx
from raytune_edge.testing import FakeDevice

pytestmark = pytest.mark.usefixtures("ray_cluster")


@pytest.fixture
def keeping(connect: Callable[..., DevicePool], tmp_path: Path) -> DevicePool:
    """A pool of a fake device that keeps what it measures."""
    return connect(FakeDevice(), store=tmp_path)


def children_of(pid: int) -> list[int]:
    """Processes that ``pid`` has started."""
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for task in tasks for child in task.read_text().split()]


@pytest.fixture(scope="module")
def model() -> ExportedModel:
    torch.manual_seed(0)
    return export_onnx(nn.Sequential(nn.Flatten(), nn.Linear(12, 4)), torch.rand(1, 3, 2, 2))


@pytest.fixture
def connect() -> Iterator[Callable[..., DevicePool]]:
    pools: list[DevicePool] = []

    def make(device: Any, **settings: Any) -> DevicePool:
        pools.append(connect_devices(device, resource="ncs", **settings))
        return pools[-1]

    yield make
    for pool in pools:
        pool.close()


def test_every_unit_of_the_resource_measures(
    connect: Callable[..., DevicePool], model: ExportedModel
) -> None:
    pool = connect(FakeDevice(latency_ms=2.0, busy_s=0.2))
    pending = [pool.submit(model.onnx) for _ in range(8)]
    records = [each.result(60.0) for each in pending]
    assert all(record.latency_p50_ms == pytest.approx(2.0, rel=0.02) for record in records)
    assert len({record.device_id for record in records}) == 2
    assert all(record.model_sha256 == model.sha256 for record in records)
    assert max(record.queue_wait_s for record in records) >= 0.2
    status = pool.status()
    assert sum(device.measured for device in status.devices) == 8
    assert status.queue_length == 0


def test_the_real_cpu_is_measured_on_a_core_of_its_own(
    connect: Callable[..., DevicePool], model: ExportedModel
) -> None:
    pool = connect("CPU", sentinel_every=0)
    record = pool.measure(model.onnx, timing=Timing(min_s=0.0, max_s=1.0, throughput_s=0.1))
    assert record.latency_p50_ms > 0
    assert record.device == "CPU"
    if len(os.sched_getaffinity(0)) > 1:
        quiet = pool.quiet_cores()
        assert quiet
        assert {each.core for each in pool.status().devices if each.core is not None} <= quiet
        assert os.sched_getaffinity(0) - quiet  # something is left for the trials


def test_done_turns_true_without_being_waited_for(
    connect: Callable[..., DevicePool], model: ExportedModel
) -> None:
    pending = connect(FakeDevice(busy_s=0.5)).submit(model.onnx)
    assert not pending.done()
    deadline = time.monotonic() + 30
    while not pending.done():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert pending.result().samples > 0


@pytest.mark.parametrize("fault", ["die", "segfault", "garbage", "replay", "error", "hang"])
def test_a_request_survives_trouble_of_the_device(
    fault: Any, connect: Callable[..., DevicePool], model: ExportedModel
) -> None:
    pool = connect(FakeDevice(latency_ms=3.0, faults=[fault]))
    record = pool.measure(model.onnx, timing=Timing(timeout_s=2.0 if fault == "hang" else 20.0))
    assert record.latency_p50_ms == pytest.approx(3.0, rel=0.02)
    assert record.model_sha256 == model.sha256
    assert sum(device.failed for device in pool.status().devices) == 1
    assert any(device.last_error for device in pool.status().devices)


def test_a_killed_actor_costs_no_request(
    connect: Callable[..., DevicePool], model: ExportedModel
) -> None:
    pool = connect(FakeDevice(latency_ms=3.0, busy_s=1.0))
    pending = [pool.submit(model.onnx) for _ in range(4)]
    time.sleep(0.5)
    os.kill(pool.status().devices[0].pid, signal.SIGKILL)
    for each in pending:
        assert each.result(90.0).latency_p50_ms == pytest.approx(3.0, rel=0.02)


def test_a_refused_model_is_not_tried_again(
    connect: Callable[..., DevicePool], model: ExportedModel
) -> None:
    pool = connect(FakeDevice(faults=["unsupported"]))
    with pytest.raises(UnsupportedModelError, match="unsupported layer type"):
        pool.measure(model.onnx)
    assert pool.measure(model.onnx).samples > 0


def test_a_device_that_stays_broken_is_an_error_in_the_end(
    connect: Callable[..., DevicePool], model: ExportedModel
) -> None:
    pool = connect(FakeDevice(faults=["error"] * 50), max_tries=2)
    with pytest.raises(DeviceError, match=r"gave up after 2 tries.*NC_ERROR"):
        pool.measure(model.onnx)


def test_the_queue_has_a_limit_of_its_own(
    connect: Callable[..., DevicePool], model: ExportedModel
) -> None:
    pool = connect(FakeDevice(busy_s=2.0))
    others = [pool.submit(model.onnx) for _ in range(2)]
    with pytest.raises(DeviceBusyError, match=r"limit of 0\.5 s"):
        pool.measure(model.onnx, timing=Timing(queue_timeout_s=0.5))
    assert all(each.result(30.0) for each in others)


def test_the_store_answers_for_equal_signatures_until_asked_afresh(
    keeping: DevicePool, model: ExportedModel
) -> None:
    first = keeping.measure(model.onnx, signature=model.signature)
    again = keeping.measure(model.onnx, signature=model.signature)
    fresh = keeping.measure(model.onnx, signature=model.signature, fresh=True)
    assert [first.cached, again.cached, fresh.cached] == [False, True, False]
    assert again.taken_at == first.taken_at < fresh.taken_at


def test_a_model_whose_measurement_is_kept_does_not_travel(
    keeping: DevicePool, model: ExportedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = Mock(wraps=ray.put)
    monkeypatch.setattr(ray, "put", put)
    assert not keeping.measure(model.onnx, signature=model.signature).cached
    assert put.call_count == 1
    kept = keeping.submit(model.onnx, signature=model.signature)
    assert kept.done()
    assert kept.result().cached
    assert put.call_count == 1


def test_who_waits_for_the_pool_keeps_its_cpu(
    keeping: DevicePool, model: ExportedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a task ``ray.get`` lends it to others, and Ray starts one more process for them."""
    monkeypatch.setattr(ray, "get", Mock(side_effect=AssertionError("ray.get lends the CPU")))
    for _ in range(2):
        assert keeping.measure(model.onnx, signature=model.signature).samples > 0
    assert keeping.quiet_cores() == set()  # the fake is no CPU
    assert keeping.status().queue_length == 0


def test_a_pool_is_found_again_and_used_from_a_task(
    connect: Callable[..., DevicePool], model: ExportedModel
) -> None:
    device = FakeDevice()
    first, second = connect(device), connect(device)
    assert first.status().experiments == 2

    @ray.remote(num_cpus=0)
    def measure(pool: DevicePool, onnx_bytes: bytes) -> float:
        return pool.measure(onnx_bytes).latency_p50_ms

    assert ray.get(measure.remote(second, model.onnx)) > 0
    first.close()
    assert second.measure(model.onnx).samples > 0


def test_a_pool_that_is_started_again_knows_who_is_connected(
    connect: Callable[..., DevicePool], model: ExportedModel
) -> None:
    device = FakeDevice()
    first, second, third = (connect(device) for _ in range(3))
    first.close()
    before = ray.get_actor(actor_name("ncs"), namespace=NAMESPACE)
    ray.kill(before, no_restart=False)
    assert second.status().experiments == 2
    second.close()
    assert third.measure(model.onnx).samples > 0
    third.close()
    with pytest.raises(DeviceError, match="is gone"):
        third.status()


def test_an_error_within_the_pool_is_not_called_its_end(
    connect: Callable[..., DevicePool],
) -> None:
    pool = connect(FakeDevice())
    wrong = ray.get_actor(actor_name("ncs"), namespace=NAMESPACE).measure.remote(None)
    with pytest.raises(DeviceError, match="is there, but went wrong itself: AttributeError: "):
        Pending(wrong.future(), "ncs").result(30.0)
    assert pool.status().devices


def test_a_pool_that_cannot_be_started_is_told_with_the_cause(
    connect: Callable[..., DevicePool], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken:
        def __init__(self, *arguments: Any) -> None:
            raise FileNotFoundError(2, "No such file", "/the/file")

        def connect(self, *arguments: Any) -> None:
            pass

    monkeypatch.setattr("raytune_edge.devices.connect.Coordinator", Broken)
    monkeypatch.setattr("raytune_edge.devices.connect._JOIN_S", 1.0)
    with pytest.raises(DeviceError, match=r"cannot be started: FileNotFoundError: .*'/the/file'"):
        connect(FakeDevice(), timeout_s=1.0)


def test_a_resource_that_something_else_holds_is_told(
    connect: Callable[..., DevicePool], model: ExportedModel, caplog: pytest.LogCaptureFixture
) -> None:
    @ray.remote(num_cpus=0, resources={"ncs": 2})
    class Trial:
        pass

    trial = Trial.remote()
    ray.get(trial.__ray_ready__.remote())
    pool = connect(FakeDevice(), timeout_s=8.0)
    told = "waits for 1 unit of 'ncs', which something else on its node seems to hold"
    assert "no device of 'ncs' is ready, requests will wait" in caplog.text
    assert told in caplog.text
    assert {each.state for each in pool.status().devices} == {"starting"}
    assert all(told in each.reason for each in pool.status().devices)
    ray.kill(trial)
    assert pool.measure(model.onnx).samples > 0
    assert "" in {each.reason for each in pool.status().devices}


def test_another_device_is_refused_while_the_pool_lives(
    connect: Callable[..., DevicePool],
) -> None:
    connect(FakeDevice())
    with pytest.raises(NoDeviceError, match=r"close\(\) that pool first"):
        connect(FakeDevice())


def test_no_experiment_can_starve_another(
    connect: Callable[..., DevicePool], model: ExportedModel
) -> None:
    device = FakeDevice(busy_s=0.3)
    greedy, modest = connect(device), connect(device)
    many = [greedy.submit(model.onnx, priority=9) for _ in range(20)]
    one = modest.submit(model.onnx)
    assert one.result(60.0).queue_wait_s < 3.0
    assert modest.status().places == ()
    assert len(greedy.status().places) >= 10
    greedy.close()
    with pytest.raises(DeviceError, match="closed by its experiment"):
        many[-1].result(10.0)
    assert modest.measure(model.onnx).samples > 0


def test_drift_is_told_and_flagged(
    connect: Callable[..., DevicePool], model: ExportedModel
) -> None:
    pool = connect(FakeDevice(drift=0.03), sentinel_every=2, cooldown_s=0.0)
    records = [pool.measure(model.onnx) for _ in range(8)]
    assert records[0].flags == ()
    of_each = Counter(each.device_id for each in records)  # which of the two takes one is chance
    (busiest, _), *_ = of_each.most_common()
    last = [each for each in records if each.device_id == busiest][-1]
    assert any("drifts" in flag for flag in last.flags), of_each
    drifting = [each for each in pool.status().devices if each.drifting]
    assert drifting
    assert all(each.drift is not None and each.drift > 0.02 for each in drifting)


def test_the_callers_mistake_is_told_and_not_tried_again(
    connect: Callable[..., DevicePool], model: ExportedModel
) -> None:
    pool = connect("CPU", sentinel_every=0)
    sample = np.zeros((2, 3, 5, 5), np.float32), np.zeros(2, np.int64)
    timing = Timing(min_s=0.0, max_s=0.1, throughput_s=0)
    with pytest.raises(ValueError, match="sample's images are"):
        pool.measure(model.onnx, timing=timing, sample=sample)
    assert [each.failed for each in pool.status().devices] == [0, 0]


def test_an_answer_may_be_waited_for_in_parts(
    connect: Callable[..., DevicePool], model: ExportedModel
) -> None:
    pending = connect(FakeDevice(busy_s=1.0)).submit(model.onnx)
    with pytest.raises(TimeoutError, match=r"0\.1 s"):
        pending.result(0.1)
    assert pending.result(30.0).samples > 0


def test_a_model_without_bytes_does_not_travel(connect: Callable[..., DevicePool]) -> None:
    with pytest.raises(UnsupportedModelError, match="0 bytes"):
        connect(FakeDevice()).submit(b"")


def test_a_sample_that_is_none_is_refused_where_it_is_given(
    connect: Callable[..., DevicePool], model: ExportedModel
) -> None:
    pool = connect(FakeDevice())
    with pytest.raises(ValueError, match="a class number for each of the 2 images"):
        pool.submit(model.onnx, sample=(np.zeros((2, 3, 2, 2), np.float32), np.zeros(3, int)))
    assert pool.status().queue_length == 0


def test_a_store_that_cannot_be_written_is_told(
    connect: Callable[..., DevicePool], tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be written"):
        connect(FakeDevice(), store=tmp_path / "file")


def test_a_hanging_child_ends_with_its_actor(
    connect: Callable[..., DevicePool], model: ExportedModel
) -> None:
    pool = connect(FakeDevice(faults=["hang"]))
    pool.submit(model.onnx)
    while not (busy := [each for each in pool.status().devices if each.busy]):
        time.sleep(0.05)
    time.sleep(0.5)
    (children,) = [children_of(each.pid) for each in busy]
    assert children
    os.kill(busy[0].pid, signal.SIGKILL)
    deadline = time.monotonic() + 20
    while any(Path(f"/proc/{pid}").exists() for pid in children):
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_the_devices_process_loads_no_torch() -> None:
    code = (
        "import sys, raytune_edge.devices, raytune_edge.devices.actor;print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_no_device_is_left_running_when_the_pool_is_closed(
    connect: Callable[..., DevicePool], model: ExportedModel
) -> None:
    pool = connect(FakeDevice())
    pool.measure(model.onnx)
    pids = [device.pid for device in pool.status().devices]
    pool.close()
    deadline = time.monotonic() + 20
    while any(Path(f"/proc/{pid}").exists() for pid in pids if pid):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    with pytest.raises(DeviceError, match="connect_devices"):
        pool.measure(model.onnx)


def test_a_missing_resource_is_told_with_what_there_is_and_the_command_that_mends_it() -> None:
    start = time.monotonic()
    with pytest.raises(NoDeviceError) as caught:
        connect_devices("CPU", resource="ncs2", timeout_s=1.0)
    assert time.monotonic() - start < 30
    assert "ncs: 2" in str(caught.value)
    assert "ray start --address=" in str(caught.value)
    assert "--resources='{\"ncs2\": 1}'" in str(caught.value)


def test_a_device_that_the_host_has_not_is_told(connect: Callable[..., DevicePool]) -> None:
    with pytest.raises(NoDeviceError, match="no device 'GPU'"):
        connect("GPU", sentinel_every=0)


def test_without_ray_it_says_so() -> None:
    code = "import raytune_edge as r; r.connect_devices('CPU')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "NoDeviceError" in done.stderr
    assert "call ray.init() first" in done.stderr
