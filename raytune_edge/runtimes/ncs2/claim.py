"""A stick for a measuring child: chosen on its host, locked, brought back to its boot loader."""

from __future__ import annotations

import dataclasses
import logging
import socket
import time
from collections.abc import Callable
from pathlib import Path

from raytune_edge.errors import (
    ExportError,
    LoweringError,
    NoDeviceError,
    UnsupportedModelError,
)
from raytune_edge.runtimes.claims import Launch
from raytune_edge.runtimes.locks import Lock, holders, take
from raytune_edge.runtimes.ncs2.environment import legacy_python
from raytune_edge.runtimes.ncs2.sticks import (
    Stick,
    find_sticks,
    lock_name,
    mutex_trouble,
    node_trouble,
    reset,
)
from raytune_edge.runtimes.spec import DeviceSpec

__all__ = ["StickClaim", "no_stick", "replug"]

logger = logging.getLogger(__name__)

_LOOK_S = 0.1


class StickClaim:
    """One of this host's sticks, for one child after the other.

    A stick belongs to one process and cannot be opened while it is booted. So before each child:

    1. Choose a stick that nobody has locked, or stay with the one chosen before; if that left the
       bus, wait for its return.
    2. If it is booted, wait until it is back in its boot loader: the process before it may just
       have closed it, and the firmware ends itself when nobody talks to it any more.
    3. If it stays booted, reset its USB port, where that is permitted, and wait again.
    4. If it stays so, say what a person can do.

    Args:
        index: Which of several sticks to try first.
    """

    def __init__(self, spec: DeviceSpec, *, core: int | None = None, index: int = 0) -> None:
        self._spec = dataclasses.replace(spec, runtime=spec.runtime or "legacy")
        self._root = Path(spec.root)
        self._index = index
        self._socket = ""
        self._lock: Lock | None = None

    def launch(self) -> Launch:
        """Make a stick ready for a new child.

        Raises:
            NoRuntimeError: If the host lacks the legacy environment.
            NoDeviceError: If it has no stick that can be used; the message says why.
        """
        stick = self._held() or self._choose()
        if trouble := mutex_trouble(self._root) or node_trouble(stick):
            raise NoDeviceError(f"{stick} of {socket.gethostname()} cannot be used: {trouble}")
        spec = dataclasses.replace(self._spec, python=self._spec.python or legacy_python())
        stick = self._unbooted(stick)
        assert self._lock is not None
        return Launch(
            command=spec.command("--stick", ",".join(map(str, stick.folders))),
            environment=spec.environment,
            keep_open=(self._lock.descriptor,),
        )

    def translated(self, onnx_bytes: bytes | memoryview) -> bytes | None:
        """The model in opset 13, without what the stick lacks; None if it is so already.

        Raises:
            UnsupportedModelError: If an operator cannot be put in older words.
        """
        from raytune_edge.lowering import lower  # brings ONNX, which most models don't need here

        try:
            lowered = lower(bytes(onnx_bytes))
        except LoweringError as error:
            raise UnsupportedModelError(str(error)) from error
        except ExportError:
            return None  # no whole ONNX model: the runtime has said so
        return None if lowered == onnx_bytes else lowered

    def release(self) -> None:
        """Leave the stick to others. May be called again."""
        if self._lock is not None:
            self._lock.release()
        self._lock, self._socket = None, ""

    def _held(self) -> Stick | None:
        """The stick that was chosen before; None if there is none, or another one takes its place.

        Raises:
            NoDeviceError: If it left the bus for good and there is no other.
        """
        if not self._socket:
            return None
        if stick := self._wait_for(lambda stick: True):
            return stick
        lost = f"the stick at USB {self._socket} left the bus and did not come back"
        self.release()
        logger.warning("%s", lost)
        try:
            return self._choose()
        except NoDeviceError as error:
            raise NoDeviceError(f"{lost}; {error}") from error

    def _choose(self) -> Stick:
        if not (known := find_sticks(self._root)):
            raise NoDeviceError(no_stick())
        deadline = time.monotonic() + self._spec.patience_s
        while True:
            sticks = find_sticks(self._root)
            for stick in sticks[self._index :] + sticks[: self._index]:
                if lock := take(lock_name(stick), self._root):
                    self._lock, self._socket = lock, stick.socket
                    return stick
            if time.monotonic() >= deadline:
                break
            time.sleep(_LOOK_S)  # a child whose parent was killed takes a moment to end
        raise NoDeviceError(
            f"all {len(known)} sticks of {socket.gethostname()} are in use, at USB "
            f"{', '.join(stick.socket for stick in known)}; let its Ray node offer as many units "
            "as it has sticks"
        )

    def _unbooted(self, stick: Stick) -> Stick:
        if not stick.booted:
            return stick
        if users := holders(stick.node):
            told = ", ".join(map(str, users))
            raise NoDeviceError(f"{stick} is in use by process {told}, which is none of ours")
        if found := self._wait_for(lambda stick: not stick.booted):
            return found
        try:
            logger.warning("%s is left over from a process that is gone; resetting it", stick)
            reset(stick)
            why = "resetting its port did not help"
        except OSError as error:
            why = f"its port cannot be reset ({error.strerror})"
        else:
            if found := self._wait_for(lambda stick: not stick.booted):
                return found
        raise NoDeviceError(f"{stick} stays booted, and {why}; {replug(stick)}")

    def _wait_for(self, wanted: Callable[[Stick], bool]) -> Stick | None:
        deadline = time.monotonic() + self._spec.patience_s
        while True:
            for stick in find_sticks(self._root):
                if stick.socket == self._socket and wanted(stick):
                    return stick
            if time.monotonic() >= deadline:
                return None
            time.sleep(_LOOK_S)


def no_stick() -> str:
    """What to look at where no stick shows."""
    return (
        f"expected a Neural Compute Stick 2 on {socket.gethostname()}, USB shows none; look with "
        "'lsusb -d 03e7:' (2485 before it is booted, f63b after) and 'raytune-edge doctor --device "
        "MYRIAD', and at socket and cable (USB 3), power, udev rule, and in a virtual machine that "
        "both ids are passed through"
    )


def replug(stick: Stick) -> str:
    """What a person can do with a stick that no software brings back."""
    bus, _, port = stick.socket.rpartition("." if "." in stick.socket else "-")
    return f"replug it, or: sudo uhubctl -l {bus} -p {port} -a cycle"
