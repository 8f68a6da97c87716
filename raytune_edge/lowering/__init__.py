"""ONNX of any opset → the same network in what OpenVINO 2021.4, the stick's last runtime, reads.

That runtime reads opset 13 at most; what is newer it takes for 13 with no more than a warning, and
a ``ReduceMean`` then averages over everything. So an operator that is newer, or has changed since,
is put in older words here or refused by name: none is passed on in the hope that it works.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from raytune_edge.errors import LoweringError, ParityError
from raytune_edge.lowering.reading import OPSET, opset_of, read_onnx
from raytune_edge.lowering.rewriter import Rewriter
from raytune_edge.lowering.rules import ALWAYS, RULES

__all__ = ["OPSET", "lower", "opset_of", "read_onnx"]

_IR_VERSION = 7
"""The file format that came with opset 13."""


def lower(onnx_bytes: bytes, *, tolerance: float | None = 1e-5) -> bytes:
    """The same network in opset 13 or older, without what the stick's compiler lacks.

    Weights stay as they are. A network that needs no change comes back as the same bytes.

    Args:
        tolerance: Largest difference between the outputs before and after in ONNX Runtime, relative
            to the largest output. None doesn't compare, and so takes inputs of dynamic shape.

    Raises:
        LoweringError: If an operator cannot be put in older words; it names the operator.
        ParityError: If the outputs differ.
        ExportError: If the bytes are no whole ONNX model, or keep weights in another file.

    >>> from onnx import helper
    >>> x, y = (helper.make_tensor_value_info(name, 1, [1, 8]) for name in "xy")
    >>> graph = helper.make_graph([helper.make_node("HardSwish", ["x"], ["y"])], "g", [x], [y])
    >>> newer = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])
    >>> lowered = read_onnx(lower(newer.SerializeToString()))
    >>> opset_of(lowered), [node.op_type for node in lowered.graph.node]
    (13, ['Add', 'Clip', 'Mul', 'Mul'])
    """
    model = read_onnx(onnx_bytes)
    opset = opset_of(model)
    if opset > OPSET and model.functions:
        raise LoweringError(
            f"the model has functions of its own, such as {model.functions[0].name}; write it "
            "without: onnx.inliner.inline_local_functions(model)"
        )
    changed = Rewriter(model, opset).run(RULES, ALWAYS)
    if opset <= OPSET and not changed:
        return onnx_bytes
    for each in model.opset_import:
        each.version = min(each.version, OPSET) if not each.domain else each.version
    model.ir_version = min(model.ir_version, _IR_VERSION)
    lowered = bytes(model.SerializeToString())
    read_onnx(lowered)
    if tolerance is not None:
        _check_equal(onnx_bytes, lowered, tolerance)
    return lowered


def _check_equal(first: bytes, second: bytes, tolerance: float) -> None:
    """Compare two networks' outputs on random input.

    Raises:
        ParityError: If they differ by more than ``tolerance`` of the largest output.
    """
    before, after = _outputs(first), _outputs(second)
    for name, wanted in before.items():
        difference = np.abs(after[name] - wanted).max() / max(np.abs(wanted).max(), 1e-12)
        if not difference <= tolerance:
            raise ParityError(
                f"the network put in opset {OPSET} gives another output {name}: it differs by "
                f"{difference:.3g} of the largest value, allowed is {tolerance:.3g}"
            )


def _outputs(onnx_bytes: bytes) -> dict[str, np.ndarray[Any, Any]]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(onnx_bytes, options, providers=["CPUExecutionProvider"])
    random = np.random.default_rng(0)
    image = {each.name: random.random(each.shape, np.float32) for each in session.get_inputs()}
    names = [each.name for each in session.get_outputs()]
    return dict(zip(names, session.run(names, image), strict=True))
