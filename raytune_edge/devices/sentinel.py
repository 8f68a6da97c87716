"""The sentinel: a small reference model that tells whether a device is as fast as it was."""

from __future__ import annotations

import functools
import statistics
from collections.abc import Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from raytune_edge.config import Timing

__all__ = ["RUNS", "TIMING", "Sentinel", "reference_model"]

RUNS = 3
"""Short runs whose median is compared, and whose range is the noise."""

TIMING = Timing(
    warmup_requests=10,
    warmup_s=0.1,
    min_blocks=5,
    block_requests=1000,
    block_s=0.05,
    min_s=0.0,
    max_s=0.4,
    pressure_retries=3,
    throughput_s=0,
    timeout_s=30.0,
)
"""How one run is measured: in about a third of a second."""

_TOLERANCE = 0.02
_STEADILY = 2


class Sentinel:
    """Compares runs of the reference model with those at the start.

    A device drifts if the median moved by more than ``tolerance`` and by more than noise: half
    the range of the runs now and at the start, added up. One that is faster than at the start
    twice in succession does not drift: the start was the exception, and these runs take its place.
    """

    def __init__(self, *, tolerance: float = _TOLERANCE) -> None:
        self._tolerance = tolerance
        self._start_ms: list[float] = []
        self._faster = 0
        self.drift: float | None = None
        self.drifting = False

    @property
    def started(self) -> bool:
        """Whether there is something to compare with."""
        return bool(self._start_ms)

    def start(self, p50_ms: Sequence[float]) -> None:
        """Take the device as it is now as what it should be."""
        self._start_ms = list(p50_ms)
        self._faster, self.drift, self.drifting = 0, None, False

    def is_close(self, p50_ms: float) -> bool:
        """Whether one run is so near to the start that no more are needed."""
        return abs(p50_ms / statistics.median(self._start_ms) - 1) <= self._tolerance

    def judge(self, p50_ms: Sequence[float]) -> bool:
        """Whether the device drifts, by these runs; kept in ``drifting``, the figure in ``drift``.

        >>> sentinel = Sentinel()
        >>> sentinel.start([1.00, 1.01, 0.99])
        >>> sentinel.judge([1.05, 1.06, 1.05])
        True
        >>> sentinel.judge([1.05, 1.16, 0.97])
        False
        """
        start = statistics.median(self._start_ms)
        noise = sum((max(runs) - min(runs)) / 2 for runs in (self._start_ms, p50_ms)) / start
        self.drift = statistics.median(p50_ms) / start - 1
        self.drifting = abs(self.drift) > max(self._tolerance, noise)
        self._faster = self._faster + 1 if self.drifting and self.drift < 0 else 0
        if self._faster == _STEADILY:
            self.start(p50_ms)
        return self.drifting

    @property
    def flag(self) -> str:
        """What records are flagged with meanwhile."""
        return f"the device drifts: its reference model is {self.drift or 0.0:+.1%} off the start"


@functools.cache
def reference_model() -> bytes:
    """Three convolutions on (1, 3, 128, 128), 64 million multiply-accumulates, as ONNX opset 11."""
    random = np.random.default_rng(0)
    nodes, weights, last = [], [], "image"
    for number, (inputs, outputs, stride) in enumerate([(3, 16, 1), (16, 32, 2), (32, 32, 1)]):
        kernel = random.normal(0, 0.1, (outputs, inputs, 3, 3)).astype(np.float32)
        weights.append(numpy_helper.from_array(kernel, f"kernel{number}"))
        nodes.append(
            helper.make_node(
                "Conv",
                [last, f"kernel{number}"],
                [f"conv{number}"],
                pads=[1, 1, 1, 1],
                strides=[stride, stride],
            )
        )
        last = f"relu{number}"
        nodes.append(helper.make_node("Relu", [f"conv{number}"], [last]))
    nodes.append(helper.make_node("GlobalAveragePool", [last], ["features"]))
    graph = helper.make_graph(
        nodes,
        "reference",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, (1, 3, 128, 128))],
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, (1, 32, 1, 1))],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=7)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())
