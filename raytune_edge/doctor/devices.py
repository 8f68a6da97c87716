"""The devices that today's OpenVINO sees on this host, and the hardware that it does not."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from raytune_edge.doctor.finding import Finding
from raytune_edge.errors import RaytuneEdgeError

__all__ = ["cpu_findings", "device_findings", "unseen_hardware"]

_INTEL = "0x8086"


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
