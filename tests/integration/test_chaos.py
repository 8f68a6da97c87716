"""The short form of `benchmarks/chaos.py`: nodes and driver are killed, and nothing is lost."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

CHAOS = Path(__file__).parents[2] / "benchmarks" / "chaos.py"


@pytest.mark.timeout(600)
def test_a_run_survives_nodes_driver_and_network() -> None:
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen([sys.executable, str(CHAOS), "--short"], text=True, **pipes)
    try:
        told, said = process.communicate(timeout=480)
    finally:
        process.terminate()  # killed at once it would leave nodes and namespaces behind
        try:
            process.communicate(timeout=90)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
    assert process.returncode == 0, told[-3000:] + said[-3000:]
    found = json.loads(told.splitlines()[-1])
    assert (found["lost"], found["wrong"], found["errors"]) == (0, 0, []), told
    assert found["trials"] == 8
    assert 0 < found["front"] < 8
    assert len(found["faults"]) == 4
    assert all(fault["in_flight"] for fault in found["faults"].values())
    assert set(found["resumed"]) == {"trainer node killed", "driver killed"}
    assert all(found["resumed"].values())
    assert found["forgotten"] == 0
