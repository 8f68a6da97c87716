"""Each example runs in its smoke form, found by glob so that none is forgotten."""

import csv
import hashlib
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from raytune_edge.config import Timing
from raytune_edge.runtimes import Instrument
from raytune_edge.testing import FakeDevice

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.py"))


def run(example: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(example), "--smoke-test", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=280)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_an_example_runs_in_its_smoke_form(example: Path, tmp_path: Path) -> None:
    done = run(example, "--folder", str(tmp_path))
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert done.stdout.splitlines()[-1] == f"results: {tmp_path}"
    assert f"to look at: {tmp_path / 'report.html'}" in done.stdout.splitlines()

    with (tmp_path / "trials.csv").open() as file:
        trials = list(csv.DictReader(file))
    assert len(trials) == 3
    assert float(trials[0]["params_ratio"]) == 1.0  # the unpruned network comes first
    for trial in trials:
        assert trial["status"] in ("done", "infeasible", "collapsed")
        assert float(trial["latency_p50_ms"]) > 0
        assert trial["reason"] or trial["status"] == "done"
        if "WandbCallback" in example.read_text():
            assert list((tmp_path / "wandb").glob(f"offline-run-*-{trial['trial_id']}"))
    assert (tmp_path / "front.png").read_bytes().startswith(b"\x89PNG")
    with (tmp_path / "front.csv").open() as file:
        front = list(csv.DictReader(file))
    if not front:
        assert "no feasible network" in done.stdout.lower()
        return
    sums = json.loads((tmp_path / "best" / "manifest.json").read_text())["sha256"]
    model = (tmp_path / "best" / "model.onnx").read_bytes()
    assert hashlib.sha256(model).hexdigest() == sums["model.onnx"]


def test_a_folder_that_cannot_be_written_is_told_before_anything_is_done(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    done = run(EXAMPLES[0].with_name("quickstart.py"), "--folder", str(blocked / "runs"))
    assert done.returncode != 0
    assert "OutputError" in done.stderr
    assert str(blocked / "runs") in done.stderr
    assert "unpruned" not in done.stdout


@pytest.mark.parametrize("kind", ["", "file://"], ids=["a path", "a URI"])
def test_the_budget_stays_when_a_search_is_begun_again(kind: str, tmp_path: Path) -> None:
    """Half of a measurement that is kept beside the search, and not of a new one."""
    path = EXAMPLES[0].with_name("cifar10_resnet56_cluster.py")
    example = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(example)
    example.loader.exec_module(module)
    instrument = Instrument(FakeDevice(latency_ms=float, any_model=True).spec())
    timing = Timing(warmup_requests=0, warmup_s=0.0, min_s=0.0, throughput_s=0.0)
    figures = iter([b"1.5", b"9.5"])
    try:
        for _ in range(2):
            kept = module.measured_once(
                f"{kind}{tmp_path}/runs/resnet56/unpruned.json",
                lambda: instrument.measure(next(figures), timing),
            )
            assert kept.latency_p50_ms == pytest.approx(1.5, rel=0.01)
    finally:
        instrument.close()
