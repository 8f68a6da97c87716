"""The commands, as a person at the device's host runs them."""

import json
import os
import re
import sys
from pathlib import Path

import pytest
import ray
import torch
from torch import nn

from raytune_edge.cli import main
from raytune_edge.devices.cores import allowed_cores, claim_core
from raytune_edge.doctor import cluster
from raytune_edge.export import export_onnx
from raytune_edge.testing.conformance import convolutions


@pytest.fixture
def model(tmp_path: Path) -> Path:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
    path = tmp_path / "model.onnx"
    path.write_bytes(export_onnx(network, torch.rand(1, 3, 8, 8)).onnx)
    return path


def test_measure_prints_a_table(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["measure", str(model), "--precision", "f32", "--profile"]) == 0
    lines = capsys.readouterr().out.splitlines()
    names = [line.split()[0] for line in lines]
    p50 = lines[names.index("latency_p50_ms")].split()
    assert float(p50[1]) > 0
    assert p50[2] == "ms"
    device = lines[names.index("latency_p50_ms") + 1].split()
    assert (device[0], device[2]) == ("device_latency_ms", "ms")
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


@pytest.fixture
def dynamic(tmp_path: Path) -> Path:
    path = tmp_path / "dynamic.onnx"
    path.write_bytes(convolutions(4, batch="batch"))
    return path


def test_a_model_of_dynamic_shape_is_measured_in_the_shape_that_is_given(
    dynamic: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["measure", str(dynamic)]) == 1
    told = capsys.readouterr().err
    assert "or on the command line --input-shape 1,3,32,32" in told
    assert main(["measure", str(dynamic), "--input-shape", "1,3,32,32", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["latency_p50_ms"] > 0


def test_threads_are_as_many_as_were_asked_for(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("one core: OpenVINO runs one thread")
    assert main(["measure", str(model), "--threads", "2", "--json"]) == 0
    told = capsys.readouterr()
    assert json.loads(told.out)["threads"] == 2
    assert "all cores" in told.err


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (["--precision", "fp32"], "None or OpenVINO's word for it, such as 'f32'"),
        (["--threads", "0"], "at least 1, got 0"),
        (["--input-shape", "1,3,-1,32"], "whole numbers above 0"),
        (["--device", "CPU.3"], "no device 'CPU.3'"),
    ],
)
def test_a_setting_that_cannot_be_is_told_in_a_line(
    model: Path, option: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["measure", str(model), *option]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


def test_a_core_that_a_pool_has_is_not_disturbed(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if len(allowed_cores()) < 2:
        pytest.skip("one core: none to be claimed")
    claimed = []
    while core := claim_core(allowed_cores(), 1, patience_s=0.0):
        claimed.append(core)
    try:
        assert main(["measure", str(model)]) == 0
    finally:
        for core in claimed:
            core.release()
    told = capsys.readouterr()
    assert "it has no core of its own" in told.err
    assert "latency_p50_ms" in told.out


def test_without_openvino_the_command_that_installs_it_is_told(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    python = tmp_path / "python"
    hidden = "import runpy, sys; sys.modules['openvino'] = None; sys.argv = sys.argv[1:]; "
    run = "runpy.run_path(sys.argv[0], run_name='__main__')"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} -c "{hidden}{run}" "$@"\n')
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    assert main(["measure", str(model)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "-m pip install 'openvino>=2024.6'" in line


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


def test_a_folder_is_refused_with_the_models_that_are_in_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "final.onnx").touch()
    assert main(["measure", str(tmp_path)]) == 1
    told = capsys.readouterr().err
    assert "expected an ONNX file" in told
    assert "final.onnx" in told


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
    # Ray's only node is the head: to restart it as a worker would end the cluster for good.
    head = r"ray stop && ray start --head --port=\d+ --resources='{\"sticks\": 1}'  # .*ends the"
    assert re.match(head, lacking["mend"])


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
