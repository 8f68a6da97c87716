"""The commands, as a person at the device's host runs them."""

import json
import re
import sys
from pathlib import Path

import pytest
import ray
import torch
from torch import nn

from raytune_edge.cli import main
from raytune_edge.doctor import cluster
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
    assert main(["measure", str(model), "--device", "GPU"]) == 1
    assert "no device 'GPU'" in capsys.readouterr().err


def test_a_file_that_is_too_large_is_refused_unread(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "huge.onnx"
    with path.open("wb") as file:
        file.truncate(3 * 10**9)  # takes no room on the disk
    assert main(["measure", str(path)]) == 1
    assert "got 3,000,000,000 bytes" in capsys.readouterr().err


@pytest.mark.usefixtures("ray_cluster")
def test_the_doctor_tells_devices_runtime_and_ray(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--device", "CPU"]) == 0
    told = capsys.readouterr().out
    assert re.search(r"^ok   CPU: .*openvino 20\d\d.*takes \d+\.\d+ ms$", told, re.MULTILINE)
    assert "offers ncs: 2 to " in told


@pytest.mark.usefixtures("ray_cluster")
def test_the_doctor_names_the_mend_and_fails_without_the_device(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["doctor", "--device", "MYRIAD", "--resource", "sticks", "--json"]) == 1
    findings = json.loads(capsys.readouterr().out)
    failed = [each["what"] for each in findings if each["level"] == "fail"]
    assert "expected a Neural Compute Stick 2" in failed[-1]
    (lacking,) = [each for each in findings if "'sticks'" in each["what"]]
    assert re.search(r"ray start --address=\S+ --resources='{\"sticks\": 1}'", lacking["mend"])


def test_the_doctor_does_not_wait_for_a_cluster_that_is_gone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(cluster, "_ANSWER_S", 3.0)
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    assert main(["doctor"]) == 0
    assert "does not answer in 3 s" in capsys.readouterr().out


def test_the_doctor_says_when_the_runtime_cannot_be_used(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "executable", "/usr/bin/false")
    monkeypatch.setattr("raytune_edge.doctor.ray_findings", lambda resource, units: iter(()))
    assert main(["doctor"]) == 1
    told = capsys.readouterr().out
    assert told.startswith("fail OpenVINO cannot be used")
    assert "mend: pip install" in told
