"""What this host can measure on, what is missing, and the command that mends it."""

from __future__ import annotations

from collections.abc import Iterator

from raytune_edge.doctor.cluster import ray_findings
from raytune_edge.doctor.devices import cpu_findings, device_findings, unseen_hardware
from raytune_edge.doctor.finding import Finding
from raytune_edge.doctor.sticks import STICK, stick_findings
from raytune_edge.runtimes import DeviceSpec
from raytune_edge.runtimes.ncs2.sticks import find_sticks

__all__ = ["Finding", "examine"]


def examine(device: str | None = None, *, resource: str = "ncs") -> Iterator[Finding]:
    """Look at this host; yields as it goes.

    Args:
        device: A device that must be there; None for whichever there are.
        resource: The Ray resource that this host's node should offer.
    """
    seen: dict[str, str] = {}
    sticks = find_sticks()
    if device != STICK:
        yield from device_findings(device, seen)
        yield from unseen_hardware(seen)
    if "CPU" in seen:
        yield from cpu_findings()
    if sticks or device == STICK:
        yield from stick_findings(DeviceSpec(device=STICK))
    yield from ray_findings(resource, units=len(sticks))
