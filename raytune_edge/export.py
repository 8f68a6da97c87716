"""Model → checked ONNX bytes and its weight-free signature."""

from __future__ import annotations

import hashlib
import io
import logging
import warnings
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import numpy_helper
from torch import nn

from raytune_edge.errors import ExportError, LoweringError, ParityError
from raytune_edge.lowering import OPSET, lower, opset_of, read_onnx

__all__ = ["OPSET", "ExportedModel", "check_parity", "export_onnx", "read_onnx", "signature"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class ExportedModel:
    """A model as ONNX, checked.

    Attributes:
        onnx: The file's bytes, weights included.
        signature: What its latency depends on: see `signature`.
        parity: Largest output difference to PyTorch, relative to the largest output.
    """

    onnx: bytes
    signature: str
    parity: float

    @property
    def sha256(self) -> str:
        """Of the ONNX bytes, in hexadecimal."""
        return hashlib.sha256(self.onnx).hexdigest()


def export_onnx(
    model: nn.Module, example: torch.Tensor, *, opset: int = OPSET, tolerance: float = 1e-3
) -> ExportedModel:
    """Write ``model`` as ONNX for inputs of ``example``'s shape (N, C, H, W) and check the result.

    The model is exported on the CPU in eval mode and left as it was. What it says with operators
    that the Neural Compute Stick 2 lacks is put in others, see `lowering.lower`: that costs other
    devices nothing.

    Args:
        opset: A newer one than the stick reads is left as the exporter wrote it.
        tolerance: Largest output difference to PyTorch, relative to the largest output.

    Raises:
        ExportError: If PyTorch cannot export it, or another opset was written than asked for.
        ParityError: If ONNX Runtime's output differs from PyTorch's by more than ``tolerance``.
    """
    was_training, device = model.training, _device_of(model)
    model.cpu().eval()
    try:
        onnx_bytes = _write(model, example.cpu(), opset)
        parity = check_parity(onnx_bytes, model, example.cpu(), tolerance=tolerance)
    finally:
        model.to(device).train(was_training)
    return ExportedModel(onnx=onnx_bytes, signature=signature(onnx_bytes), parity=parity)


def _device_of(model: nn.Module) -> torch.device:
    return next((parameter.device for parameter in model.parameters()), torch.device("cpu"))


def _write(model: nn.Module, example: torch.Tensor, opset: int) -> bytes:
    file = io.BytesIO()
    try:
        with warnings.catch_warnings():
            # The exporter that can still write opset 13 announces its retirement each time.
            warnings.simplefilter("ignore")
            torch.onnx.export(
                model,
                (example,),
                file,  # type: ignore[arg-type]  # the stub omits file objects
                dynamo=False,
                opset_version=opset,
                input_names=["input"],
                output_names=["logits"],
            )
    except Exception as error:
        raise ExportError(f"PyTorch cannot export this model to ONNX: {error}") from error
    onnx_bytes = file.getvalue()
    written = opset_of(read_onnx(onnx_bytes))
    if written != opset:
        raise ExportError(f"expected ONNX opset {opset}, the exporter wrote {written}")
    if opset > OPSET:
        return onnx_bytes
    try:
        return lower(onnx_bytes, tolerance=None)
    except LoweringError as error:
        # Other devices may run it; `ncs2.check` refuses it for the stick.
        logger.info("not for the Neural Compute Stick 2: %s", error)
        return onnx_bytes


def check_parity(
    onnx_bytes: bytes, model: nn.Module, example: torch.Tensor, *, tolerance: float = 1e-3
) -> float:
    """Compare ONNX Runtime's output on ``example`` with that of ``model`` in its present mode.

    Returns:
        The largest absolute difference over the largest absolute output of PyTorch.

    Raises:
        ParityError: If that exceeds ``tolerance`` or is no number.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(onnx_bytes, options, providers=["CPUExecutionProvider"])
    (ours,) = session.run(None, {session.get_inputs()[0].name: example.numpy()})
    with torch.inference_mode():
        theirs = model(example).numpy()
    if ours.shape != theirs.shape:
        raise ParityError(f"ONNX output has shape {ours.shape}, PyTorch's has {theirs.shape}")
    difference = float(np.abs(ours - theirs).max() / max(float(np.abs(theirs).max()), 1e-12))
    if not difference <= tolerance:
        raise ParityError(
            f"ONNX Runtime and PyTorch differ by {difference:.3g} of the largest output, "
            f"allowed is {tolerance:.3g}"
        )
    return difference


def signature(onnx_bytes: bytes) -> str:
    """A hash of what a dense network's latency depends on: its graph and shapes, not its weights.

    Two models have the same signature if their graphs have the same operators in the same order
    with the same attributes and wiring, and their tensors the same shapes and types. Values count
    only for 64-bit integers, which in ONNX are shapes, axes and indices. Names don't count.

    Raises:
        ExportError: If the bytes are no ONNX model.
    """
    model = read_onnx(onnx_bytes)
    graph = model.graph
    digest = hashlib.sha256()
    numbers: dict[str, int] = {"": -1}

    def number(names: Iterable[str]) -> list[int]:
        return [numbers.setdefault(name, len(numbers)) for name in names]

    def add(*parts: object) -> None:
        digest.update(repr(parts).encode() + b"\n")

    for opset in model.opset_import:
        add("opset", opset.domain, opset.version)
    weights = {tensor.name for tensor in graph.initializer}
    for value in (*(each for each in graph.input if each.name not in weights), *graph.output):
        add("value", number([value.name]), value.type.SerializeToString(deterministic=True))
    for tensor in graph.initializer:
        add("tensor", number([tensor.name]), *_tensor_facts(tensor))
    for node in graph.node:
        add("node", node.domain, node.op_type, number(node.input), number(node.output))
        for attribute in sorted(node.attribute, key=lambda each: each.name):
            facts = (
                _tensor_facts(attribute.t)
                if attribute.type == onnx.AttributeProto.TENSOR
                else attribute.SerializeToString(deterministic=True)
            )
            add("attribute", attribute.name, facts)
    return digest.hexdigest()


def _tensor_facts(tensor: onnx.TensorProto) -> tuple[object, ...]:
    shape = tuple(tensor.dims)
    if tensor.data_type == onnx.TensorProto.INT64:
        return shape, tensor.data_type, numpy_helper.to_array(tensor).tobytes()
    return shape, tensor.data_type
