"""Compiling for the stick without a stick: would it run, and what would it cost?"""

from __future__ import annotations

import dataclasses
import os
import re
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx

from raytune_edge.errors import DeviceError, UnsupportedModelError
from raytune_edge.runtimes.client import Child
from raytune_edge.runtimes.models import check_model_bytes
from raytune_edge.runtimes.ncs2.environment import legacy_python
from raytune_edge.runtimes.ncs2.stages import Stage, read_stages
from raytune_edge.runtimes.spec import DeviceSpec

__all__ = ["CompileReport", "Compiler"]

_UNSUPPORTED = (
    re.compile(r'Failed to compile layer "(?P<layer>.*?)": unsupported layer type "(?P<type>.*?)"'),
    re.compile(r'Failed to compile layer "(?P<layer>.*?)"'),
    re.compile(r"does not support the following ONNX operations: (?P<type>[\w.]*\w)"),
)
_SOURCE = re.compile(r"/\S+\.[ch]pp:\d+ ")
_MARGIN_S = 10.0


@dataclass(frozen=True, kw_only=True)
class CompileReport:
    """What the stick's compiler says about a network. Nothing in it was measured.

    Attributes:
        ok: Whether the stick can run the network.
        reason: Why it can't; "" if it can.
        layer: The layer that it refuses, where it names one; ``layer_type`` is that layer's type.
        hardware_stages: Steps on the neural engine, where convolutions belong.
        software_stages: Steps on the vector processors.
        copy_stages: Steps that move data between memories or change its order.
        cmx_bytes: Memory taken on the chip.
        ddr_bytes: Memory taken beside it, weights excluded.
        blob_bytes: Size of the compiled network, weights included.
        predicted_hw_ms: The neural engine's time by the compiler's own cost of each convolution:
            without software and copy stages, and not calibrated. It ranks networks.
        streams: Networks that the stick would run at once; 0 is the plugin's default of two.
        compile_s: Time to read and compile.
        runtime: What compiled, such as ``"openvino 2021.4.2"``.
        stages: The steps in their order.
        blob: The compiled network, for OpenVINO 2021.4's ``import_network``; b"" if not asked for.

    Figures are None for a network that is refused.
    """

    ok: bool
    reason: str = ""
    layer: str = ""
    layer_type: str = ""
    hardware_stages: int | None = None
    software_stages: int | None = None
    copy_stages: int | None = None
    cmx_bytes: int | None = None
    ddr_bytes: int | None = None
    blob_bytes: int | None = None
    predicted_hw_ms: float | None = None
    streams: int = 1
    compile_s: float | None = None
    runtime: str = ""
    stages: tuple[Stage, ...] = dataclasses.field(default=(), repr=False)
    blob: bytes = dataclasses.field(default=b"", repr=False)

    def to_dict(self) -> dict[str, Any]:
        """As plain values that JSON can carry, without the blob."""
        values = dataclasses.asdict(dataclasses.replace(self, blob=b""))
        del values["blob"]
        return values


class Compiler:
    """The stick's compiler, in a child process that can touch no USB device.

    The first network starts the child, `close` or the end of a ``with`` block ends it. What hangs
    or crashes it costs that call alone: the next one starts a fresh child.

    Args:
        path: Folder of the stick's runtime; by default `environment.environment_folder`.
        timeout_s: Deadline of each network.

    Raises:
        NoRuntimeError: If the stick's runtime is missing; the message says what makes it.

    Example:
        with Compiler() as compiler:
            reports = [compiler.compile(onnx_bytes) for onnx_bytes in candidates]
    """

    def __init__(
        self, path: str | os.PathLike[str] | None = None, *, timeout_s: float = 120.0
    ) -> None:
        spec = DeviceSpec(device="MYRIAD", runtime="stickless", python=legacy_python(path))
        self._child = Child(spec.command())
        self._timeout_s = timeout_s

    def compile(
        self, onnx_bytes: bytes | memoryview, *, streams: int = 1, blob: bool = False
    ) -> CompileReport:
        """Compile a network of opset 13 or older, its input and output in FP16.

        Args:
            streams: 1 as when latency is measured, 0 for the plugin's default as for throughput.
            blob: Whether to keep the compiled network in the report.

        Raises:
            UnsupportedModelError: If the bytes are none, or too many.
            DeviceTimeoutError: If it takes longer than the deadline.
            DeviceError: If the compiler crashed or could not work.
        """
        check_model_bytes(onnx_bytes)
        with tempfile.TemporaryDirectory(prefix="raytune_edge-") as name:
            folder = Path(name)
            model = folder / "model.onnx"
            model.write_bytes(onnx_bytes)
            try:
                told = self._child.request(
                    "compile",
                    timeout_s=self._timeout_s,
                    limit_s=self._timeout_s + _MARGIN_S,
                    model=str(model),
                    folder=name,
                    streams=streams,
                )
            except UnsupportedModelError as error:
                return _refused(str(error), onnx_bytes, streams)
            except DeviceError as error:
                raise type(error)(f"the stick's compiler gave no verdict: {error}") from error
            compiled = folder / "compiled.blob"
            stages, memory = read_stages((folder / "stages.dot").read_text())
            count = Counter(stage.kind for stage in stages)
            return CompileReport(
                ok=True,
                hardware_stages=count["hardware"],
                software_stages=count["software"],
                copy_stages=count["copy"],
                **dataclasses.asdict(memory),
                blob_bytes=compiled.stat().st_size,
                predicted_hw_ms=sum(stage.predicted_ms or 0.0 for stage in stages),
                streams=streams,
                compile_s=told["compile_s"],
                runtime=told["runtime"],
                stages=stages,
                blob=compiled.read_bytes() if blob else b"",
            )

    def write_ir(self, onnx_bytes: bytes, xml: Path) -> None:
        """Write a network in OpenVINO 2021.4's own format: ``xml``, its weights beside it.

        Weights are kept in the precision that the network has.

        Raises:
            UnsupportedModelError: If it cannot be read.
            DeviceError: If the child crashed or took longer than the deadline.
        """
        check_model_bytes(onnx_bytes)
        with tempfile.TemporaryDirectory(prefix="raytune_edge-") as folder:
            model = Path(folder, "model.onnx")
            model.write_bytes(onnx_bytes)
            self._child.request(
                "write_ir", timeout_s=self._timeout_s, model=str(model), xml=str(xml.absolute())
            )

    @property
    def pid(self) -> int | None:
        """Of the child; None if none runs."""
        return self._child.pid

    def close(self) -> None:
        """End the child. May be called again."""
        self._child.close(grace_s=2.0)

    def __enter__(self) -> Compiler:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _refused(said: str, onnx_bytes: bytes | memoryview, streams: int) -> CompileReport:
    """The verdict on a network, from the compiler's words."""
    found = next(filter(None, (pattern.search(said) for pattern in _UNSUPPORTED)), None)
    named = found.groupdict() if found else {}
    layer, layer_type = named.get("layer", ""), named.get("type", "")
    if layer_type and not layer:
        nodes = onnx.load_from_string(bytes(onnx_bytes)).graph.node
        operator = layer_type.rpartition(".")[2]  # the compiler puts a foreign domain in front
        layer = next((node.name for node in nodes if node.op_type == operator), "")
    unsupported = f"unsupported layer type {layer_type!r} (layer {layer!r})"
    return CompileReport(
        ok=False,
        reason=unsupported if layer_type else _SOURCE.sub("", said),
        layer=layer,
        layer_type=layer_type,
        streams=streams,
    )
