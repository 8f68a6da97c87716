"""A network as files for the stick: OpenVINO 2021.4's format in FP16, and the compiled blob."""

from __future__ import annotations

from pathlib import Path

import onnx

from raytune_edge.errors import UnsupportedModelError
from raytune_edge.lowering import lower
from raytune_edge.runtimes.ncs2.compiler import Compiler

__all__ = ["write_for_stick"]


def write_for_stick(onnx_bytes: bytes, xml: Path) -> None:
    """Write ``xml`` and, beside it, its FP16 weights (``.bin``) and the compiled ``.blob``.

    The blob is for one stream, as latency is measured, with FP16 in and out; it is what
    ``IECore.import_network(path, "MYRIAD")`` of OpenVINO 2021.4 takes. No stick is needed.

    Raises:
        LoweringError: If the network cannot be said in the words of opset 13.
        UnsupportedModelError: If the stick cannot run the network.
        NoRuntimeError: If the stick's runtime is missing; the message says what makes it.
        DeviceError: If the compiler hung or crashed.
    """
    from onnxruntime.transformers.float16 import convert_float_to_float16

    lowered = onnx.load_from_string(lower(onnx_bytes, tolerance=None))
    halved = convert_float_to_float16(lowered).SerializeToString()
    with Compiler() as compiler:
        report = compiler.compile(halved, blob=True)
        if not report.ok:
            raise UnsupportedModelError(
                f"the Neural Compute Stick 2 cannot run it: {report.reason}"
            )
        compiler.write_ir(halved, xml)
    xml.with_suffix(".blob").write_bytes(report.blob)
