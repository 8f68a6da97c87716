"""The documentation's longer code, run in small form."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from raytune_edge.runtimes import DeviceSpec
from raytune_edge.tasks.baseline import cache_folder
from raytune_edge.testing import DeviceConformance

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
RUNTIME, _ = re.findall(
    r"```python([^\n]*)\n(.*?)```",
    (DOCS / "development.md").read_text().partition("## Add a pruning backend")[0],
    re.S,
)


def python_in(page: Path) -> list[str]:
    return re.findall(r"```python\n(.*?)```", page.read_text(), re.S)


def smaller(code: str, instead: dict[str, str]) -> str:
    """``code`` with each text replaced that it must have once."""
    for text, new in instead.items():
        assert code.count(text) == 1, text
        code = code.replace(text, new)
    return code


def run(code: str, folder: Path) -> str:
    """What ``code`` prints, run in ``folder`` as its home; baselines come from the usual cache."""
    environment = {"HOME": str(folder), "RAYTUNE_EDGE_CACHE": str(cache_folder())}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env=os.environ | environment | {"RAY_AIR_NEW_OUTPUT": "0"},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def test_the_example_of_the_readme_finds_a_front(tmp_path: Path) -> None:
    code = smaller(
        python_in(ROOT / "README.md")[0],
        {
            "epochs=4": "epochs=1",
            "num_samples=16": "num_samples=2",
            "latency_budget_ms=0.8": "latency_budget_ms=1000",
            # What the page says has to be done before, on one machine.
            "devices = ": 'import ray; ray.init("local", resources={"ncs": 1})\ndevices = ',
        },
    )
    told = run(code, tmp_path)
    assert "trial_id" in told
    assert "latency_p50_ms" in told
    assert list((tmp_path / "ray_results/digits").glob("prune_and_retrain_*"))
    assert list(tmp_path.glob("**/offline-run-*"))


def test_the_tutorial_leads_to_a_bundle(tmp_path: Path) -> None:
    code = smaller(
        "\n".join(python_in(DOCS / "tutorial.md")),
        {
            "TRIALS, EPOCHS = 12, 4": "TRIALS, EPOCHS = 2, 1",
            "ray.init(": 'ray.init("local", ',
            # Whatever this machine's latency is, a network is feasible: there is one to deploy.
            "unpruned.latency_p50_ms / 2": "unpruned.latency_p50_ms * 9",
        },
    )
    told = run(code, tmp_path)
    assert "stem.0   64" in told
    assert "unpruned" in told
    assert (tmp_path / "my-digits" / "report.html").exists()
    assert (tmp_path / "my-digits" / "bundle" / "model.onnx").exists()
    assert "ONNX and OpenVINO agree" in told


class TestTheRuntimeOfTheDocumentation(DeviceConformance):
    """What the page says that a runtime has to pass."""

    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def module(cls, tmp_path_factory: pytest.TempPathFactory) -> None:
        folder = tmp_path_factory.mktemp("runtime")
        title, code = RUNTIME
        assert title == ' title="onnx_runtime.py"'
        (folder / "onnx_runtime.py").write_text(code)
        environment = {"PYTHONPATH": str(folder)}
        cls.device = DeviceSpec(device="ORT", runtime="onnx_runtime", environment=environment)
