"""The pipeline's logic, on two hosts with two devices each: `benchmarks/pipeline.py --quick`."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pipeline import share_off

PIPELINE = Path(__file__).parents[2] / "benchmarks" / "pipeline.py"
RETRAIN_S = 60.0


@pytest.fixture(scope="module")
def found() -> tuple[dict[str, Any], dict[str, Any]]:
    """A run whose networks are all too slow, and one with none that is."""
    done = subprocess.run(
        [sys.executable, str(PIPELINE), "--quick"], capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stderr[-3000:]
    slow, fast = json.loads(done.stdout.splitlines()[-1])
    return slow, fast


def test_slow_networks_are_measured_once_and_end_in_their_retraining(found: Any) -> None:
    slow, _ = found
    assert slow["ended"] == {"infeasible": slow["trials"]}
    assert slow["measured"] == slow["trials"]
    assert slow["retrained_s"] < RETRAIN_S * slow["trials"] / 2


def test_the_others_are_retrained_and_measured_twice(found: Any) -> None:
    _, fast = found
    assert fast["ended"] == {"done": fast["trials"]}
    assert fast["measured"] == 2 * fast["trials"]


def test_all_devices_of_both_hosts_work_and_none_fails(found: Any) -> None:
    for each in found:
        assert each["devices"] == 4
        assert each["failed"] == 0


def test_shares_of_the_work_are_compared_between_the_devices() -> None:
    assert share_off([10.0, 10.0, 10.0, 10.4]) == pytest.approx(0.04)
    assert share_off([9.0, 10.0, 10.0, 10.0]) == pytest.approx(1 / 9)  # 3 % beyond the mean
