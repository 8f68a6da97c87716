"""What single convolutions would cost on the stick, by its compiler's own figures.

The compiler's cost of a convolution depends on that convolution alone. So many are put side by
side in one made-up network, which is compiled at once, and each figure is kept in a file: networks
of a family share most of their layers.
"""

from __future__ import annotations

import json
import logging
import os
import tempfile
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
from onnx import helper, numpy_helper

from raytune_edge.errors import UnsupportedModelError
from raytune_edge.lowering import IR_VERSION, OPSET
from raytune_edge.runtimes.ncs2.compiler import Compiler
from raytune_edge.runtimes.ncs2.environment import OPENVINO

__all__ = ["Convolution", "predicted_ms"]

logger = logging.getLogger(__name__)

_COMPILERS = 2
_MOST_WEIGHTS = 8_000_000
"""In one made-up network: 16 MB as the compiler keeps them, some seconds of compiling."""

_MOST_CONVOLUTIONS = 32


class Convolution(NamedTuple):
    """All that a convolution's cost depends on; each pair is for height and width."""

    inputs: int
    outputs: int
    groups: int
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    size: tuple[int, int]

    @property
    def weights(self) -> int:
        """How many weights it has."""
        return self.outputs * self.inputs // self.groups * self.kernel[0] * self.kernel[1]


def predicted_ms(
    convolutions: Collection[Convolution],
    *,
    cache: Path | None = None,
    tell: Callable[[str], None] = logger.info,
) -> dict[Convolution, float]:
    """The predicted milliseconds of each; uncalibrated, as `CompileReport.predicted_hw_ms` is.

    Args:
        cache: File that figures are kept in; by default one in the user's cache folder.
        tell: Gets a line on the progress now and then.

    Raises:
        NoRuntimeError: If the stick's runtime is missing; the message says what makes it.
        UnsupportedModelError: If the compiler refuses a convolution.
    """
    path = _cache_file() if cache is None else cache
    known = _read(path)
    found = {each: known[key] for each in convolutions if (key := _key(each)) in known}
    todo = _batches(sorted(set(convolutions) - found.keys(), key=lambda each: each.weights))
    if not todo:
        return found
    compilers = [Compiler() for _ in range(min(_COMPILERS, len(todo)))]
    free = list(compilers)

    def probe(batch: list[Convolution]) -> dict[Convolution, float]:
        compiler = free.pop()
        try:
            return _compile(compiler, batch)
        finally:
            free.append(compiler)

    total = len(found) + sum(map(len, todo))
    try:
        with ThreadPoolExecutor(len(compilers)) as threads:
            for costs in threads.map(probe, todo):
                found |= costs
                # After each batch: whoever interrupts this goes on from here.
                _keep(path, {_key(each): cost for each, cost in costs.items()})
                tell(f"the stick's compiler has told the cost of {len(found)} of {total} layers")
    finally:
        for compiler in compilers:
            compiler.close()
    return found


def _batches(convolutions: list[Convolution]) -> list[list[Convolution]]:
    batches: list[list[Convolution]] = [[]]
    weights = 0
    for each in convolutions:
        full = weights + each.weights > _MOST_WEIGHTS or len(batches[-1]) == _MOST_CONVOLUTIONS
        if full and batches[-1]:
            batches.append([])
            weights = 0
        batches[-1].append(each)
        weights += each.weights
    return [batch for batch in batches if batch]


def _compile(compiler: Compiler, batch: list[Convolution]) -> dict[Convolution, float]:
    report = compiler.compile(_network(batch))
    if not report.ok:
        refused = [each for number, each in enumerate(batch) if report.layer == f"y{number}"]
        told = refused[0] if refused else f"one of {len(batch)} convolutions, such as {batch[0]}"
        raise UnsupportedModelError(f"the stick refuses {told}: {report.reason}")
    costs: Counter[str] = Counter()
    for stage in report.stages:
        costs[stage.layer] += stage.predicted_ms or 0.0  # type: ignore[assignment]
    return {each: float(costs[f"y{number}"]) for number, each in enumerate(batch)}


def _network(batch: list[Convolution]) -> bytes:
    """The convolutions side by side, each with an output of its own."""
    inputs, outputs, nodes, weights = {}, [], [], []
    for number, each in enumerate(batch):
        name = f"x{each.inputs}_{each.size[0]}_{each.size[1]}"
        inputs[name] = _value(name, each.inputs, *each.size)
        kernel = np.full((each.outputs, each.inputs // each.groups, *each.kernel), 0.01, np.float32)
        weights.append(numpy_helper.from_array(kernel, f"w{number}"))
        node = helper.make_node(
            "Conv",
            [name, f"w{number}"],
            [f"y{number}"],
            kernel_shape=each.kernel,
            strides=each.stride,
            pads=each.padding * 2,
            dilations=each.dilation,
            group=each.groups,
        )
        nodes.append(node)
        size = [
            (side + 2 * padding - dilation * (kernel_side - 1) - 1) // stride + 1
            for side, padding, dilation, kernel_side, stride in zip(
                each.size, each.padding, each.dilation, each.kernel, each.stride, strict=True
            )
        ]
        outputs.append(_value(f"y{number}", each.outputs, *size))
    graph = helper.make_graph(nodes, "convolutions", list(inputs.values()), outputs, weights)
    opset = [helper.make_opsetid("", OPSET)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=IR_VERSION)
    return bytes(model.SerializeToString())


def _value(name: str, *shape: int) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, (1, *shape))


def _cache_file() -> Path:
    folder = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(folder).expanduser() / "raytune-edge" / f"ncs2-layers-{OPENVINO}.json"


def _key(convolution: Convolution) -> str:
    return json.dumps(convolution)


def _read(path: Path) -> dict[str, float]:
    """What is kept; a file that is missing or damaged holds nothing."""
    try:
        kept = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return kept if isinstance(kept, dict) else {}


def _keep(path: Path, costs: Mapping[str, float]) -> None:
    """Add ``costs``, so that a reader sees the file before or after and never between."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as file:
        json.dump(_read(path) | dict(costs), file)
    os.replace(file.name, path)
