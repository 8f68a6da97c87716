"""Nodes of a Ray cluster on this machine, each in a network namespace of its own, for `chaos.py`.

A bridge joins them to the head, which is outside. A node that is killed loses all its processes at
once, and one that is cut off keeps them and is alone. Where this user may not make namespaces
(root, and ``ip`` of iproute2), nodes have loopback addresses of their own instead, and one that is
cut off is frozen. Processes are told by a mark in their environment, so that nobody else's are
touched. Linux.
"""

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RAY = str(Path(sys.executable).with_name("ray"))
MARK = "RAYTUNE_EDGE_NODE"
TRIES = 3


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)


def free_port(host: str) -> int:
    with socket.socket() as listener:
        listener.bind((host, 0))
        return int(listener.getsockname()[1])


def own_processes(mark: str) -> list[int]:
    """Processes whose environment has the mark."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if f"{MARK}={mark}".encode() in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
    return found


def kill_all(mark: str) -> None:
    while pids := own_processes(mark):
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.1)


class Nodes:
    """The head, and the nodes joined to it; a context manager that leaves nothing behind."""

    def __init__(self) -> None:
        self._id = secrets.token_hex(2)
        self._bridge = f"rte{self._id}"
        self.has_namespaces = os.geteuid() == 0 and shutil.which("ip") is not None
        first = 10 if self.has_namespaces else 127
        self._network = f"{first}.{secrets.randbelow(100) + 100}.{secrets.randbelow(250)}"
        self._names: dict[str, int] = {}
        self._folder = tempfile.mkdtemp(prefix="rte-")
        self.environment = {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
            "RAY_DISABLE_IMPORT_WARNING": "1",
        }

    def __enter__(self) -> "Nodes":
        if self.has_namespaces:
            ip("link", "add", self._bridge, "type", "bridge")
            ip("addr", "add", f"{self._network}.1/24", "dev", self._bridge)
            ip("link", "set", self._bridge, "up")
        host = f"{self._network}.1"
        port = free_port(host)
        self.address = f"{host}:{port}"
        command = [RAY, "start", "--head", "--port", str(port), "--node-ip-address", host]
        command += ["--num-cpus=0", "--include-dashboard=false", "--temp-dir", self._folder]
        try:
            self._start("head", command, [])
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for name in [*self._names, "head"]:
            kill_all(self._mark(name))
        if self.has_namespaces:
            for name in self._names:
                ip("netns", "del", self._space(name))
            ip("link", "del", self._bridge)
        shutil.rmtree(self._folder, ignore_errors=True)

    def add(self, name: str, *, cpus: int, resources: str = "{}") -> None:
        """Start a node, or start it again."""
        if name not in self._names:
            self._names[name] = len(self._names) + 2
            if self.has_namespaces:
                self._plug_in(name)
        address = f"{self._network}.{self._names[name]}"
        command = [RAY, "start", "--address", self.address, "--node-ip-address", address]
        command += ["--num-cpus", str(cpus), "--resources", resources]
        inside = ["ip", "netns", "exec", self._space(name)] if self.has_namespaces else []
        self._start(name, command, inside)

    def kill(self, name: str) -> None:
        """As if its plug were pulled."""
        kill_all(self._mark(name))

    def cut(self, name: str, seconds: float) -> None:
        """As if its cable were out for some seconds."""
        if self.has_namespaces:
            ip("link", "set", self._cable(name), "down")
            time.sleep(seconds)
            ip("link", "set", self._cable(name), "up")
            return
        pids = own_processes(self._mark(name))
        for number, pause_s in ((signal.SIGSTOP, seconds), (signal.SIGCONT, 0.0)):
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
            time.sleep(pause_s)

    def _plug_in(self, name: str) -> None:
        space, cable = self._space(name), self._cable(name)
        ip("netns", "add", space)
        ip("link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", space)
        ip("link", "set", cable, "master", self._bridge, "up")
        inside = ["netns", "exec", space, "ip"]
        ip(*inside, "addr", "add", f"{self._network}.{self._names[name]}/24", "dev", "eth0")
        ip(*inside, "link", "set", "eth0", "up")
        ip(*inside, "link", "set", "lo", "up")

    def _start(self, name: str, command: list[str], prefix: list[str]) -> None:
        marked = {**os.environ, **self.environment, MARK: self._mark(name)}
        command = [*prefix, *command, "--disable-usage-stats"]
        for _ in range(TRIES):
            done = subprocess.run(command, env=marked, capture_output=True, text=True)
            if done.returncode == 0:
                return
            self.kill(name)  # on a busy machine Ray gives up on itself after 30 s
        raise RuntimeError(f"{name} did not start: {done.stdout[-2000:]}{done.stderr[-2000:]}")

    def _mark(self, name: str) -> str:
        return f"{self._id}-{name}"

    def _space(self, name: str) -> str:
        return f"{self._bridge}-{name}"

    def _cable(self, name: str) -> str:
        return f"{self._bridge}-{self._names[name]}"
