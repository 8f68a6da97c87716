"""OpenVINO 2021.4.2 itself: what its compiler for the stick says, and whether its CPU agrees."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ncs2_table
import numpy as np
import openvino
import pytest
import torch
from torch import nn

from raytune_edge.cli import main
from raytune_edge.errors import DeviceDiedError, DeviceTimeoutError
from raytune_edge.export import export_onnx
from raytune_edge.lowering import read_onnx
from raytune_edge.ncs2.checking import check
from raytune_edge.runtimes.ncs2 import legacy_python
from raytune_edge.runtimes.ncs2.compiler import Compiler
from raytune_edge.runtimes.spec import DeviceSpec

pytestmark = pytest.mark.legacy

ROOT = Path(__file__).parents[2]
DOCUMENTED = (ROOT / "docs/ncs2.md").read_text()

INFER = """
import sys
import numpy
from openvino.inference_engine import IECore
model, image, output = sys.argv[1:]
core = IECore()
network = core.read_network(model)
compiled = core.load_network(network, "CPU", {"ENFORCE_BF16": "NO"})
(name,) = network.input_info
(logits,) = compiled.infer({name: numpy.load(image)}).values()
numpy.save(output, logits)
"""


class Sine(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.sin(x)


def small(layer: nn.Module) -> bytes:
    network = nn.Sequential(nn.Conv2d(3, 8, 3), layer, nn.Flatten())
    return export_onnx(network, torch.rand(1, 3, 16, 16)).onnx


@pytest.fixture(scope="module")
def compiler() -> Iterator[Compiler]:
    with Compiler() as made:
        yield made


@pytest.fixture(scope="module", params=ncs2_table.MODELS)
def model(request: pytest.FixtureRequest) -> tuple[str, bytes, torch.Tensor]:
    return (request.param, *ncs2_table.onnx_of(request.param))


def test_it_compiles_as_the_documentation_says(
    model: tuple[str, bytes, torch.Tensor], compiler: Compiler
) -> None:
    name, onnx_bytes, _ = model
    report = compiler.compile(onnx_bytes)
    assert report.ok, report.reason
    row = ncs2_table.row(ncs2_table.cells(name, report)[:-1])
    assert row.removesuffix("|") in DOCUMENTED, "run benchmarks/ncs2_table.py again"


def test_both_runtimes_give_the_same_output(
    model: tuple[str, bytes, torch.Tensor], tmp_path: Path
) -> None:
    """To 1e-5 of the largest, or twice what float32 itself costs a network of random weights."""
    name, onnx_bytes, example = model
    core = openvino.Core()
    hints = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = core.compile_model(core.read_model(onnx_bytes), "CPU", hints)
    ours, theirs = on_2021(onnx_bytes, example, tmp_path), compiled(example.numpy())[0]
    assert ours.shape == theirs.shape
    difference = np.abs(ours - theirs).max() / np.abs(theirs).max()
    assert difference <= 1e-5 or difference <= 2 * rounding(name)


def on_2021(onnx_bytes: bytes, image: torch.Tensor, folder: Path) -> np.ndarray[Any, Any]:
    """The output on OpenVINO 2021.4's CPU."""
    files = [str(folder / name) for name in ("model.onnx", "image.npy", "logits.npy")]
    Path(files[0]).write_bytes(onnx_bytes)
    np.save(files[1], image.numpy())
    subprocess.run([legacy_python(), "-I", "-c", INFER, *files], check=True, capture_output=True)
    logits: np.ndarray[Any, Any] = np.load(files[2])
    return logits


def rounding(name: str) -> float:
    """How far PyTorch's float32 is from its float64, relative to the largest output."""
    network, example = ncs2_table.network(name)
    with torch.inference_mode():
        rounded = network(example)
        exact = network.double()(example.double())
    return float((rounded - exact).abs().max() / exact.abs().max())


@pytest.mark.parametrize(
    ("outputs", "mode", "cost"),
    [
        (64, "MODE_4_64", 64 / 4 * 9 + 11),
        (33, "MODE_4_64", 64 / 4 * 9 + 11),
        (32, "MODE_8_32", 64 / 8 * 9 + 19),
        (16, "MODE_16_16", 64 / 16 * 9 + 31),
    ],
)
def test_the_prediction_is_the_cost_by_hand(
    compiler: Compiler, outputs: int, mode: str, cost: float
) -> None:
    """3 x 3 from 64 inputs, which the mode's blocks share, and the mode's overhead; at 700 MHz."""
    network = nn.Conv2d(64, outputs, 3, padding=1)
    report = compiler.compile(export_onnx(network, torch.rand(1, 64, 28, 28)).onnx, streams=0)
    (stage,) = (each for each in report.stages if each.kind == "hardware")
    assert (stage.operation, stage.mode, stage.descriptors) == ("CONV", mode, 1)
    assert stage.output == (1, outputs, 28, 28)
    assert stage.predicted_ms == pytest.approx(cost * 28 * 28 / 700e3)
    assert report.predicted_hw_ms == stage.predicted_ms
    assert report.hardware_stages == 1


def test_the_blob_comes_alone_and_if_asked_for(compiler: Compiler) -> None:
    report = compiler.compile(small(nn.ReLU()), blob=True)
    assert report.blob.startswith(b"\x7felf")
    assert len(report.blob) == report.blob_bytes
    assert compiler.compile(small(nn.ReLU())).blob == b""
    json.dumps(report.to_dict())


def test_streams_share_the_chip(compiler: Compiler) -> None:
    network = nn.Sequential(nn.Conv2d(3, 64, 3), nn.Conv2d(64, 64, 3))
    onnx_bytes = export_onnx(network, torch.rand(1, 3, 128, 128)).onnx
    one, two = (compiler.compile(onnx_bytes, streams=streams) for streams in (1, 0))
    assert one.cmx_bytes != two.cmx_bytes


def test_no_usb_device_is_looked_for(tmp_path: Path) -> None:
    """libusb tells what it does; without our care it would start to watch the bus."""
    (tmp_path / "model.onnx").write_bytes(small(nn.ReLU()))
    request = {"id": 1, "op": "compile", "folder": str(tmp_path), "streams": 1, "limit_s": 60}
    lines = [json.dumps({**request, "model": str(tmp_path / "model.onnx")}), '{"op": "quit"}']
    had_mutex = os.path.exists("/tmp/mvnc.mutex")
    command = DeviceSpec(device="MYRIAD", runtime="stickless", python=legacy_python()).command()
    done = subprocess.run(
        command,
        input="\n".join(lines),
        env={"LIBUSB_DEBUG": "4"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert json.loads(done.stdout)["ok"]
    assert "libusb_init" in done.stderr
    assert "no enumeration will be performed" in done.stderr
    for words in ("event thread", "enumerat", "libusb_open", "libusb_get_device"):
        looked = [line for line in done.stderr.splitlines() if words in line]
        assert not [line for line in looked if "no enumeration" not in line]
    assert os.path.exists("/tmp/mvnc.mutex") == had_mutex


def test_an_unsupported_layer_is_named() -> None:
    with Compiler(timeout_s=10.0) as compiler:  # its start included
        report = compiler.compile(small(Sine()))
    assert (report.ok, report.layer_type, report.layer) == (False, "Sin", "/1/Sin_output_0")
    assert report.reason == "unsupported layer type 'Sin' (layer '/1/Sin_output_0')"
    assert report.predicted_hw_ms is None


def test_an_operator_that_cannot_be_read_is_named(compiler: Compiler) -> None:
    class NotANumber(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.isnan(x).float()

    report = compiler.compile(small(NotANumber()))
    assert (report.ok, report.layer_type, report.layer) == (False, "IsNaN", "/1/IsNaN")


def foreign_gelu() -> bytes:
    read = read_onnx(small(nn.ReLU()))
    (node,) = (each for each in read.graph.node if each.op_type == "Relu")
    node.op_type, node.domain, node.name = "FusedGelu", "com.microsoft", "bent"
    read.opset_import.add(domain="com.microsoft", version=1)
    return bytes(read.SerializeToString())


def test_an_operator_of_another_domain_is_named(compiler: Compiler) -> None:
    report = compiler.compile(foreign_gelu())
    named = (report.layer_type, report.layer)
    assert named == ("com.microsoft.FusedGelu", "bent")


def test_an_opset_cannot_hide_behind_the_other_name_of_the_domain(compiler: Compiler) -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten())
    read = read_onnx(export_onnx(network, torch.rand(1, 3, 16, 16)).onnx)
    read.opset_import[0].domain, read.opset_import[0].version = "ai.onnx", 18
    report = compiler.compile(read.SerializeToString())
    assert "opset 18" in report.reason


def test_a_pool_whose_dilations_would_be_ignored_is_named_by_compiler_and_check(
    compiler: Compiler,
) -> None:
    onnx_bytes = small(nn.MaxPool2d(2, dilation=2))
    assert "has dilations" in compiler.compile(onnx_bytes).reason
    report = check(onnx_bytes)
    assert (report.ok, report.layer_type) == (False, "MaxPool")
    assert report.layer


def test_a_newer_opset_is_refused_by_the_compiler_and_lowered_by_the_check(
    compiler: Compiler,
) -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Hardswish(), nn.Flatten())
    onnx_bytes = export_onnx(network, torch.rand(1, 3, 16, 16), opset=17).onnx
    refused = compiler.compile(onnx_bytes)
    assert not refused.ok
    assert "opset 17" in refused.reason
    assert check(onnx_bytes).ok


def test_a_compiler_that_takes_too_long_is_ended() -> None:
    with Compiler(timeout_s=0.05) as compiler:
        with pytest.raises(DeviceTimeoutError, match="the stick's compiler gave no verdict"):
            compiler.compile(small(nn.ReLU()))
        assert compiler.pid is None


def test_a_compiler_that_crashed_is_told_and_started_anew() -> None:
    with Compiler() as compiler:
        assert compiler.compile(small(nn.ReLU())).ok
        assert compiler.pid is not None
        os.kill(compiler.pid, signal.SIGSEGV)
        with pytest.raises(DeviceDiedError, match="SIGSEGV"):
            compiler.compile(small(nn.ReLU()))
        assert compiler.compile(small(nn.ReLU())).ok


def test_the_command_prints_a_table_and_refuses(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, bad = tmp_path / "good.onnx", tmp_path / "bad.onnx"
    good.write_bytes(small(nn.ReLU()))
    bad.write_bytes(small(Sine()))
    assert main(["ncs2", "check", str(good), "--stages"]) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[0].startswith("ok        openvino 2021.4.2 compiled it for 1 stream")
    assert "not calibrated" in told[1]
    assert any("CONV" in line and "1x8x14x14" in line for line in told)
    assert main(["ncs2", "check", str(bad)]) == 1
    assert "refused   unsupported layer type 'Sin'" in capsys.readouterr().out
    assert main(["ncs2", "check", str(good), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["ok"]
    assert facts["stages"] == []
