"""ONNX bytes → a checked model, and what it says of itself."""

from __future__ import annotations

import onnx
from google.protobuf.message import DecodeError

from raytune_edge.errors import ExportError

__all__ = ["OPSET", "opset_of", "read_onnx"]

OPSET = 13
"""The newest opset that OpenVINO 2021.4 reads rightly."""


def opset_of(model: onnx.ModelProto) -> int:
    """The version of ONNX's own operators that ``model`` is written in."""
    return next((each.version for each in model.opset_import if not each.domain), 1)


def read_onnx(onnx_bytes: bytes) -> onnx.ModelProto:
    """Parse and check ``onnx_bytes``.

    Raises:
        ExportError: If the bytes are empty, cut short, no valid ONNX model, or but a part of one:
            its weights lie in another file.
    """
    try:
        model = onnx.load_from_string(onnx_bytes)
        elsewhere = onnx.TensorProto.EXTERNAL
        apart = [each.name for each in model.graph.initializer if each.data_location == elsewhere]
        if apart:
            raise ExportError(
                f"expected one ONNX file with its weights, got one that keeps {len(apart)} of them "
                f"in another file, such as {apart[0]}; write it whole: "
                "onnx.save(onnx.load(PATH), WHOLE), or export it with external_data=False"
            )
        onnx.checker.check_model(model)
    except (DecodeError, onnx.checker.ValidationError) as error:
        raise ExportError(
            f"expected a whole ONNX model, got {len(onnx_bytes)} bytes that are none "
            f"(cut short, or another kind of file?): {str(error).strip() or type(error).__name__}"
        ) from error
    return model
