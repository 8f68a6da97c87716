"""`ray up cluster/onprem.yaml` for real, on three hosts made of one; some minutes, so run by hand.

    sudo apt install openssh-server rsync
    sudo unshare --pid --net --mount --uts --fork --mount-proc --kill-child \\
        .venv/bin/python tests/integration/ray_up.py

Each host is an sshd on a loopback address of its own, with its own processes, home, /tmp and host
name: the launcher's `ray stop`, which ends every Ray that it sees, sees none but its host's. All
of it is within namespaces that end with this script. Tried are `ray up`, with node-setup.sh that
installs the package on each host (a stand-in for uv takes what the package needs from this
checkout's environment, so that no registry is asked), `ray exec` of the smoke example, and
onprem-down.sh. Prints one JSON object: what was seen; ends with 1 if that is not what it should be.
"""

import json
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import yaml

import raytune_edge

ROOT = Path(__file__).parents[2]
VENV = Path(sys.prefix)
INSTALLED = "raytune-edge/venv/lib/python3.*/site-packages/raytune_edge"
HOSTS = {"head": "127.0.0.2", "trainer": "127.0.0.3", "stickhost": "127.0.0.4"}
UV = f"""#!/usr/bin/env bash
set -e
venv=$HOME/raytune-edge/venv
if [ "$1" = venv ]; then
    rm -rf "$venv"
    "{VENV}/bin/python" -m venv --without-pip "$venv"
    echo "{sysconfig.get_path("purelib")}" >"$(echo "$venv"/lib/python3.*/site-packages)/needed.pth"
    sed "1s|.*|#!$venv/bin/python|" "{VENV}/bin/ray" >"$venv/bin/ray"
    chmod +x "$venv/bin/ray"
else
    "{VENV}/bin/python" -m pip --quiet --python "$venv/bin/python" install \\
        --no-index --no-deps "${{@: -1}}"
fi
"""
HOST_SCRIPT = """
set -e
hostname $1
mount --bind $2/tmp /tmp
mount --bind $2/passwd /etc/passwd
mount --bind $2/hosts /etc/hosts
mkdir -p /run/sshd
exec /usr/sbin/sshd -D -e -f $2/sshd_config
"""
SMOKE = (
    "python raytune-edge/examples/cifar10_resnet56_cluster.py --smoke-test --address auto "
    "--storage {}/storage"
)


def run(*command: str | Path, limit_s: float = 400.0) -> str:
    """Its standard output and error, as lines come also on ours; raises if it fails."""
    print(f"$ {' '.join(map(str, command))}", file=sys.stderr, flush=True)
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    with subprocess.Popen(command, cwd=ROOT, text=True, **pipes) as process:
        clock = threading.Timer(limit_s, process.kill)
        clock.start()
        lines = []
        for line in process.stdout:
            print(line, end="", file=sys.stderr, flush=True)
            lines.append(line)
        clock.cancel()
    if process.returncode:
        raise RuntimeError(f"{command} ended with {process.returncode}")
    return "".join(lines)


def start_host(name: str, folder: Path, public_key: str) -> subprocess.Popen[bytes]:
    """An sshd in namespaces of its own."""
    home = folder / "home"
    uv = home / "raytune-edge" / "uv" / "bin" / "uv"
    uv.parent.mkdir(parents=True)
    uv.write_text(UV)
    uv.chmod(0o755)
    told = "export NCS_UNITS=1 DEVICE=CPU\n" if name == "stickhost" else ""
    (home / ".bashrc").write_text(told)
    (folder / "tmp").mkdir(mode=0o777)
    (folder / "passwd").write_text(
        f"root:x:0:0::{home}:/bin/bash\nsshd:x:100:65534::/:/bin/false\n"
    )
    (folder / "hosts").write_text(f"{HOSTS[name]} {name}\n127.0.0.1 localhost\n")
    (folder / "authorized_keys").write_text(public_key)
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / "host_key")
    (folder / "sshd_config").write_text(
        f"ListenAddress {HOSTS[name]}:22\nHostKey {folder}/host_key\nPidFile none\n"
        f"AuthorizedKeysFile {folder}/authorized_keys\nPermitRootLogin prohibit-password\n"
        "PasswordAuthentication no\nUsePAM no\nStrictModes no\nAcceptEnv LANG\n"
    )
    namespaces = ["--pid", "--mount", "--uts", "--fork", "--mount-proc", "--kill-child"]
    script = ["bash", "-c", HOST_SCRIPT, "host", name, str(folder)]
    return subprocess.Popen(["unshare", *namespaces, *script], stderr=subprocess.DEVNULL)


def processes() -> list[str]:
    """Commands of Ray's processes within our namespaces."""
    rows = subprocess.check_output(["ps", "-eo", "args="], text=True).splitlines()
    return [row for row in rows if "site-packages/ray/" in row or row.startswith("ray::")]


def wait_for_the_end(limit_s: float) -> float:
    """Seconds until no process of Ray's is left."""
    start = time.monotonic()
    while processes() and time.monotonic() - start < limit_s:
        time.sleep(0.5)
    return round(time.monotonic() - start, 1)


def cluster_file(folder: Path) -> Path:
    """The YAML as it is in the repository, filled in."""
    config = yaml.safe_load((ROOT / "cluster/onprem.yaml").read_text())
    head, *workers = HOSTS.values()
    config["provider"] |= {"head_ip": head, "worker_ips": workers}
    config["auth"] = {"ssh_user": "root", "ssh_private_key": str(folder / "key")}
    run(VENV / "bin" / "python", "-m", "build", "--wheel", "--no-isolation", "-o", folder / "dist")
    mounts = config["file_mounts"]
    mounts |= {
        "~/raytune-edge/dist": str(folder / "dist"),
        "~/.ray/auth_token": str(folder / "token"),
    }
    setup = f"{platform.python_version()} {raytune_edge.__version__}"
    config["setup_commands"] = [
        f"{line.rsplit(' ', 2)[0]} {setup}" for line in config["setup_commands"]
    ]
    path = folder / "onprem.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


def main() -> int:
    seen: dict[str, Any] = {}
    run("ip", "link", "set", "lo", "up")
    folder = Path(tempfile.mkdtemp(prefix="ray_up-", dir="/var/tmp"))  # a host has its own /tmp
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / "key")
    (folder / "token").write_text("a-secret-of-this-run-alone" * 2)
    key = (folder / "key.pub").read_text()
    hosts = [start_host(name, folder / name, key) for name in HOSTS]
    (folder / "tmp").mkdir()
    run("mount", "--bind", folder / "tmp", "/tmp")  # the launcher keeps its state there
    os.environ["HOME"] = str(folder)
    os.environ["RAY_AUTH_MODE"] = "token"
    os.environ["RAY_AUTH_TOKEN_PATH"] = str(folder / "token")
    os.environ["PATH"] = f"{VENV}/bin:{os.environ['PATH']}"
    ray = VENV / "bin" / "ray"
    path = cluster_file(folder)
    try:
        start = time.monotonic()
        run(ray, "up", "--yes", path)
        seen["up_s"] = round(time.monotonic() - start, 1)
        told = run(ray, "exec", path, NODES).splitlines()
        seen["nodes"] = sorted(line for line in told if line.startswith("NODE "))
        seen["all_joined_s"] = round(time.monotonic() - start, 1)
        start = time.monotonic()
        told = run(ray, "exec", path, SMOKE.format(folder)).splitlines()
        seen["smoke"] = [line for line in told if line.startswith(("measuring on", "results:"))]
        seen["smoke_s"] = round(time.monotonic() - start, 1)
        seen["running"] = len(processes())
        seen["installed"] = sorted(
            name for name in HOSTS if list((folder / name / "home").glob(INSTALLED))
        )
        start = time.monotonic()
        run(ROOT / "cluster/onprem-down.sh", path)
        seen["down_s"] = round(time.monotonic() - start, 1)
        seen["gone_after_s"] = wait_for_the_end(30.0)
        seen["left"] = [row[:150] for row in processes()]
    finally:
        for host in hosts:
            host.kill()
            host.wait()
        shutil.rmtree(folder, ignore_errors=True)
    print(json.dumps(seen, indent=2))
    return int(not is_well(seen))


def is_well(seen: dict[str, Any]) -> bool:
    """Three nodes, of which one has a device and trains nobody; a search on them; nothing left."""
    offered = {host: (cpus > 0, units) for _, host, _, cpus, units in map(split, seen["nodes"])}
    return (
        offered == {"head": (True, 0), "trainer": (True, 0), "stickhost": (False, 1)}
        and seen["installed"] == sorted(HOSTS)
        and any(line.startswith("results:") for line in seen["smoke"])
        and not seen["left"]
    )


def split(line: str) -> tuple[str, str, str, float, float]:
    title, host, alive, cpus, units = line.split()
    return title, host, alive, float(cpus), float(units)


NODES = """python -c '
import ray, time
ray.init(address="auto", logging_level="ERROR", log_to_driver=False)
deadline = time.monotonic() + 90
while len(ray.nodes()) < 3 and time.monotonic() < deadline:
    time.sleep(0.5)
for node in ray.nodes():
    offered = [node["Resources"].get(name, 0) for name in ("CPU", "ncs")]
    print("NODE", node["NodeManagerHostname"], node["Alive"], *offered)
'"""


if __name__ == "__main__":
    sys.exit(main())
