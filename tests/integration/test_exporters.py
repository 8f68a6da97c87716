"""ONNX from PyTorch's two exporters, put in the words that the stick's runtime reads."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from raytune_edge.export import export_onnx
from raytune_edge.lowering import lower, opset_of, read_onnx
from raytune_edge.runtimes.ncs2.compiler import Compiler
from tests.integration.test_stickless import on_2021


class Words(nn.Module):
    """A little of what torchvision's networks say, in the way they say it."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.Hardswish())
        self.gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(16, 16, 1), nn.Hardsigmoid())
        self.norm = nn.LayerNorm(16)
        self.down = nn.Sequential(nn.GELU(), nn.MaxPool2d(3, 2, 1, ceil_mode=True), nn.SiLU())
        self.head = nn.Linear(16, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        x = x * self.gate(x)
        left, right = x.chunk(2, dim=1)
        x = torch.cat([nn.functional.relu6(left), nn.functional.mish(right)], dim=1)
        x = self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        x = nn.functional.interpolate(self.down(x), scale_factor=2.0)
        batch, channels, height, width = x.shape
        x = x.view(batch, 4, channels // 4, height, width).transpose(1, 2).flatten(1, 2)
        return self.head(x.mean((2, 3)))


def by_tracing(model: nn.Module, image: torch.Tensor) -> bytes:
    return export_onnx(model, image).onnx


def by_dynamo(model: nn.Module, image: torch.Tensor) -> bytes:
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter's own parts
        program = torch.onnx.export(
            model, (image,), dynamo=True, external_data=False, verbose=False, opset_version=13
        )
    assert program is not None
    program.save(file)
    return file.getvalue()


@pytest.mark.parametrize("export", [by_tracing, by_dynamo])
def test_either_exporter_serves_the_stick(export: Callable[..., bytes]) -> None:
    torch.manual_seed(0)
    model, image = Words().eval(), torch.rand(1, 3, 24, 24)
    lowered = lower(export(model, image))
    read = read_onnx(lowered)
    assert opset_of(read) <= 13
    onnx.checker.check_model(read, full_check=True)
    newer = {"HardSwish", "HardSigmoid", "Gelu", "LayerNormalization", "Mish"}
    assert not newer & {node.op_type for node in read.graph.node}
    session = onnxruntime.InferenceSession(lowered)
    (output,) = session.run(None, {session.get_inputs()[0].name: image.numpy()})
    with torch.inference_mode():
        wanted: np.ndarray[Any, Any] = model(image).numpy()
    np.testing.assert_allclose(output, wanted, rtol=1e-4, atol=1e-5)


class Pooled(nn.Module):
    """A newer opset's axes are an input, which OpenVINO 2021.4 would not see: a mean of all."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.Hardswish())
        self.head = nn.Linear(8, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.stem(x).mean((2, 3)))


@pytest.mark.legacy
@pytest.mark.parametrize("network", [Words, Pooled])
def test_openvino_2021_computes_what_the_newer_exporter_wrote(
    network: type[nn.Module], tmp_path: Path
) -> None:
    torch.manual_seed(0)
    model, image = network().eval(), torch.rand(1, 3, 24, 24)
    written = by_dynamo(model, image)
    assert opset_of(read_onnx(written)) > 13
    lowered = lower(written)
    with Compiler() as compiler:
        report = compiler.compile(lowered)
    assert report.ok, report.reason
    with torch.inference_mode():
        wanted = model(image).numpy()
    np.testing.assert_allclose(on_2021(lowered, image, tmp_path), wanted, rtol=1e-4, atol=1e-5)


def test_the_newer_exporter_writes_a_newer_opset_than_asked_for() -> None:
    """If it ever obeys, the lowering has less to do, and the documentation is to be changed."""
    written = opset_of(read_onnx(by_dynamo(nn.ReLU(), torch.rand(1, 4))))
    assert written > 13
