"""Would the stick run this network? Asked of its own compiler, without a stick."""

from __future__ import annotations

from raytune_edge.errors import LoweringError, UnsupportedModelError
from raytune_edge.lowering import lower
from raytune_edge.lowering.rewriter import NodeError
from raytune_edge.runtimes.ncs2.compiler import Compiler, CompileReport
from raytune_edge.runtimes.ncs2.stages import Stage

__all__ = ["check", "require", "table"]

_UNCALIBRATED = "by the compiler's own cost, not calibrated: it ranks networks"


def check(onnx_bytes: bytes, *, streams: int = 1, timeout_s: float = 120.0) -> CompileReport:
    """Compile a network for the stick, without one, and say what became of it.

    It is put in the words that the stick's runtime knows first, see `lowering.lower`.

    Args:
        streams: 1 as when latency is measured, 0 for the plugin's default as for throughput.
        timeout_s: A compiler that takes longer is ended.

    Raises:
        ExportError: If the bytes are no ONNX model.
        NoRuntimeError: If the stick's runtime is missing; the message says what makes it.
        DeviceError: If the compiler hung or crashed.
    """
    with Compiler(timeout_s=timeout_s) as compiler:
        try:
            lowered = lower(onnx_bytes, tolerance=None)
        except LoweringError as error:
            named = error if isinstance(error, NodeError) else NodeError()
            return CompileReport(
                ok=False,
                reason=str(error),
                layer=named.layer,
                layer_type=named.layer_type,
                streams=streams,
            )
        return compiler.compile(lowered, streams=streams)


def require(onnx_bytes: bytes) -> CompileReport:
    """`check` a network that the stick must be able to run.

    Raises:
        UnsupportedModelError: If it cannot; the message names the layer.
    """
    report = check(onnx_bytes)
    if not report.ok:
        raise UnsupportedModelError(f"the Neural Compute Stick 2 cannot run it: {report.reason}")
    return report


def table(report: CompileReport, *, stages: bool = False) -> str:
    """The report as a person likes to read it, with a line for each of the ``stages`` if asked."""
    if not report.ok:
        return f"refused   {report.reason}"
    streams = {0: "the default streams", 1: "1 stream"}.get(
        report.streams, f"{report.streams} streams"
    )
    lines = [
        f"ok        {report.runtime} compiled it for {streams} in {report.compile_s:.2f} s",
        f"hardware  {report.hardware_stages:4d} stages  {report.predicted_hw_ms:8.3f} ms "
        f"({_UNCALIBRATED})",
        f"software  {report.software_stages:4d} stages",
        f"copy      {report.copy_stages:4d} stages",
        f"CMX  {_megabytes(report.cmx_bytes)} of memory on the chip",
        f"DDR  {_megabytes(report.ddr_bytes)} beside it, weights excluded",
        f"blob {_megabytes(report.blob_bytes)} compiled, weights included",
    ]
    if stages:
        lines += ["", *map(_line, report.stages)]
    return "\n".join(lines)


def _line(stage: Stage) -> str:
    predicted = "" if stage.predicted_ms is None else f"{stage.predicted_ms:.3f} ms"
    return (
        f"{predicted:>9}  {stage.kind:<9}{stage.operation:<12}{stage.mode:<13}"
        f"{'x'.join(map(str, stage.output)):>16}  {stage.memory:<7}{stage.name}"
    )


def _megabytes(size_bytes: int | None) -> str:
    return f"{(size_bytes or 0) / 1e6:9.2f} MB"
