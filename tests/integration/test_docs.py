"""The documentation's longer code, run in small form."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from raytune_edge.runtimes import DeviceSpec
from raytune_edge.testing import DeviceConformance

DOCS = Path(__file__).parents[2] / "docs"
RUNTIME, _ = re.findall(
    r"```python([^\n]*)\n(.*?)```",
    (DOCS / "development.md").read_text().partition("## Add a pruning backend")[0],
    re.S,
)


def test_the_tutorial_leads_to_a_bundle(tmp_path: Path) -> None:
    page = (DOCS / "tutorial.md").read_text()
    code = "\n".join(re.findall(r"```python\n(.*?)```", page, re.S))
    small = code.replace("TRIALS, EPOCHS = 12, 4", "TRIALS, EPOCHS = 2, 1")
    small = small.replace("ray.init(", 'ray.init("local", ')
    # Whatever this machine's latency is, a network is feasible, so that there is one to deploy.
    small = small.replace("unpruned.latency_p50_ms / 2", "unpruned.latency_p50_ms * 9")
    assert len(small.splitlines()) == len(code.splitlines())
    assert small.count(" 2, 1") == small.count('"local"') == small.count("* 9") == 1
    done = subprocess.run(
        [sys.executable, "-c", small],
        cwd=tmp_path,
        env=os.environ | {"HOME": str(tmp_path), "RAY_AIR_NEW_OUTPUT": "0"},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "stem.0   64" in done.stdout
    assert "unpruned" in done.stdout
    assert (tmp_path / "my-digits" / "report.html").exists()
    assert (tmp_path / "my-digits" / "bundle" / "model.onnx").exists()
    assert "ONNX and OpenVINO agree" in done.stdout


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
