"""The Neural Compute Sticks of this host, and all that must be right for them to measure."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from raytune_edge.doctor.finding import Finding
from raytune_edge.errors import NoDeviceError, RaytuneEdgeError
from raytune_edge.runtimes import DeviceSpec, Instrument
from raytune_edge.runtimes.locks import holders, lock_file, take
from raytune_edge.runtimes.ncs2.claim import replug
from raytune_edge.runtimes.ncs2.environment import look
from raytune_edge.runtimes.ncs2.sticks import (
    Stick,
    find_sticks,
    lock_name,
    mutex_trouble,
    no_stick,
    node_trouble,
)

__all__ = ["STICK", "stick_findings"]

STICK = "MYRIAD"
_ANEW = "raytune-edge ncs2 install --path DIR  # a new one; it ends with how that is found"
_USB3_MBPS = 5000
_USB3_MEND = "plug it into a USB 3 socket (blue, or marked SS), with no USB 2 hub or cable between"


def stick_findings(spec: DeviceSpec) -> Iterator[Finding]:
    """Runtime, compiler, mutex and sticks; the sticks that nobody uses measure a small model.

    Args:
        spec: Of the sticks.
    """
    root = Path(spec.root)
    works = True
    for finding in (*_runtime(spec), *_mutex(root)):
        works &= finding.level == "ok"
        yield finding
    sticks = find_sticks(root)
    if not sticks:
        missing = no_stick(doctor="")
        yield _failed(missing.what, missing.mend)
    for stick in sticks:
        yield from _stick(stick, spec, works)


def _runtime(spec: DeviceSpec) -> Iterator[Finding]:
    if spec.python:
        yield Finding(level="ok", what=f"{STICK}: served by {spec.python}")
        return
    try:
        found = look()
    except RaytuneEdgeError as error:
        yield _failed(f"{STICK}: {error}", "raytune-edge ncs2 install")
        return
    yield Finding(
        level="ok", what=f"{STICK}: served by OpenVINO {found.openvino} on Python {found.python}"
    )
    if not found.libusb:
        mend = "sudo apt install libusb-1.0-0"
        yield _failed(f"{STICK}: its runtime needs libusb-1.0", mend)
        return
    yield _compiles()


def _compiles() -> Finding:
    """Whether the compiler, which needs no stick, takes a small model."""
    from raytune_edge.devices.sentinel import reference_model
    from raytune_edge.ncs2 import check

    try:
        report = check(reference_model())
    except RaytuneEdgeError as error:
        return _failed(f"{STICK}: its compiler does not work: {error}", _ANEW)
    if not report.ok:
        return _failed(f"{STICK}: its compiler refuses the reference model: {report.reason}", _ANEW)
    what = f"{STICK}: its compiler takes the reference model, in {report.compile_s:.2f} s"
    return Finding(level="ok", what=what)


def _mutex(root: Path) -> Iterator[Finding]:
    if trouble := mutex_trouble(root):
        level: Literal["warn", "fail"] = "warn" if trouble.in_use else "fail"
        yield Finding(level=level, what=f"{STICK}: {trouble.what}", mend=trouble.mend)


def _stick(stick: Stick, spec: DeviceSpec, works: bool) -> Iterator[Finding]:
    told = f"{STICK}: a {stick}"
    if trouble := node_trouble(stick):
        yield _failed(f"{told}; {trouble.what}", trouble.mend)
    else:
        yield _locked(told, stick, Path(spec.root)) or _tried(told, stick, spec, works)
    yield from _link(stick)


def _locked(told: str, stick: Stick, root: Path) -> Finding | None:
    """Who has the stick's lock, or keeps others from it; None if it is free."""
    name = lock_name(stick)
    try:
        lock = take(name, root)
    except NoDeviceError as error:
        why, _, mend = str(error).rpartition("; ")
        return _failed(f"{told}; {why}", mend)
    if lock is None:
        users = ", ".join(map(str, holders(lock_file(name, root)))) or "another user"
        return Finding(level="ok", what=f"{told}; in use by the measuring process {users}")
    lock.release()
    return None


def _tried(told: str, stick: Stick, spec: DeviceSpec, works: bool) -> Finding:
    if stick.booted and (users := ", ".join(map(str, holders(stick.node)))):
        return _failed(f"{told}; in use by process {users}", f"kill {users}")
    if works:
        return _measured(told, stick, spec)
    return Finding(level="warn", what=f"{told}; not tried, for the reason above")


def _measured(told: str, stick: Stick, spec: DeviceSpec) -> Finding:
    from raytune_edge.devices.sentinel import TIMING, reference_model

    instrument = Instrument(spec, index=stick.socket)
    try:
        record = instrument.measure(reference_model(), TIMING)
    except RaytuneEdgeError as error:
        return _failed(f"{told}; it does not measure: {error}", replug(stick))
    finally:
        instrument.close()
    what = (
        f"{told}; the reference model takes {record.latency_p50_ms:.3f} ms at "
        f"{record.temperature_c:.0f} °C, USB at {record.usb_mbps} Mbit/s"
    )
    if (record.usb_mbps or 0) < _USB3_MBPS:
        return Finding(level="warn", what=f"{what}: transfers count more", mend=_USB3_MEND)
    return Finding(level="ok", what=what)


def _link(stick: Stick) -> Iterator[Finding]:
    """A stick that waits for its firmware is slow in any socket; the socket tells more."""
    if stick.booted and stick.speed_mbps < _USB3_MBPS:
        what = f"{STICK}: the stick at USB {stick.socket} is linked at USB 2's speed"
        yield Finding(level="warn", what=f"{what}: transfers count more", mend=_USB3_MEND)
    elif not stick.booted and len(stick.folders) == 1:
        what = f"{STICK}: the socket of the stick at USB {stick.socket} shows no USB 3 side"
        yield Finding(level="warn", what=what, mend=_USB3_MEND)


def _failed(what: str, mend: str) -> Finding:
    return Finding(level="fail", what=what, mend=mend)
