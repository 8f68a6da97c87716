"""What every device must do: a suite of pytest tests that a runtime of your own has to pass."""

from __future__ import annotations

import hashlib
import json
import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from raytune_edge.config import Timing
from raytune_edge.errors import (
    DeviceDiedError,
    DeviceTimeoutError,
    RaytuneEdgeError,
    UnsupportedModelError,
)
from raytune_edge.records import Measurement
from raytune_edge.runtimes import Instrument, device_spec

__all__ = ["DeviceConformance", "convolutions", "flatten"]

QUICK = Timing(warmup_s=0.05, min_s=0.0, max_s=2.0, throughput_s=0.1, timeout_s=60.0)


def convolutions(width: int, batch: int | str = 1) -> bytes:
    """An ONNX model (opset 11): three 3×3 convolutions of ``width`` channels on (N, 3, 32, 32).

    Args:
        batch: A name makes the batch dimension dynamic.
    """
    from onnx import helper, numpy_helper

    random = np.random.default_rng(0)
    nodes, weights, channels, name = [], [], 3, "image"
    for layer in ("conv1", "conv2", "conv3"):
        values = random.standard_normal((width, channels, 3, 3), dtype=np.float32) / (3 * channels)
        weights.append(numpy_helper.from_array(values, layer + ".weight"))
        nodes += [
            helper.make_node("Conv", [name, layer + ".weight"], [layer], pads=[1, 1, 1, 1]),
            helper.make_node("Relu", [layer], [layer + ".relu"]),
        ]
        name, channels = layer + ".relu", width
    return _onnx_bytes(nodes, [batch, 3, 32, 32], [batch, width, 32, 32], weights)


def flatten(count: int) -> bytes:
    """An ONNX model (opset 11) whose scores are its input, (1, ``count``, 1, 1)."""
    from onnx import helper

    node = helper.make_node("Flatten", ["image"], ["scores"])
    return _onnx_bytes([node], [1, count, 1, 1], [1, count], [])


def _onnx_bytes(
    nodes: Sequence[Any], taken: Sequence[int | str], given: Sequence[int | str], weights: Any
) -> bytes:
    from onnx import TensorProto, helper

    graph = helper.make_graph(
        nodes,
        "conformance",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, taken)],
        [helper.make_tensor_value_info(nodes[-1].output[0], TensorProto.FLOAT, given)],
        weights,
    )
    opset = [helper.make_opsetid("", 11)]
    content: bytes = helper.make_model(graph, opset_imports=opset, ir_version=6).SerializeToString()
    return content


class DeviceConformance:
    """Subclass it in a test module and name the device; pytest does the rest.

    Attributes:
        device: What `connect_devices` takes: a device's name, a ``DeviceSpec``, a `FakeDevice`.
        limits: Settings of `Timing` that the device needs, such as a longer ``timeout_s``.

    >>> class TestMyProcessor(DeviceConformance):
    ...     device = "CPU"
    """

    device: ClassVar[Any] = None
    limits: ClassVar[dict[str, Any]] = {}
    instrument: Instrument

    def setup_method(self) -> None:
        self.instrument = Instrument(device_spec(self.device), device_id="conformance")

    def teardown_method(self) -> None:
        self.instrument.close()

    def measure(self, model: bytes, sample: Any = None, **settings: Any) -> Measurement:
        quick = {name: getattr(QUICK, name) for name in QUICK.__dataclass_fields__}
        timing = Timing(**{**quick, **self.limits, **settings})
        return self.instrument.measure(model, timing, signature="abc", sample=sample)

    def refusal(self, model: bytes, **settings: Any) -> RaytuneEdgeError | None:
        """The error that measuring ``model`` ends with; None if it doesn't."""
        try:
            self.measure(model, **settings)
        except RaytuneEdgeError as error:
            return error
        return None

    def test_it_introduces_itself(self) -> None:
        facts = self.instrument.hello()
        assert facts.device_name, "a device has a name"
        name, _, version = facts.runtime.partition(" ")
        assert name, "a runtime has a name"
        assert version[:1].isdigit(), f"a runtime has a version, got {facts.runtime!r}"
        assert facts.pid == self.instrument.pid, "it runs in a child process"

    def test_its_figures_are_in_order(self) -> None:
        model = convolutions(8)
        record = self.measure(model)
        order = ("min", "p50", "p90", "p99")
        figures = [getattr(record, f"latency_{name}_ms") for name in order]
        assert figures == sorted(figures), f"expected {order} to rise, got {figures}"
        assert figures[0] > 0, "no request takes no time"
        low, high = record.latency_p50_low_ms, record.latency_p50_high_ms
        centre = float(np.mean(record.block_medians_ms))
        assert low <= centre <= high, "the interval is that of the block medians"
        assert len(record.block_medians_ms) >= QUICK.min_blocks, "the interval needs its blocks"
        assert record.samples >= len(record.block_medians_ms), "a block has a request at least"
        assert record.throughput_fps > 0, "throughput is a rate"
        assert record.requests_in_flight >= 1, "throughput needs a request in flight"
        assert record.stopped_by in ("tolerance", "max_s"), record.stopped_by

    def test_its_record_says_what_was_measured(self) -> None:
        model = convolutions(8)
        record = self.measure(model)
        assert record.model_sha256 == hashlib.sha256(model).hexdigest(), "whose figures are these?"
        assert (record.device_id, record.signature) == ("conformance", "abc")
        assert record.precision, "the precision is told as it is"
        assert not record.cached, "this was measured now"
        there_and_back = json.loads(json.dumps(record.to_dict(), allow_nan=False))
        assert Measurement.from_dict(there_and_back) == record, "a record survives JSON"

    def test_a_larger_network_takes_longer(self) -> None:
        small, large = (self.measure(convolutions(width)) for width in (4, 128))
        assert small.latency_p50_ms < large.latency_p50_ms, "figures follow the network"

    def test_layers_are_told_on_request(self) -> None:
        assert self.measure(convolutions(8)).layers == (), "profiling is off by default"
        layers = self.measure(convolutions(8), profile=True).layers
        assert layers, "profile=True tells the layers"
        assert all(layer.name and layer.kind and layer.ms >= 0 for layer in layers), layers

    def test_accuracy_is_that_of_the_scores(self) -> None:
        images = np.eye(10, dtype=np.float32).reshape(10, 10, 1, 1) + np.linspace(
            0.0, 0.5, 10, dtype=np.float32
        ).reshape(1, 10, 1, 1)
        labels = np.arange(10)
        labels[:2] = 9  # scored second best
        labels[9] = 0  # scored last
        record = self.measure(flatten(10), sample=(images, labels))
        assert (record.top1, record.top5) == (0.7, 0.9)

    def test_what_is_no_model_is_refused_and_the_next_is_measured(self) -> None:
        whole = convolutions(8)
        before = self.instrument.hello().pid
        cases = {
            "empty": b"",
            "text": b"# Not a model, but a text file.\n" * 20,
            "cut short": whole[: len(whole) // 2],
            "of dynamic shape": convolutions(8, batch="batch"),
        }
        for name, model in cases.items():
            error = self.refusal(model)
            assert isinstance(error, UnsupportedModelError), f"{name}: {error!r}"
            assert self.measure(whole).samples > 0, f"after a model that is {name}"
        assert self.instrument.pid == before, "a refusal says nothing against the child"

    def test_a_late_answer_is_a_timeout_and_the_next_is_in_time(self) -> None:
        model = convolutions(8)
        before = self.instrument.hello().pid
        error = self.refusal(model, timeout_s=1e-3)
        assert isinstance(error, DeviceTimeoutError), repr(error)
        assert not _runs(before), "a child that missed its deadline is ended"
        assert self.measure(model).samples > 0

    def test_a_killed_child_is_told_and_replaced(self) -> None:
        before = self.instrument.hello().pid
        os.kill(before, signal.SIGKILL)
        error = self.refusal(convolutions(8))
        assert isinstance(error, DeviceDiedError), repr(error)
        assert self.measure(convolutions(8)).samples > 0
        assert self.instrument.pid != before

    def test_it_ends_when_it_is_closed(self) -> None:
        pid = self.instrument.hello().pid
        self.instrument.close()
        assert not _runs(pid), "closing ends the child"
        self.instrument.close()


def _runs(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()
