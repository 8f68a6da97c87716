"""Nodes of a Ray cluster on this machine, each in a network namespace of its own, for `chaos.py`.

A bridge joins them to the head, which is outside. A node that is killed loses all its processes at
once, and one that is cut off keeps them and is alone. Where this user may not make namespaces (it
takes root's rights, and ``ip`` of iproute2), nodes have loopback addresses of their own instead,
and one that is cut off is frozen. Processes are told by a mark in their environment, so that nobody
else's are touched, and by their session: those of Ray's that give themselves a title may have
written it over their environment. Linux.
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
from collections.abc import Collection
from pathlib import Path

RAY = str(Path(sys.executable).with_name("ray"))
MARK = "RAYTUNE_EDGE_NODE"
TRIES = 3
KILL_S = 60.0


def ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True)
    if done.returncode:
        raise OSError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")


def can_make_namespaces() -> bool:
    """By trying: in a container, root may lack the rights."""
    if not shutil.which("ip"):
        return False
    name = f"rte{secrets.token_hex(2)}"
    undo = [("link", "del", name), ("link", "del", f"{name}-1"), ("netns", "del", name)]
    try:
        ip("netns", "add", name)
        ip("link", "add", name, "type", "bridge")
        ip("link", "add", f"{name}-1", "type", "veth", "peer", "name", "eth0", "netns", name)
    except OSError:
        return False
    finally:
        for command in undo:
            with contextlib.suppress(OSError):
                ip(*command)
    return True


def free_port(host: str) -> int:
    with socket.socket() as listener:
        listener.bind((host, 0))
        return int(listener.getsockname()[1])


def own_processes(mark: str, sessions: Collection[int] = ()) -> list[int]:
    """Processes in those sessions, and those whose environment has a mark that begins like this."""
    wanted = f"{MARK}={mark}".encode()
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            state, _, _, session = (folder / "stat").read_text().rpartition(")")[2].split()[:4]
            environment = (folder / "environ").read_bytes().split(b"\0")
            is_ours = int(session) in sessions or any(
                each.startswith(wanted) for each in environment
            )
            if is_ours and state != "Z":
                found.append(int(folder.name))
    return found


class Nodes:
    """The head, and the nodes joined to it; a context manager that leaves nothing behind."""

    def __init__(self) -> None:
        self._id = secrets.token_hex(2)
        self._bridge = f"rte{self._id}"
        self.has_namespaces = can_make_namespaces()
        first = 10 if self.has_namespaces else 127
        self._network = f"{first}.{secrets.randbelow(100) + 100}.{secrets.randbelow(250)}"
        self._numbers: dict[str, int] = {}
        self._sessions: dict[str, set[int]] = {}
        self._folder = tempfile.mkdtemp(prefix="rte-")
        self._common = {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
            "RAY_DISABLE_IMPORT_WARNING": "1",
        }

    def __enter__(self) -> "Nodes":
        try:
            self._start_head()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Try all of it: what fails is told, and keeps nothing else from going."""
        for name in [*self._sessions, ""]:
            self.kill(name)
        undo = []
        if self.has_namespaces:
            for name in self._numbers:
                undo += [("link", "del", self._cable(name)), ("netns", "del", self._space(name))]
            undo += [("link", "del", self._bridge)]
        for command in undo:
            try:
                ip(*command)
            except OSError as error:
                print(error, file=sys.stderr)
        shutil.rmtree(self._folder, ignore_errors=True)

    def environment(self, name: str) -> dict[str, str]:
        """For a process of a node, or of another program that ends with the nodes."""
        return {**os.environ, **self._common, MARK: f"{self._id}-{name}."}

    def add(self, name: str, *, cpus: int, resources: str = "{}") -> None:
        """Start a node, or start it again."""
        if name not in self._numbers:
            self._numbers[name] = len(self._numbers) + 2
            if self.has_namespaces:
                self._plug_in(name)
        address = f"{self._network}.{self._numbers[name]}"
        command = [RAY, "start", "--address", self.address, "--node-ip-address", address]
        command += ["--num-cpus", str(cpus), "--resources", resources]
        inside = ["ip", "netns", "exec", self._space(name)] if self.has_namespaces else []
        self._start(name, [*inside, *command])

    def kill(self, name: str) -> None:
        """As if its plug were pulled. Without a name all that has our mark."""
        deadline = time.monotonic() + KILL_S
        while (pids := self._processes(name)) and time.monotonic() < deadline:
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.1)
        self._sessions.pop(name, None)

    def cut(self, name: str, seconds: float) -> None:
        """As if its cable were out for some seconds."""
        if self.has_namespaces:
            ip("link", "set", self._cable(name), "down")
            time.sleep(seconds)
            ip("link", "set", self._cable(name), "up")
            return
        pids = self._processes(name)
        for number, pause_s in ((signal.SIGSTOP, seconds), (signal.SIGCONT, 0.0)):
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
            time.sleep(pause_s)

    def _start_head(self) -> None:
        host = f"{self._network}.1"
        if self.has_namespaces:
            ip("link", "add", self._bridge, "type", "bridge")
            ip("addr", "add", f"{host}/24", "dev", self._bridge)
            ip("link", "set", self._bridge, "up")
        port = free_port(host)
        self.address = f"{host}:{port}"
        command = [RAY, "start", "--head", "--port", str(port), "--node-ip-address", host]
        command += ["--num-cpus=0", "--include-dashboard=false", "--temp-dir", self._folder]
        self._start("head", command)

    def _plug_in(self, name: str) -> None:
        space, cable = self._space(name), self._cable(name)
        ip("netns", "add", space)
        ip("link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", space)
        ip("link", "set", cable, "master", self._bridge, "up")
        inside = ["netns", "exec", space, "ip"]
        ip(*inside, "addr", "add", f"{self._network}.{self._numbers[name]}/24", "dev", "eth0")
        ip(*inside, "link", "set", "eth0", "up")
        ip(*inside, "link", "set", "lo", "up")

    def _start(self, name: str, command: list[str]) -> None:
        command = [*command, "--disable-usage-stats"]
        for _ in range(TRIES):
            with tempfile.TemporaryFile("w+") as said:
                started = subprocess.Popen(
                    command,
                    env=self.environment(name),
                    stdin=subprocess.DEVNULL,
                    stdout=said,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
                self._sessions.setdefault(name, set()).add(started.pid)
                if started.wait() == 0:
                    return
                self.kill(name)  # on a busy machine Ray gives up on itself after 30 s
                said.seek(0)
                last = said.read()[-3000:]
        raise RuntimeError(f"{name} did not start: {last}")

    def _processes(self, name: str) -> list[int]:
        mark = f"{self._id}-{name}." if name else f"{self._id}-"
        return own_processes(mark, self._sessions.get(name, ()))

    def _space(self, name: str) -> str:
        return f"{self._bridge}-{name}"

    def _cable(self, name: str) -> str:
        return f"{self._bridge}-{self._numbers[name]}"
