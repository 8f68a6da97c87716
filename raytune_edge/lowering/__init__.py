"""ONNX of any opset → the same network in what OpenVINO 2021.4, the stick's last runtime, reads.

That runtime reads opset 13 at most; what is newer it takes for 13 with no more than a warning, and
a ``ReduceMean`` then averages over everything. So an operator that is newer, or has changed since,
is put in older words here or refused by name: none is passed on in the hope that it works.
"""

from __future__ import annotations

from raytune_edge.errors import LoweringError
from raytune_edge.lowering.parity import check_equal
from raytune_edge.lowering.reading import IR_VERSION, OPSET, opset_of, read_onnx
from raytune_edge.lowering.rewriter import Rewriter
from raytune_edge.lowering.rules import ALWAYS, RULES

__all__ = ["IR_VERSION", "OPSET", "lower", "opset_of", "read_onnx"]


def lower(onnx_bytes: bytes, *, tolerance: float | None = 1e-5) -> bytes:
    """The same network in opset 13 or older, without what the stick's compiler lacks.

    Weights stay as they are. A network that needs no change comes back as the same bytes.

    Args:
        tolerance: Largest difference between the outputs before and after in ONNX Runtime, relative
            to the largest output, and no smaller than the rounding of FP16 where there is any.
            None doesn't compare. An input of any batch is compared at batch 1; a network whose
            inputs have other sizes that are open is not compared.

    Raises:
        LoweringError: If an operator cannot be put in older words; it names the operator.
        ParityError: If the outputs differ, or ONNX Runtime cannot run the network.
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
    model.ir_version = min(model.ir_version, IR_VERSION)
    lowered = bytes(model.SerializeToString())
    read_onnx(lowered)
    if tolerance is not None:
        check_equal(onnx_bytes, lowered, tolerance)
    return lowered
