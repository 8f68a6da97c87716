"""The cluster of cluster/local.sh: several nodes, one secret, and an end that leaves nothing."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "cluster" / "local.sh"
BIN = Path(sys.executable).parent
DRIVER = """
import json, ray
from raytune_edge.devices import connect_devices
from raytune_edge.testing import FakeDevice
ray.init(address="auto", configure_logging=False, log_to_driver=False)
pool = connect_devices(FakeDevice(latency_ms=2.0), resource="ncs")
status = pool.status()
pool.close()
offered = [node["Resources"] for node in ray.nodes() if node["Alive"]]
print(json.dumps([[each.device_id.partition("/")[2] for each in status.devices], offered]))
"""


def processes() -> list[tuple[str, str]]:
    """Session and command of each that has not ended; -ww, else what is told may be cut short."""
    rows = subprocess.check_output(["ps", "-eww", "-o", "sid=,args="], text=True).splitlines()
    rows = [row for row in rows if "<defunct>" not in row]
    return [(session, args) for session, _, args in (row.strip().partition(" ") for row in rows)]


@pytest.fixture(scope="module")
def environment() -> Iterator[dict[str, str]]:
    """What lets a program reach a cluster of three nodes."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.2", 0))
        port = probe.getsockname()[1]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    clean |= {"PATH": f"{BIN}:{os.environ['PATH']}", "PORT": str(port), "TRAINERS": "1"}
    try:
        started = subprocess.check_output([SCRIPT, "start"], env=clean, text=True, timeout=240)
        last = started.splitlines()[-1].removeprefix("export ")
        told = dict(pair.split("=", 1) for pair in last.split())
        assert Path(told["RAY_AUTH_TOKEN_PATH"]).stat().st_mode & 0o077 == 0
        yield clean | told
    finally:
        # By session: not all of Ray's processes tell the port.
        sessions = {session for session, args in processes() if str(port) in args}
        subprocess.run([SCRIPT, "stop"], env=clean, check=True)
    assert sessions
    assert not [each for each in processes() if each[0] in sessions or str(port) in each[1]]


def test_its_driver_finds_the_device_on_the_node_that_offers_it(
    environment: dict[str, str],
) -> None:
    command = [sys.executable, "-c", DRIVER]
    done = subprocess.check_output(command, env=environment, text=True, timeout=120)
    devices, nodes = json.loads(done.splitlines()[-1])
    assert devices == ["ncs:0"]
    assert sorted(node.get("CPU", 0) for node in nodes) == [0, 0, 1]
    assert [node["ncs:0"] for node in nodes if "ncs" in node] == [1]


@pytest.mark.parametrize(
    ("command", "token"),
    [
        (["start", "--resources={}"], None),
        (["status"], None),
        (["status"], "a-guess" * 6),
    ],
    ids=["a node without the token", "a driver without it", "a driver with another token"],
)
def test_who_has_not_the_token_is_refused(
    environment: dict[str, str],
    command: list[str],
    token: str | None,
    tmp_path: Path,
) -> None:
    stranger = environment | {"HOME": str(tmp_path)}
    del stranger["RAY_AUTH_TOKEN_PATH"]
    stranger |= {"RAY_AUTH_MODE": "disabled"} if token is None else {"RAY_AUTH_TOKEN": token}
    address = f"--address={environment['RAY_ADDRESS']}"
    done = subprocess.run(
        [BIN / "ray", *command, address], env=stranger, capture_output=True, text=True, timeout=120
    )
    assert done.returncode != 0
    assert "InvalidAuthToken" in done.stdout + done.stderr
