"""The devices that today's OpenVINO sees on this host, and the hardware that it does not."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from raytune_edge.devices.by_hand import instrument_for
from raytune_edge.doctor.finding import Finding
from raytune_edge.errors import RaytuneEdgeError

__all__ = ["cpu_findings", "device_findings", "unseen_hardware"]

_INTEL = "0x8086"
_OPENVINO = "pip install --force-reinstall 'openvino>=2024.6'"
_DRIVERS = {
    "GPU": "sudo apt install --reinstall intel-opencl-icd",
    "NPU": "https://github.com/intel/linux-npu-driver/releases  # install its packages",
}
"""What OpenVINO needs beside itself, by the family of the device."""


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
        yield Finding(level="fail", what=f"OpenVINO cannot be used: {error}", mend=_OPENVINO)
        return
    finally:
        first.close()
    seen.update(facts.devices)
    for name, description in seen.items():
        told = f"{name}: {description}, served by {facts.runtime}"
        try:
            with instrument_for(name) as (instrument, doubt):
                p50_ms = instrument.measure(reference_model(), TIMING).latency_p50_ms
        except RaytuneEdgeError as error:
            what = f"{told}; it does not measure: {error}"
            yield Finding(level="fail", what=what, mend=_DRIVERS.get(_family(name), _OPENVINO))
        else:
            what = f"{told}; the reference model takes {p50_ms:.3f} ms{doubt and f'; {doubt}'}"
            yield Finding(level="ok", what=what)
    if wanted is not None and not _is_there(wanted, seen):
        what = f"expected the device {wanted!r}, {facts.runtime} sees {sorted(seen)}"
        yield Finding(level="fail", what=what, mend=_mend_missing(wanted, seen))


def _family(device: str) -> str:
    return device.partition(".")[0]


def _is_there(wanted: str, seen: Mapping[str, str]) -> bool:
    """As the child says: ``"GPU"`` is the first of GPU.0 and GPU.1."""
    return wanted in seen or wanted in map(_family, seen)


def _mend_missing(wanted: str, seen: Mapping[str, str]) -> str:
    family = _family(wanted)
    if family in _DRIVERS and family not in map(_family, seen):
        return f"{_DRIVERS[family]}  # if this host has one"
    return f"name one that is there: {', '.join(sorted(seen))}"


def unseen_hardware(seen: Mapping[str, str], root: Path = Path("/")) -> Iterator[Finding]:
    """Hardware of this host that the runtime does not see, or has no driver for."""
    families = set(map(_family, seen))
    for node in sorted(root.glob("dev/dri/renderD*")):
        vendor = root / "sys/class/drm" / node.name / "device/vendor"
        if "GPU" not in families and vendor.exists() and vendor.read_text().strip() == _INTEL:
            yield _unseen(node, "GPU")
    for node in sorted(root.glob("dev/accel/accel*")):
        if "NPU" not in families:
            yield _unseen(node, "NPU")


def _unseen(node: Path, family: str) -> Finding:
    if not os.access(node, os.R_OK | os.W_OK):
        mend = "sudo usermod -aG render $USER  # then log in again"
        return Finding(level="warn", what=f"{family}: {node} is there but not allowed", mend=mend)
    what = f"{family}: {node} is there, but OpenVINO does not see it: its driver is missing"
    return Finding(level="warn", what=what, mend=_DRIVERS[family])


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
