"""ONNX bytes → a checked model, and what it says of itself."""

from __future__ import annotations

import onnx
from google.protobuf.message import DecodeError

from raytune_edge.errors import ExportError

__all__ = ["IR_VERSION", "OPSET", "opset_of", "read_onnx", "weights_apart"]

OPSET = 13
"""The newest opset that OpenVINO 2021.4 reads rightly."""

IR_VERSION = 7
"""The file format that came with opset 13."""

_OWN = ("", "ai.onnx")
"""Two names of one domain: ONNX's own."""


def opset_of(model: onnx.ModelProto) -> int:
    """The version of ONNX's own operators that ``model`` is written in."""
    # The standard's first version, which old files leave unsaid, where none is told.
    return max((each.version for each in model.opset_import if each.domain in _OWN), default=1)


def _with_one_domain(model: onnx.ModelProto) -> onnx.ModelProto:
    """``model``, in place, with ONNX's own domain called ``""``: ONNX's checker wants it so."""
    others = [each for each in model.opset_import if each.domain not in _OWN]
    if len(others) < len(model.opset_import):
        own = onnx.helper.make_opsetid("", opset_of(model))
        del model.opset_import[:]
        model.opset_import.extend([own, *others])
    for node in model.graph.node:
        node.domain = "" if node.domain in _OWN else node.domain
    return model


def read_onnx(onnx_bytes: bytes) -> onnx.ModelProto:
    """Parse and check ``onnx_bytes``; ONNX's own domain is called ``""`` in what comes back.

    Raises:
        ExportError: If the bytes are empty, cut short, no valid ONNX model, or but a part of one:
            its weights lie in another file.
    """
    try:
        model = _with_one_domain(onnx.load_from_string(onnx_bytes))
        if told := _apart(model):
            raise ExportError(told)
        onnx.checker.check_model(model)
    except (DecodeError, onnx.checker.ValidationError) as error:
        raise ExportError(
            f"expected a whole ONNX model, got {len(onnx_bytes)} bytes that are none "
            f"(cut short, or another kind of file?): {str(error).strip() or type(error).__name__}"
        ) from error
    return model


def weights_apart(onnx_bytes: bytes) -> str:
    """What is wrong with a model whose weights lie in another file; "" with any other bytes."""
    try:
        return _apart(onnx.load_from_string(onnx_bytes))
    except DecodeError:
        return ""


def _apart(model: onnx.ModelProto) -> str:
    elsewhere = onnx.TensorProto.EXTERNAL
    names = [each.name for each in model.graph.initializer if each.data_location == elsewhere]
    if not names:
        return ""
    return (
        f"expected one ONNX file with its weights, got one that keeps {len(names)} of them "
        f"in another file, such as {names[0]}; write it whole: "
        "onnx.save(onnx.load(PATH), WHOLE), or export it with external_data=False"
    )
