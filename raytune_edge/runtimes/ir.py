"""ONNX → OpenVINO's own format (IR), in a child process as all of OpenVINO's work.

Run as a script it is that child: ``convert ONNX XML [--fp16]`` or ``compare ONNX XML``.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Agreement", "compare", "convert"]

_TIMEOUT_S = 300
_IMAGES = 8


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
        RuntimeError: If OpenVINO cannot convert it, with what it says.
    """
    _child("convert", str(onnx), str(xml), *(["--fp16"] if fp16 else []))


def compare(onnx: Path, xml: Path) -> Agreement:
    """Run ``onnx`` in ONNX Runtime and ``xml`` in OpenVINO on the CPU, on the same images.

    Raises:
        RuntimeError: If either cannot be read or run, with what the runtime says.
    """
    return Agreement(**json.loads(_child("compare", str(onnx), str(xml)).splitlines()[-1]))


def _child(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, str(Path(__file__)), *arguments],
        capture_output=True, text=True, timeout=_TIMEOUT_S, check=False,
    )  # fmt: skip
    if done.returncode:
        told = done.stderr.strip().splitlines()
        raise RuntimeError(told[-1] if told else f"the child ended with status {done.returncode}")
    return done.stdout


def _convert_here(onnx: str, xml: str, fp16: bool) -> None:
    import openvino

    openvino.save_model(openvino.convert_model(onnx), xml, compress_to_fp16=fp16)


def _compare_here(onnx: str, xml: str) -> dict[str, float]:
    import numpy
    import onnxruntime
    import openvino

    session = onnxruntime.InferenceSession(onnx, providers=["CPUExecutionProvider"])
    precise = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino.Core().compile_model(xml, "CPU", precise)
    (wanted,) = session.get_inputs()
    random = numpy.random.default_rng(0)
    difference = largest = 0.0
    for _ in range(_IMAGES):
        image = random.random(wanted.shape, dtype=numpy.float32)
        (reference, *_) = session.run(None, {wanted.name: image})
        output = compiled([image])[0]
        difference = max(difference, float(numpy.abs(output - reference).max()))
        largest = max(largest, float(numpy.abs(reference).max()))
    return {"difference": difference, "largest": largest}


def _main(arguments: list[str]) -> None:
    operation, onnx, xml, *rest = arguments
    if operation == "convert":
        _convert_here(onnx, xml, "--fp16" in rest)
    else:
        sys.stdout.write(json.dumps(_compare_here(onnx, xml)) + "\n")


if __name__ == "__main__":
    _main(sys.argv[1:])
