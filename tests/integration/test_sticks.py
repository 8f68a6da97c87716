"""Sticks in a pool on real Ray, with the trouble that sticks have: each ends as the ladder says."""

import hashlib
import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from onnx import TensorProto, helper

from raytune_edge.config import Timing
from raytune_edge.devices import DevicePool, DeviceStatus, connect_devices
from raytune_edge.doctor.sticks import stick_findings
from raytune_edge.errors import (
    DeviceBusyError,
    DeviceDiedError,
    NoDeviceError,
    UnsupportedModelError,
)
from raytune_edge.runtimes import DeviceSpec, Instrument
from raytune_edge.runtimes.ncs2.sticks import find_sticks
from raytune_edge.testing import FakeDevice
from raytune_edge.testing.conformance import convolutions

pytestmark = pytest.mark.usefixtures("ray_cluster")

MODEL = convolutions(4)


@pytest.fixture
def connect() -> Iterator[Callable[..., DevicePool]]:
    pools: list[DevicePool] = []

    def make(device: Any, **settings: Any) -> DevicePool:
        pools.append(connect_devices(device, resource="ncs", **settings))
        return pools[-1]

    yield make
    for pool in pools:
        pool.close()


def booted(device: FakeDevice) -> list[bool]:
    return [stick.booted for stick in find_sticks(Path(device.spec().root))]


def wait_for(pool: DevicePool, wanted: Callable[[DeviceStatus], bool]) -> DeviceStatus:
    """The device of which ``wanted`` is true, once it is."""
    deadline = time.monotonic() + 120
    while True:
        devices = pool.status().devices
        for each in devices:
            if wanted(each):
                return each
        assert time.monotonic() < deadline, devices
        time.sleep(0.05)


def test_each_unit_measures_on_a_stick_of_its_own_and_gives_it_back(
    connect: Callable[..., DevicePool],
) -> None:
    device = FakeDevice(sticks=2, latency_ms=12.0, busy_s=0.3)
    pool = connect(device)
    records = [each.result(60.0) for each in [pool.submit(MODEL) for _ in range(4)]]
    assert len({record.device_id for record in records}) == 2
    assert {(record.device, record.usb_mbps) for record in records} == {("MYRIAD", 5000)}
    assert booted(device) == [True, True]

    # A killed actor leaves its stick booted, and the next one waits until it is back.
    os.kill(pool.status().devices[0].pid, signal.SIGKILL)
    records = [each.result(60.0) for each in [pool.submit(MODEL) for _ in range(4)]]
    assert all(record.latency_p50_ms == pytest.approx(12.0, rel=0.02) for record in records)
    wait_for(pool, lambda each: each.failed > 0 and each.healthy)

    pool.close()
    deadline = time.monotonic() + 20
    while booted(device) != [False, False]:
        assert time.monotonic() < deadline, find_sticks(Path(device.spec().root))
        time.sleep(0.1)


@pytest.mark.parametrize(
    "faults", [["error", "error"], ["die"], ["vanish"]], ids=["NC_ERROR twice", "exit(1)", "gone"]
)
def test_passing_trouble_of_a_stick_costs_no_request(
    faults: list[Any], connect: Callable[..., DevicePool]
) -> None:
    pool = connect(FakeDevice(sticks=1, latency_ms=12.0, faults=faults, patience_s=2.0))
    assert pool.measure(MODEL).latency_p50_ms == pytest.approx(12.0, rel=0.02)
    # The host offers one unit more than it has sticks: that is told and disturbs nobody.
    beyond = wait_for(pool, lambda each: each.quarantined)
    assert re.search("all 1 sticks|USB shows none", beyond.reason), beyond.reason
    devices = pool.status().devices  # the other unit may have taken over the stick
    assert sum(each.measured for each in devices) == 1
    assert sum(each.failed for each in devices) > len(faults)


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("lost", r"left the bus and did not come back"),
        ("stuck", r"stays booted, and its port cannot be reset .*; replug it"),
        ("mutex", r"mvnc.mutex cannot be opened .* sudo rm "),
    ],
)
def test_a_stick_that_needs_a_person_is_quarantined_at_once_with_the_reason(
    fault: Any, reason: str, connect: Callable[..., DevicePool]
) -> None:
    pool = connect(FakeDevice(sticks=1, faults=[fault], patience_s=0.5))
    pending = pool.submit(MODEL, timing=Timing(queue_timeout_s=4.0))
    status = wait_for(pool, lambda each: each.quarantined and each.failed == 2)
    assert status.measured == 0
    assert status.retry_in_s > 30
    with pytest.raises(DeviceBusyError, match="0 devices are healthy; it went wrong before"):
        pending.result(60.0)
    assert re.search(reason, status.reason), status.reason


def test_without_a_stick_the_run_does_not_begin_and_never_falls_to_the_cpu(
    connect: Callable[..., DevicePool], tmp_path: Path
) -> None:
    with pytest.raises(NoDeviceError, match=r"/ncs:0: NoDeviceError: .*USB shows none") as caught:
        connect(DeviceSpec(device="MYRIAD", root=str(tmp_path)), timeout_s=60.0)
    assert "raytune-edge doctor --device MYRIAD" in str(caught.value)


def test_a_model_that_the_stick_refuses_is_tried_in_older_words() -> None:
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 8]) for name in "xy"]
    node = helper.make_node("HardSigmoid", ["x"], ["y"])
    graph = helper.make_graph([node], "g", value[:1], value[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=7)
    onnx_bytes = model.SerializeToString()
    instrument = Instrument(FakeDevice(sticks=1, faults=["unsupported"] * 4).spec())
    try:
        with pytest.raises(UnsupportedModelError, match="unsupported layer type"):
            instrument.measure(MODEL)  # there are no other words for it
        with pytest.raises(UnsupportedModelError, match="unsupported layer type"):
            instrument.measure(onnx_bytes)  # the other words are refused as well
        record = instrument.measure(onnx_bytes)  # refused once, and then measured
    finally:
        instrument.close()
    assert record.model_sha256 == hashlib.sha256(onnx_bytes).hexdigest()


def test_a_name_in_small_letters_is_told() -> None:
    instrument = Instrument(DeviceSpec(device="myriad"))
    with pytest.raises(NoDeviceError, match=r"sees no device 'myriad' .*; the name is MYRIAD"):
        instrument.hello()


@pytest.mark.parametrize("busy", [False, True])
def test_a_child_that_is_told_to_end_closes_its_stick(busy: bool) -> None:
    # The firmware of this stick doesn't end itself: it is left to who booted it.
    device = FakeDevice(sticks=1, faults=["hang"], reboot_s=1e6)
    instrument = Instrument(device.spec())
    thread = threading.Thread(target=lambda: failing(instrument))
    try:
        pid = instrument.hello().pid
        assert booted(device) == [True]
        if busy:
            thread.start()
            time.sleep(0.5)
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + 20
        while booted(device) != [False]:
            assert time.monotonic() < deadline, find_sticks(Path(device.spec().root))
            time.sleep(0.05)
    finally:
        if busy:
            thread.join()
        instrument.close()


def failing(instrument: Instrument) -> None:
    with pytest.raises(DeviceDiedError, match="status 143"):
        instrument.measure(MODEL)


def test_the_doctor_measures_on_each_free_stick_and_tells_which_one_does_not() -> None:
    device = FakeDevice(sticks=2, latency_ms=12.0, faults=["ok", "stuck"], patience_s=0.2)
    runtime, first, second = stick_findings(device.spec())
    assert (runtime.level, first.level, second.level) == ("ok", "ok", "fail")
    assert re.search(r"1-1 .* takes 12\.\d+ ms at 40 °C, USB at 5000 Mbit/s", first.what)
    assert "1-2" in second.what
    assert "uhubctl -l 1 -p 2" in second.mend
    assert booted(device) == [False, True]
