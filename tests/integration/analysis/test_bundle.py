"""Bundles with real OpenVINO: written, run, checked, and caught when tampered with."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
import pytest

import raytune_edge as rte
from raytune_edge.analysis import best_trial
from raytune_edge.cli import main
from raytune_edge.config import Timing
from raytune_edge.errors import BundleError, OutputError, ParityError
from raytune_edge.runtimes.ncs2 import legacy_python

QUICK = Timing(warmup_s=0.01, min_blocks=2, block_s=0.05, max_s=0.2, throughput_s=0)
FILES = {
    "input.json", "labels.txt", "manifest.json", "measurement.json", "model.bin", "model.onnx",
    "model.xml", "plan.json", "run.py", "state_dict.pt",
}  # fmt: skip
TASK: Any = SimpleNamespace(labels=tuple("abcdefghij"), mean=(0.5,), std=(0.25,))


@pytest.fixture(scope="module")
def made(results: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bundle") / "net"
    return rte.export_bundle(best_trial(results), path, task=TASK)


@pytest.fixture
def bundle(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "copy"))


def test_a_bundle_has_all_that_is_needed(made: Path, results: Any) -> None:
    assert set(os.listdir(made)) == FILES
    assert not [name for name in os.listdir(made.parent) if name != "net"]
    manifest = json.loads((made / "manifest.json").read_text())
    assert set(manifest["sha256"]) == FILES - {"manifest.json"}
    assert manifest["metrics"]["top1"] == best_trial(results)["top1"]
    told = json.loads((made / "input.json").read_text())
    assert (told["shape"], told["mean"], told["std"]) == ([1, 1, 8, 8], [0.5], [0.25])
    # FP16 weights: two bytes for each of the network's parameters, and a little more.
    assert (made / "model.bin").stat().st_size < 0.6 * (made / "model.onnx").stat().st_size


def test_a_result_of_tune_makes_the_same_bundle(results: Any, made: Path, tmp_path: Path) -> None:
    best = results.get_best_result()
    path = rte.export_bundle(best, tmp_path / "net", task=TASK, fp16=False)
    assert (path / "model.onnx").read_bytes() == (made / "model.onnx").read_bytes()
    half, full = ((each / "model.bin").stat().st_size for each in (made, path))
    assert full > 1.5 * half
    assert rte.verify_bundle(path, measure=False).outputs.difference < 1e-5


@pytest.mark.legacy
def test_the_stick_gets_files_of_its_own(results: Any, tmp_path: Path) -> None:
    path = rte.export_bundle(best_trial(results), tmp_path / "net", task=TASK, ncs2=True)
    stick = {"ncs2.xml", "ncs2.bin", "ncs2.blob"}
    assert set(os.listdir(path)) == FILES | stick
    assert stick < set(json.loads((path / "manifest.json").read_text())["sha256"])
    assert 'version="10"' in (path / "ncs2.xml").read_text()  # 2021.4 reads no later one
    assert (path / "ncs2.bin").stat().st_size < 0.6 * (path / "model.onnx").stat().st_size
    code = """
import sys, numpy
from openvino.inference_engine import IECore
core = IECore()
network = core.read_network(sys.argv[1] + "/ncs2.xml")
compiled = core.load_network(network, "CPU", {"ENFORCE_BF16": "NO"})
image = numpy.ones((1, 1, 8, 8), numpy.float32)
print(*next(iter(compiled.infer({"images": image}).values()))[0])
"""
    told = subprocess.run(
        [legacy_python(), "-I", "-W", "ignore", "-c", code, str(path)],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    session = onnxruntime.InferenceSession(path / "model.onnx")
    (logits,) = session.run(None, {"images": np.ones((1, 1, 8, 8), np.float32)})
    found = np.array(told.split(), float)
    assert np.abs(found - logits[0]).max() < 0.01 * np.abs(logits).max()
    rte.verify_bundle(path, measure=False)
    (path / "ncs2.blob").write_bytes(b"another")
    with pytest.raises(BundleError, match=r"ncs2\.blob \(changed\)"):
        rte.verify_bundle(path, measure=False)


def test_run_py_classifies_an_image_without_this_package(bundle: Path, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 1), dtype=np.uint8)
    np.save(tmp_path / "image.npy", pixels)
    image = ((pixels / 255 - 0.5) / 0.25).transpose(2, 0, 1)[None].astype(np.float32)
    session = onnxruntime.InferenceSession(bundle / "model.onnx")
    (logits,) = session.run(None, {"images": image})
    shares = np.exp(logits[0]) / np.exp(logits[0]).sum()
    blocked = "import sys; sys.modules.update(torch=None, raytune_edge=None, ray=None, onnx=None);"
    code = f"{blocked} import runpy; sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0])"
    printed = subprocess.run(
        [sys.executable, "-c", code, str(bundle / "run.py"), str(tmp_path / "image.npy")],
        capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    best = int(shares.argmax())
    assert printed[1] == TASK.labels[best]
    assert float(printed[0]) == pytest.approx(shares[best], abs=2e-3)
    code_lines = [
        line for line in (bundle / "run.py").read_text().splitlines()
        if line.strip() and not line.startswith('"""')
    ]  # fmt: skip
    assert len(code_lines) <= 20


def test_a_whole_bundle_verifies_and_is_measured_again(bundle: Path) -> None:
    verified = rte.verify_bundle(bundle, timing=QUICK)
    assert verified.files == len(FILES) - 1
    assert verified.after is not None
    assert verified.after.latency_p50_ms > 0
    assert "files are those that were written" in str(verified)
    assert f"{verified.after.latency_p50_ms:.3f} ms now" in str(verified)


def test_a_trials_files_are_no_bundle(bundle: Path) -> None:
    manifest = json.loads((bundle / "manifest.json").read_text())
    del manifest["ir_precision"]  # a trial writes none
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match=r"is no bundle: rte\.export_bundle\(\) makes one"):
        rte.verify_bundle(bundle)


def test_it_is_measured_apart_from_the_pools_of_this_host(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raytune_edge.devices.by_hand.claim_core", lambda allowed, units: None)
    verified = rte.verify_bundle(bundle, timing=QUICK)
    assert "it has no core of its own: others may slow it" in str(verified)


def test_a_device_that_is_not_here_is_said(bundle: Path) -> None:
    record = json.loads((bundle / "measurement.json").read_text()) | {"device": "NPU.7"}
    rewrite(bundle, "measurement.json", json.dumps(record).encode())
    verified = rte.verify_bundle(bundle, timing=QUICK)
    assert verified.after is None
    assert "NPU.7" in verified.why_not
    assert "not measured again" in str(verified)


@pytest.mark.parametrize("name", sorted(FILES - {"manifest.json"}))
def test_a_changed_file_is_named(bundle: Path, name: str) -> None:
    content = bytearray((bundle / name).read_bytes())
    content[len(content) // 2] ^= 1
    (bundle / name).write_bytes(content)
    with pytest.raises(BundleError, match=rf"{name} \(changed\)"):
        rte.verify_bundle(bundle, measure=False)


def test_the_command_line_verifies(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", "--no-measure", str(bundle)]) == 0
    assert "9 files are those that were written" in capsys.readouterr().out
    (bundle / "plan.json").write_text("{}")
    assert main(["verify", str(bundle)]) == 1
    assert "plan.json (changed)" in capsys.readouterr().err


def test_missing_files_and_a_missing_manifest_are_named(bundle: Path) -> None:
    (bundle / "model.bin").unlink()
    (bundle / "labels.txt").unlink()
    with pytest.raises(BundleError, match=r"labels.txt \(missing\).*model.bin \(missing\)"):
        rte.verify_bundle(bundle, measure=False)
    (bundle / "manifest.json").write_text("{")
    with pytest.raises(BundleError, match=r"no readable manifest\.json"):
        rte.verify_bundle(bundle, measure=False)


def test_another_network_under_a_right_hash_is_caught(
    results: Any, bundle: Path, tmp_path: Path
) -> None:
    frame = rte.to_frame(results)
    other = frame[(frame["status"] == "done") & (frame["macs"] != best_trial(results)["macs"])]
    wrong = rte.export_bundle(other.iloc[0], tmp_path / "other")
    for name in ("model.xml", "model.bin"):
        rewrite(bundle, name, (wrong / name).read_bytes())
    with pytest.raises(ParityError, match=r"model.xml gives other outputs than model.onnx"):
        rte.verify_bundle(bundle, measure=False)


def test_what_cannot_be_exported_is_refused(results: Any, tmp_path: Path) -> None:
    frame = rte.to_frame(results)
    for status in ("infeasible", "failed"):
        row = frame[frame["status"] == status].iloc[0]
        with pytest.raises(ValueError, match="left no network to deploy"):
            rte.export_bundle(row, tmp_path / status)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("precious")
    with pytest.raises(OutputError, match="not empty and no bundle"):
        rte.export_bundle(best_trial(results), tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "precious"


def test_a_tampered_checkpoint_is_not_exported(results: Any, tmp_path: Path) -> None:
    best = best_trial(results).copy()
    best["checkpoint"] = shutil.copytree(best["checkpoint"], tmp_path / "kept")
    (tmp_path / "kept" / "model.onnx").write_bytes(b"not what was measured")
    with pytest.raises(BundleError, match=r"model.onnx \(changed\)"):
        rte.export_bundle(best, tmp_path / "net")
    assert not (tmp_path / "net").exists()


def test_an_earlier_bundle_is_replaced(results: Any, bundle: Path) -> None:
    (bundle / "stale").write_text("")
    rte.export_bundle(best_trial(results), bundle)
    assert set(os.listdir(bundle)) == FILES


def rewrite(bundle: Path, name: str, content: bytes) -> None:
    """Change a file and its sum in the manifest, as one would who means to deceive."""
    import hashlib

    (bundle / name).write_bytes(content)
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest["sha256"][name] = hashlib.sha256(content).hexdigest()
    (bundle / "manifest.json").write_text(json.dumps(manifest))
