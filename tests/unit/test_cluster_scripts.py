"""What the scripts in cluster/ do, with programs in the place of Ray's, uv's and ssh's."""

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

CLUSTER = Path(__file__).parents[2] / "cluster"
JOIN = CLUSTER / "ncs-host" / "join.sh"
STAND_IN = """#!/usr/bin/env bash
echo "$(basename "$0") $* token=${RAY_AUTH_TOKEN_PATH:-}" >>"$LOG"
"""


class Host:
    """A folder of programs that note how they were called; one may say or do more."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "log"
        self.environment = {"PATH": f"{folder}/bin:{os.environ['PATH']}", "LOG": str(self.log)}
        self.environment |= {"HOME": str(folder), "XDG_RUNTIME_DIR": str(folder)}
        (folder / "bin").mkdir()

    def program(self, name: str, does: str = "") -> None:
        path = self.folder / "bin" / name
        path.write_text(STAND_IN + does)
        path.chmod(0o755)

    def run(
        self, *command: str | Path, **environment: str
    ) -> tuple[subprocess.CompletedProcess[str], list[str]]:
        """How it ended, and what it called."""
        self.log.write_text("")
        everything = self.environment | environment
        done = subprocess.run(command, env=everything, capture_output=True, text=True)
        return done, self.log.read_text().splitlines()


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


@pytest.fixture
def head() -> Iterator[str]:
    """Something that answers where the head should."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"127.0.0.1:{listener.getsockname()[1]}"


def with_sticks(host: Host, offer: str, *, all_well: bool = True) -> None:
    host.program(
        "raytune-edge",
        f"[ $1 = resources ] && echo '{offer}' && exit\nexit {0 if all_well else 1}\n",
    )
    host.program("ray")


def test_a_host_joins_with_all_its_devices_and_none_of_its_cpus(host: Host, head: str) -> None:
    with_sticks(host, '{"ncs": 2}')
    done, called = host.run(JOIN, HEAD=head, CREDENTIALS_DIRECTORY="/run/creds", NODE_IP="10.0.0.7")
    assert done.returncode == 0
    resources, doctor, joins = called
    assert resources.startswith("raytune-edge resources ")
    assert doctor.startswith("raytune-edge doctor --device MYRIAD ")
    assert joins.startswith(f"ray start --address={head} --node-ip-address=10.0.0.7 ")
    for option in ("--block", "--num-cpus=0", "--num-gpus=0", '--resources={"ncs": 2}'):
        assert f" {option} " in joins
    assert joins.endswith(" token=/run/creds/token")


def test_a_device_that_does_not_measure_keeps_no_other_out(host: Host, head: str) -> None:
    with_sticks(host, '{"ncs": 2}', all_well=False)
    done, called = host.run(JOIN, HEAD=head)
    assert done.returncode == 0
    assert '--resources={"ncs": 2}' in called[-1]
    assert "not all is well" in done.stderr


def test_without_a_head_no_stick_is_booted(host: Host) -> None:
    with_sticks(host, '{"ncs": 2}')
    done, called = host.run(JOIN, HEAD="127.0.0.1:1")
    assert (done.returncode, called) == (1, [])
    assert "no head answers at 127.0.0.1:1" in done.stderr


def test_without_a_stick_a_host_of_sticks_does_not_join(host: Host, head: str) -> None:
    with_sticks(host, "{}")
    done, called = host.run(JOIN, HEAD=head)
    assert (done.returncode, len(called)) == (1, 1)
    assert "no Neural Compute Stick 2 is plugged in" in done.stderr


@pytest.mark.parametrize(("offer", "trains"), [("{}", True), ('{"ncs": 1}', False)])
def test_a_launched_host_trains_unless_it_has_a_device(
    offer: str, trains: bool, host: Host, head: str
) -> None:
    with_sticks(host, offer)
    done, called = host.run(JOIN, "--launched", HEAD=head)
    assert done.returncode == 0
    assert called[-1].startswith("ray start ")
    assert ("--num-cpus=0 --num-gpus=0" in called[-1]) is not trains
    assert "--block" not in called[-1]  # `ray up` waits for it


def test_a_host_without_a_head_to_join_says_what_it_needs() -> None:
    done = subprocess.run([JOIN], env={"PATH": os.environ["PATH"]}, capture_output=True, text=True)
    assert done.returncode != 0
    assert "expected the head as host:port" in done.stderr


@pytest.fixture
def repository(host: Host) -> Path:
    """As it lies on a node; uv makes an environment that tells these versions, and no other."""
    root = host.folder / "raytune-edge"
    shutil.copytree(CLUSTER, root / "cluster")
    (root / "constraints.txt").write_text("numpy==2.4.6\n")
    (root / "dist").mkdir()
    (root / "dist" / "raytune_edge-0.1.0-py3-none-any.whl").write_text("the package")
    host.program(
        "uv",
        """
if [ $1 = venv ]; then
    rm -rf "${@: -1}" && mkdir -p "${@: -1}/bin"
elif [ ! -e "$HOME/offline" ]; then
    printf '#!/bin/sh\\necho 3.11.9 0.1.0\\n' >"$HOME/raytune-edge/venv/bin/python"
    chmod +x "$HOME/raytune-edge/venv/bin/python"
else
    exit 1
fi
""",
    )
    (root / "uv" / "bin").mkdir(parents=True)
    (root / "uv" / "bin" / "uv").symlink_to(host.folder / "bin" / "uv")
    return root


def test_a_node_is_set_up_once_and_again_when_something_changed(
    host: Host, repository: Path
) -> None:
    def installs(*options: str) -> int:
        script = repository / "cluster" / "node-setup.sh"
        done, called = host.run("bash", script, *options, "3.11.9", "0.1.0")
        assert done.returncode == 0, done.stderr
        return sum(each.startswith("uv pip install ") for each in called)

    assert (installs(), installs()) == (1, 0)
    wheel = repository / "dist" / "raytune_edge-0.1.0-py3-none-any.whl"
    wheel.write_text("the package, built anew")
    assert (installs(), installs()) == (1, 0)
    (repository / "constraints.txt").write_text("numpy==2.4.7\n")
    assert (installs(), installs()) == (1, 0)
    assert (host.folder / ".bashrc").read_text().count("node-env.sh") == 1
    assert (installs("--device-host"), installs("--device-host")) == (2, 0)


def test_a_set_up_that_failed_is_not_taken_for_done(host: Host, repository: Path) -> None:
    script = repository / "cluster" / "node-setup.sh"
    (host.folder / "offline").touch()
    done, _ = host.run("bash", script, "3.11.9", "0.1.0")
    assert done.returncode != 0
    (host.folder / "offline").unlink()
    done, called = host.run("bash", script, "3.11.9", "0.1.0")
    assert done.returncode == 0
    assert [each for each in called if each.startswith("uv pip install ")]
    done, _ = host.run("bash", script, "3.11.10", "0.1.0")
    assert "expected Python and raytune_edge 3.11.10 0.1.0" in done.stderr
    done, _ = host.run("bash", script, "3.11.9", "0.2.0")
    assert done.returncode == 1
    assert "make build" in done.stderr


def test_a_host_of_devices_gets_no_pytorch(host: Host, repository: Path) -> None:
    script = repository / "cluster" / "node-setup.sh"
    _, called = host.run("bash", script, "--device-host", "3.11.9", "0.1.0")
    listed, package = (each for each in called if each.startswith("uv pip install "))
    assert listed.split(" token=")[0].endswith("cluster/ncs-host/requirements.txt")
    assert "--no-deps" in package
    assert not (host.folder / ".bashrc").exists()


def test_the_end_of_a_local_cluster_is_nobody_elses(host: Host) -> None:
    folder = host.folder / f"raytune-edge-local-{os.getuid()}-6399"
    folder.mkdir()
    (folder / "mark").write_text("a" * 64)
    sleep = [sys.executable, "-c", "import time; time.sleep(60)"]
    marks = {name: os.environ | {"RAYTUNE_EDGE_LOCAL": name * 64} for name in "ab"}
    ours = subprocess.Popen(sleep, env=marks["a"], start_new_session=True)
    # A number that was ours before a reboot, as an earlier version kept it, and another cluster.
    others = [
        subprocess.Popen(sleep, start_new_session=True),
        subprocess.Popen(sleep, env=marks["b"], start_new_session=True),
    ]
    (folder / "head.session").write_text(f"{others[0].pid}\n")
    try:
        done, _ = host.run(CLUSTER / "local.sh", "stop")
        assert done.returncode == 0, done.stderr
        assert ours.wait(10.0) == -15
        assert [each.poll() for each in others] == [None, None]
        assert not folder.exists()
    finally:
        for process in (ours, *others):
            process.kill()
            process.wait()


@pytest.mark.parametrize("failing", ["ray", "ssh", None])
def test_all_hosts_are_ended_though_one_fails(failing: str | None, host: Host) -> None:
    for name in ("ray", "ssh"):
        host.program(name, "[[ $* != *one* && $1 != down ]]\n" if name == failing else "")
    host.program("python", f'exec {sys.executable} "$@"\n')
    file = host.folder / "cluster.yaml"
    auth = {"ssh_user": "you", "ssh_private_key": "~/key"}
    file.write_text(json.dumps({"provider": {"worker_ips": ["one", "two"]}, "auth": auth}))
    done, called = host.run(CLUSTER / "onprem-down.sh", file)
    ended = [
        name for name in ("down", "you@one", "you@two") if any(name in each for each in called)
    ]
    assert ended == ["down", "you@one", "you@two"]
    assert done.returncode == (1 if failing else 0)
    left = {"ray": "the head", "ssh": "you@one", None: ""}[failing]
    assert (f"not ended: {left};" in done.stderr) is bool(failing)
