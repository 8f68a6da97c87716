"""ONNX → OpenVINO's own format (IR), in a child process as all of OpenVINO's work."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from raytune_edge.runtimes.client import Child
from raytune_edge.runtimes.spec import DeviceSpec

__all__ = ["Agreement", "compare", "convert"]

_TIMEOUT_S = 300.0


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """How far the outputs of two networks are apart on random images in [0, 1).

    Attributes:
        difference: Largest absolute difference of any output.
        largest: Largest absolute value of any output of the first network.
    """

    difference: float
    largest: float


def convert(onnx: Path, xml: Path, *, fp16: bool = True) -> None:
    """Write the IR of ``onnx``: ``xml`` and, beside it, its weights as ``.bin``.

    Raises:
        UnsupportedModelError: If OpenVINO cannot convert it, with what it says.
        NoRuntimeError: If OpenVINO is not installed; the message has the command that does it.
        DeviceError: If the child crashed or took too long.
    """
    _ask("convert", onnx, xml, fp16=fp16)


def compare(onnx: Path, xml: Path) -> Agreement:
    """Run ``onnx`` in ONNX Runtime and ``xml`` in OpenVINO on the CPU, on the same images.

    Raises:
        UnsupportedModelError: If OpenVINO cannot read or compile ``xml``, with what it says.
        NoRuntimeError: If either runtime is not installed.
        DeviceError: If ONNX Runtime cannot run ``onnx``, or the child crashed or took too long.
    """
    return Agreement(**_ask("compare", onnx, xml))


def _ask(operation: str, onnx: Path, xml: Path, **more: Any) -> dict[str, Any]:
    child = Child(DeviceSpec(device="CPU", runtime="ir").command())
    try:
        return child.request(
            operation,
            timeout_s=_TIMEOUT_S,
            onnx=str(onnx.absolute()),
            xml=str(xml.absolute()),
            **more,
        )
    finally:
        child.close()
