"""The wheel in an empty environment: minutes and gigabytes, so it is run by itself."""

import csv
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PYTHON = os.environ.get("RAYTUNE_EDGE_PYTHON", sys.executable)
CONSTRAINTS = os.environ.get("RAYTUNE_EDGE_CONSTRAINTS", str(ROOT / "constraints.txt"))
EXAMPLE = ROOT / "examples" / "bring_your_own_model.py"


def run(*command: object, folder: Path, timeout_s: float = 120.0) -> str:
    """What ``command`` prints, run in ``folder`` and without this environment's variables."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(
        [str(each) for each in command],
        cwd=folder,
        env=kept,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-5000:]
    return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Outside the repository, so that only what is installed can be imported."""
    return tmp_path_factory.mktemp("installed")


@pytest.fixture(scope="module")
def bin_folder(folder: Path) -> Path:
    run(sys.executable, "-m", "build", "--no-isolation", "--wheel", "-o", folder, ROOT, folder=ROOT)
    (wheel,) = folder.glob("*.whl")
    run(PYTHON, "-m", "venv", folder / "venv", folder=folder)
    pip = (folder / "venv/bin/python", "-m", "pip", "--disable-pip-version-check")
    run(*pip, "install", "-q", "-c", CONSTRAINTS, wheel, folder=folder, timeout_s=1800)
    run(*pip, "check", folder=folder)
    return folder / "venv" / "bin"


@pytest.mark.packaging
@pytest.mark.timeout(2400)
def test_the_command_is_there(bin_folder: Path, folder: Path) -> None:
    told = run(bin_folder / "raytune-edge", "--help", folder=folder)
    assert all(command in told for command in ("measure", "doctor", "report", "verify"))


@pytest.mark.packaging
@pytest.mark.timeout(600)
def test_a_search_of_two_trials_runs(bin_folder: Path, folder: Path) -> None:
    script = shutil.copy(EXAMPLE, folder)
    options = ("--trials", 2, "--epochs", 1, "--folder", folder / "run")
    run(bin_folder / "python", script, *options, folder=folder, timeout_s=500)
    with (folder / "run" / "trials.csv").open() as file:
        trials = list(csv.DictReader(file))
    assert len(trials) == 2
    assert all(float(trial["latency_p50_ms"]) > 0 for trial in trials)
    bundle = folder / "run" / "bundle"
    if bundle.exists():
        run(bin_folder / "raytune-edge", "verify", bundle, folder=folder)
