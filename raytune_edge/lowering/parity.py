"""Whether two networks give the same outputs, asked of ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx

from raytune_edge.errors import ParityError
from raytune_edge.lowering.reading import OPSET

__all__ = ["check_equal"]

_ROUNDINGS = 10
"""So many steps of the coarsest float may lie between two ways to compute the same."""

Arrays = dict[str, np.ndarray[Any, Any]]


def check_equal(first: bytes, second: bytes, tolerance: float) -> None:
    """Compare two networks' outputs on random input; not where the inputs' shape is open.

    Raises:
        ParityError: If they differ by more than ``tolerance`` of the largest output, or cannot be
            run.
    """
    model = onnx.load_from_string(first)
    inputs = _inputs(model.graph)
    if inputs is None:
        return
    allowed = max(tolerance, _ROUNDINGS * _rounding(model.graph))
    before, after = _outputs(first, inputs), _outputs(second, inputs)
    for name, wanted in before.items():
        largest = np.abs(wanted).max(initial=1e-12)
        difference = np.abs(after[name] - wanted).max(initial=0.0) / largest
        if not difference <= allowed:
            raise ParityError(
                f"the network put in opset {OPSET} gives another output {name}: it differs by "
                f"{difference:.3g} of the largest value, allowed is {allowed:.3g}"
            )


def _inputs(graph: onnx.GraphProto) -> Arrays | None:
    """Random values for each input, an open batch being 1; None where another size is open."""
    random = np.random.default_rng(0)
    constants = {each.name for each in graph.initializer}
    made = {}
    for each in graph.input:
        if each.name in constants:
            continue
        tensor = each.type.tensor_type
        shape = [dimension.dim_value for dimension in tensor.shape.dim]
        shape[:1] = [size or 1 for size in shape[:1]]
        if not tensor.HasField("shape") or 0 in shape:
            return None
        kind = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)
        values = random.random(shape, np.float32)
        # Whole numbers are 0 or 1: they may be indices.
        made[each.name] = (values if kind.kind == "f" else values * 2).astype(kind)
    return made


def _rounding(graph: onnx.GraphProto) -> float:
    """Of the coarsest float that the network computes in."""
    kinds = {each.data_type for each in graph.initializer}
    kinds |= {each.type.tensor_type.elem_type for each in (*graph.input, *graph.output)}
    half = onnx.TensorProto.FLOAT16 in kinds
    return float(np.finfo(np.float16 if half else np.float32).eps)


def _outputs(onnx_bytes: bytes, inputs: Arrays) -> Arrays:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    providers = ["CPUExecutionProvider"]
    try:
        session = onnxruntime.InferenceSession(onnx_bytes, options, providers=providers)
        names = [each.name for each in session.get_outputs()]
        outputs = session.run(names, inputs)
        return {name: np.asarray(each, float) for name, each in zip(names, outputs, strict=True)}
    except Exception as error:  # its own have no common root
        raise ParityError(
            f"ONNX Runtime cannot run the network, so that nobody knows whether opset {OPSET} "
            f"says the same: {error}"
        ) from error
