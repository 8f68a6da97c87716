"""Real children: what every device does, the fake as well as OpenVINO's CPU, and all that fails."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch import nn

from raytune_edge.config import Timing
from raytune_edge.errors import (
    DeviceDiedError,
    DeviceError,
    DeviceTimeoutError,
    ModelProofError,
    NoDeviceError,
    UnsupportedModelError,
)
from raytune_edge.export import export_onnx
from raytune_edge.runtimes import MAX_MODEL_BYTES, Instrument, check_model_bytes, device_spec
from raytune_edge.testing import FakeDevice

QUICK = Timing(min_s=0.0, max_s=2.0, throughput_s=0.1, warmup_s=0.05, timeout_s=30.0)


def network(width: int = 8) -> bytes:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, width, 3),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(width, 10),
    )
    return export_onnx(model, torch.rand(1, 3, 16, 16)).onnx


@pytest.fixture
def instrument() -> Iterator[Callable[[Any], Instrument]]:
    made: list[Instrument] = []

    def make(device: Any, **options: Any) -> Instrument:
        made.append(Instrument(device_spec(device), **options))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.mark.parametrize("device", ["CPU", FakeDevice()], ids=["openvino", "fake"])
class TestEveryDevice:
    """What a runtime must do, whichever it is."""

    def test_it_says_what_it_is(self, device: Any, instrument: Callable[[Any], Instrument]) -> None:
        each = instrument(device)
        facts = each.hello()
        assert facts.device_name
        assert facts.runtime.split()[1][0].isdigit()
        assert facts.pid == each.pid

    def test_a_record_is_whole(self, device: Any, instrument: Callable[[Any], Instrument]) -> None:
        record = instrument(device).measure(network(), QUICK, signature="abc")
        assert record.latency_min_ms <= record.latency_p50_ms <= record.latency_p90_ms
        assert record.latency_p90_ms <= record.latency_p99_ms
        assert record.latency_p50_low_ms <= record.latency_p50_ms <= record.latency_p50_high_ms
        assert record.samples >= 5
        assert record.throughput_fps > 0
        assert record.signature == "abc"
        assert not record.cached
        assert record.layers == ()

    def test_layers_are_profiled_on_request(
        self, device: Any, instrument: Callable[[Any], Instrument]
    ) -> None:
        timing = Timing(profile=True, min_s=0.0, max_s=1.0, throughput_s=0.0)
        record = instrument(device).measure(network(), timing)
        assert record.layers
        assert record.device_latency_ms == pytest.approx(sum(each.ms for each in record.layers))

    def test_accuracy_is_taken_from_a_sample(
        self, device: Any, instrument: Callable[[Any], Instrument]
    ) -> None:
        images = np.random.default_rng(0).random((20, 3, 16, 16), dtype=np.float32)
        record = instrument(device).measure(network(), QUICK, sample=(images, np.arange(20) % 10))
        assert record.top1 is not None
        assert record.top5 is not None
        assert 0 <= record.top1 <= record.top5 <= 1

    def test_it_ends_when_it_is_closed(
        self, device: Any, instrument: Callable[[Any], Instrument]
    ) -> None:
        each = instrument(device)
        pid = each.hello().pid
        each.close()
        assert not Path(f"/proc/{pid}").exists()
        assert each.measure(network(), QUICK).samples > 0

    @pytest.mark.parametrize("content", [b"", b"# a text file\n"], ids=["empty", "text"])
    def test_what_is_no_model_is_the_models_fault(
        self, device: Any, content: bytes, instrument: Callable[[Any], Instrument]
    ) -> None:
        with pytest.raises(UnsupportedModelError):
            instrument(device).measure(content, QUICK)

    def test_a_killed_child_is_told_and_the_next_request_is_served(
        self, device: Any, instrument: Callable[[Any], Instrument]
    ) -> None:
        each = instrument(device)
        os.kill(each.hello().pid, signal.SIGKILL)
        with pytest.raises(DeviceError):
            each.measure(network(), QUICK)
        assert each.measure(network(), QUICK).latency_p50_ms > 0


def test_accuracy_on_the_device_is_that_of_pytorch(
    instrument: Callable[[Any], Instrument],
) -> None:
    torch.manual_seed(1)
    model = nn.Sequential(nn.Flatten(), nn.Linear(27, 10)).eval()
    images = torch.rand(50, 3, 3, 3)
    labels = model(images).argmax(1)
    labels[:10] = (labels[:10] + 1) % 10
    exported = export_onnx(model, images[:1])
    sample = (images.numpy(), labels.numpy())
    record = instrument("CPU").measure(
        exported.onnx, Timing(precision="f32", min_s=0, throughput_s=0), sample=sample
    )
    assert record.top1 == pytest.approx(0.8)


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("die", DeviceDiedError),
        ("segfault", DeviceDiedError),
        ("hang", DeviceTimeoutError),
        ("garbage", DeviceDiedError),
        ("replay", ModelProofError),
        ("error", DeviceError),
        ("unsupported", UnsupportedModelError),
    ],
)
def test_each_fault_is_a_typed_error_and_the_next_answer_is_right(
    fault: Any, error: type[Exception], instrument: Callable[[Any], Instrument]
) -> None:
    each = instrument(FakeDevice(latency_ms=2.0, faults=["ok", fault]))
    timing = Timing(timeout_s=1.0 if fault == "hang" else 20.0)
    each.measure(network(), timing)
    start = time.monotonic()
    with pytest.raises(error):
        each.measure(network(16), timing)
    assert time.monotonic() - start < 10
    assert each.measure(network(), timing).latency_p50_ms == pytest.approx(2.0, rel=0.02)


def test_a_child_that_hangs_does_not_outlive_its_parent(
    instrument: Callable[[Any], Instrument],
) -> None:
    each = instrument(FakeDevice(faults=["hang"]))
    pid = each.hello().pid
    with pytest.raises(DeviceTimeoutError):
        each.measure(network(), Timing(timeout_s=0.5))
    assert not Path(f"/proc/{pid}").exists()


def test_a_device_that_is_not_there_is_told_with_those_that_are(
    instrument: Callable[[Any], Instrument],
) -> None:
    with pytest.raises(NoDeviceError, match=r"no device 'GPU'.*CPU"):
        instrument("GPU").hello()


def test_a_file_that_is_cut_short_is_refused(instrument: Callable[[Any], Instrument]) -> None:
    whole = network()
    with pytest.raises(UnsupportedModelError, match="whole ONNX file"):
        instrument("CPU").measure(whole[: len(whole) // 2], QUICK)


def test_a_huge_model_is_refused_before_it_travels() -> None:
    class Huge(bytes):
        def __len__(self) -> int:
            return 3 * 10**9

    with pytest.raises(UnsupportedModelError, match=f"at most {MAX_MODEL_BYTES:,} bytes"):
        check_model_bytes(Huge(b"onnx"))


def relu(shape: list[Any], inputs: int = 1) -> bytes:
    names = [f"x{number}" for number in range(inputs)]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Sum", names, ["y"])],
        "sum",
        [value(name, TensorProto.FLOAT, shape) for name in names],
        [value("y", TensorProto.FLOAT, shape)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=7)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def test_a_dynamic_shape_needs_to_be_given(instrument: Callable[[Any], Instrument]) -> None:
    each = instrument("CPU")
    model = relu(["batch", 3, 8, 8])
    with pytest.raises(UnsupportedModelError, match=r"dynamic.*Timing\(input_shape="):
        each.measure(model, QUICK)
    timing = Timing(input_shape=(1, 3, 8, 8), min_s=0.0, throughput_s=0.0)
    assert each.measure(model, timing).samples > 0


def test_several_inputs_are_measured(instrument: Callable[[Any], Instrument]) -> None:
    assert instrument("CPU").measure(relu([1, 3, 8, 8], inputs=2), QUICK).samples > 0
