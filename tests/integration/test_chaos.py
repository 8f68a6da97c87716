"""The short form of `benchmarks/chaos.py`: nodes and driver are killed, and nothing is lost."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

CHAOS = Path(__file__).parents[2] / "benchmarks" / "chaos.py"


@pytest.mark.timeout(600)
def test_a_run_survives_nodes_driver_and_network() -> None:
    done = subprocess.run(
        [sys.executable, str(CHAOS), "--short"], capture_output=True, text=True, timeout=560
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert (found["lost"], found["wrong"]) == (0, 0), done.stdout
    assert found["trials"] == 10
    assert set(found["faults"].values()) == {1}
    assert len(found["faults"]) == 4
    assert 0 < found["front"] < 10
