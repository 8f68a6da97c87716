"""What this host can measure on, what is missing, and the command that mends it."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from raytune_edge.errors import RaytuneEdgeError

__all__ = [
    "Finding",
    "cpu_findings",
    "device_findings",
    "examine",
    "ray_findings",
    "unseen_hardware",
]

_INTEL = "0x8086"
_STICK = {"2485": "not booted", "f63b": "booted"}
_MYRIAD_RUNTIME = (
    "python3.9 -m venv ~/ncs2 && ~/ncs2/bin/pip install openvino==2021.4.2  # the last with MYRIAD"
)


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        level: ``"fail"`` if nothing can be measured like this, ``"warn"`` if figures or comfort
            suffer.
        what: What was found.
        mend: The command that mends it; "" if there is nothing to mend.
    """

    level: Literal["ok", "warn", "fail"]
    what: str
    mend: str = ""


def examine(device: str | None = None, *, resource: str = "ncs") -> Iterator[Finding]:
    """Look at this host; yields as it goes.

    Args:
        device: A device that must be there; None for whichever there are.
        resource: The Ray resource that this host's node should offer.
    """
    seen: dict[str, str] = {}
    yield from device_findings(device, seen)
    yield from unseen_hardware(seen)
    if "CPU" in seen:
        yield from cpu_findings()
    yield from ray_findings(resource)


def device_findings(wanted: str | None, seen: dict[str, str]) -> Iterator[Finding]:
    """The devices of the installed runtime, each with a figure of the reference model.

    Args:
        seen: Gets name and description of each device.
    """
    from raytune_edge.devices.sentinel import TIMING, reference_model
    from raytune_edge.runtimes import Instrument, device_spec

    first = Instrument(device_spec("CPU"))
    try:
        facts = first.hello()
    except RaytuneEdgeError as error:
        mend = "pip install 'openvino>=2024.6'"
        yield Finding(level="fail", what=f"OpenVINO cannot be used: {error}", mend=mend)
        return
    finally:
        first.close()
    seen.update(facts.devices)
    for name, description in seen.items():
        instrument = Instrument(device_spec(name))
        told = f"{name}: {description}, served by {facts.runtime}"
        try:
            p50_ms = instrument.measure(reference_model(), TIMING).latency_p50_ms
            yield Finding(level="ok", what=f"{told}; the reference model takes {p50_ms:.3f} ms")
        except RaytuneEdgeError as error:
            yield Finding(level="fail", what=f"{told}; it does not measure: {error}")
        finally:
            instrument.close()
    if wanted is not None and wanted not in seen:
        what = f"expected the device {wanted!r}, {facts.runtime} sees {sorted(seen)}"
        yield Finding(level="fail", what=what, mend=f"raytune-edge doctor --device {min(seen)}")


def unseen_hardware(seen: Mapping[str, str], root: Path = Path("/")) -> Iterator[Finding]:
    """Hardware of this host that the runtime does not see, or has no driver for."""
    families = {name.partition(".")[0] for name in seen}
    for node in sorted(root.glob("dev/dri/renderD*")):
        vendor = root / "sys/class/drm" / node.name / "device/vendor"
        if "GPU" not in families and vendor.exists() and vendor.read_text().strip() == _INTEL:
            yield _unseen(node, "GPU", "sudo apt install intel-opencl-icd", "render")
    for node in sorted(root.glob("dev/accel/accel*")):
        if "NPU" not in families:
            driver = "https://github.com/intel/linux-npu-driver/releases  # install its packages"
            yield _unseen(node, "NPU", driver, "render")
    for product in sorted(root.glob("sys/bus/usb/devices/*/idProduct")):
        vendor_id = product.with_name("idVendor").read_text().strip()
        state = _STICK.get(product.read_text().strip())
        if vendor_id == "03e7" and state and "MYRIAD" not in families:
            yield Finding(
                level="warn",
                what=f"MYRIAD: a Neural Compute Stick 2 at USB {product.parent.name} ({state}); "
                "today's OpenVINO has no plugin for it",
                mend=_MYRIAD_RUNTIME,
            )


def _unseen(node: Path, family: str, driver: str, group: str) -> Finding:
    if not os.access(node, os.R_OK | os.W_OK):
        mend = f"sudo usermod -aG {group} $USER  # then log in again"
        return Finding(level="warn", what=f"{family}: {node} is there but not allowed", mend=mend)
    what = f"{family}: {node} is there, but OpenVINO does not see it: its driver is missing"
    return Finding(level="warn", what=what, mend=driver)


def cpu_findings(root: Path = Path("/")) -> Iterator[Finding]:
    """What makes figures of this host's CPU unsteady."""
    from raytune_edge.devices.cores import allowed_cores, quiet_cores

    cores = allowed_cores()
    quiet = sorted(cpu for core in quiet_cores(cores, 1) for cpu in core)
    if quiet:
        what = f"{len(cores)} cores; CPU {', '.join(map(str, quiet))} is kept for measuring"
        yield Finding(level="ok", what=what)
    else:
        what = "one core only: measurements wait for quiet, and are flagged where it stays busy"
        yield Finding(level="warn", what=what)
    pressure = root / "proc/pressure/cpu"
    if pressure.exists():
        busy = float(pressure.read_text().split("avg10=")[1].split()[0])
        if busy > 10:
            what = f"tasks waited for a CPU in {busy:.0f} % of the last 10 s"
            yield Finding(level="warn", what=what, mend="top  # and end what need not run")
    else:
        what = "the kernel does not tell the pressure on the CPU (no /proc/pressure/cpu)"
        yield Finding(level="warn", what=what, mend="add psi=1 to the kernel's command line")
    governor = root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"
    if governor.exists() and (name := governor.read_text().strip()) != "performance":
        what = f"the CPU's frequency follows its load (governor {name!r}), and so do latencies"
        yield Finding(level="warn", what=what, mend="sudo cpupower frequency-set -g performance")


def ray_findings(resource: str) -> Iterator[Finding]:
    """Whether this host's Ray node offers the resource."""
    import ray

    from raytune_edge.devices.cluster import units_in_cluster

    offer = f"--resources='{{\"{resource}\": 1}}'"
    was_connected = ray.is_initialized()
    if not was_connected and (unreachable := _unreachable(os.environ.get("RAY_ADDRESS", ""))):
        what = f"RAY_ADDRESS names a cluster that does not answer: {unreachable}"
        yield Finding(level="warn", what=what, mend="unset RAY_ADDRESS  # or start that cluster")
        return
    try:
        if not was_connected:
            ray.init(address="auto", configure_logging=False, log_to_driver=False)
    except ConnectionError:
        yield Finding(
            level="warn",
            what=f"no Ray node runs on this host (Ray {ray.__version__} is installed)",
            mend=f"ray start --address=HEAD:6379 {offer}  # --head in place of --address alone",
        )
        return
    try:
        here = ray.get_runtime_context().get_node_id()
        units = [unit for unit in units_in_cluster(resource) if unit.node_id == here]
        address = ray.get_runtime_context().gcs_address
        if units:
            what = f"this host's Ray node offers {resource}: {len(units)} to {address}"
            yield Finding(level="ok", what=what)
        else:
            what = f"this host's Ray node does not offer the resource {resource!r} to {address}"
            yield Finding(level="warn", what=what, mend=f"ray start --address={address} {offer}")
    finally:
        if not was_connected:
            ray.shutdown()


def _unreachable(address: str) -> str:
    """Why nobody answers at ``host:port``; "" if somebody does. Ray itself tries for minutes."""
    host, _, port = address.rpartition(":")
    if not (host and port.isdigit()):
        return ""
    try:
        socket.create_connection((host, int(port)), timeout=5.0).close()
    except OSError as error:
        return f"{address}: {error}"
    return ""
