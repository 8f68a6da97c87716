"""A pool on several nodes: what waits is answered while hosts, drivers and the pool are killed."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from raytune_edge import __version__

P50_MS = 3.0


@pytest.fixture(scope="module")
def seen() -> dict[str, Any]:
    """What happened on a cluster of its own, which cannot be started within this process."""
    script = Path(__file__).with_name("pool_on_nodes.py")
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stderr[-5000:]
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def figures(count: int) -> Any:
    return pytest.approx([P50_MS] * count, rel=0.02)


def test_a_joining_host_is_waited_for(seen: dict[str, Any]) -> None:
    assert seen["waits_for_host"]


def test_a_late_host_joins_the_pool_and_each_unit_has_an_id_of_its_own(
    seen: dict[str, Any],
) -> None:
    assert len(set(seen["device_ids"])) == 3


def test_a_host_that_is_lost_costs_no_request(seen: dict[str, Any]) -> None:
    assert seen["node_lost"] == figures(9)


def test_a_request_waits_for_a_host_to_come_back(seen: dict[str, Any]) -> None:
    assert seen["parked"]
    assert seen["parked_wait_s"] is None
    assert seen["unparked"] == figures(1)


def test_the_pool_itself_may_be_lost(seen: dict[str, Any]) -> None:
    assert seen["coordinator_lost"] == figures(3)
    assert seen["experiments_after"] == 1


def test_a_lost_caller_is_no_fault_of_the_device(seen: dict[str, Any]) -> None:
    assert seen["after_caller_lost"] == figures(1)
    assert seen["failed_by_caller"] == [0]


def test_a_host_with_another_version_is_told_and_left_alone(seen: dict[str, Any]) -> None:
    for told in (seen["older_host"], seen["connecting_to_older_host"]):
        assert f"raytune_edge {__version__} here on" in told
        assert "raytune_edge 0.0.9 on" in told
        assert f"pip install --no-deps dist/raytune_edge-{__version__}-py3-none-any.whl" in told
    assert seen["beside_older_host"] == figures(1)


def test_a_driver_that_was_killed_finds_its_pool_again(seen: dict[str, Any]) -> None:
    assert seen["same_pool"]


def test_a_lost_pool_stays_for_a_driver_that_did_not_make_it(seen: dict[str, Any]) -> None:
    assert seen["late_experiments"] == 1


def test_devices_are_freed_after_their_last_driver(seen: dict[str, Any]) -> None:
    assert seen["freed_processes"] == 2  # an actor and its child
    assert seen["freed"]
    assert seen["own_freed_processes"] == 2
    assert seen["own_freed"]
