"""The commands, as a person at the device's host runs them."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from raytune_edge.cli import main
from raytune_edge.export import export_onnx


@pytest.fixture
def model(tmp_path: Path) -> Path:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
    path = tmp_path / "model.onnx"
    path.write_bytes(export_onnx(network, torch.rand(1, 3, 8, 8)).onnx)
    return path


def test_measure_prints_a_table(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["measure", str(model), "--precision", "f32", "--profile"]) == 0
    lines = capsys.readouterr().out.splitlines()
    (p50,) = [line.split() for line in lines if line.startswith("latency_p50_ms")]
    assert float(p50[1]) > 0
    assert p50[2] == "ms"
    assert ["precision", "f32"] in [line.split() for line in lines]
    assert any("Convolution" in line for line in lines)


def test_measure_prints_json(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["measure", str(model), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["latency_p50_ms"] > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["measure", "absent.onnx"], "absent.onnx"),
        (["measure", __file__], "whole ONNX file"),
        (["verify", "absent"], "absent"),
        (["report", "absent"], "absent"),
    ],
)
def test_what_is_wrong_is_told_in_a_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 1
    told = capsys.readouterr().err
    assert told.startswith(f"raytune-edge {arguments[0]}: ")
    assert message in told
    assert "Traceback" not in told


def test_a_device_that_is_not_there_is_told(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["measure", str(model), "--device", "MYRIAD"]) == 1
    assert "no device 'MYRIAD'" in capsys.readouterr().err
