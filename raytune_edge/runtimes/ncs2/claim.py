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
    ParityError,
    UnsupportedModelError,
)
from raytune_edge.runtimes.claims import Launch
from raytune_edge.runtimes.locks import Lock, holders, lock_file, take
from raytune_edge.runtimes.ncs2.environment import legacy_python
from raytune_edge.runtimes.ncs2.sticks import (
    Stick,
    Trouble,
    find_sticks,
    lock_name,
    mutex_trouble,
    no_stick,
    node_trouble,
    reset,
)
from raytune_edge.runtimes.spec import DeviceSpec

__all__ = ["StickClaim", "replug"]

logger = logging.getLogger(__name__)

_LOOK_S = 0.1
_UDEV_S = 5.0
"""A stick that comes to the bus belongs to root until udev has done its work."""


class StickClaim:
    """One of this host's sticks, for one child after the other.

    A stick belongs to one process and cannot be opened while it is booted. So before each child:

    1. Choose a stick that nobody has locked, or stay with the one chosen before; if that left the
       bus, wait for its return.
    2. If it is booted, wait until it is back in its boot loader: the process before it may just
       have closed it, and the firmware ends itself when nobody talks to it any more.
    3. If it stays booted and a child of this claim had booted it, reset its USB port, where that is
       permitted, and wait again. Who else has it may be a process that cannot be seen here, such as
       one of another container.
    4. If it stays so, say what a person can do.

    Args:
        index: Which of several sticks to try first, by number; by socket, the only one to take.
    """

    def __init__(self, spec: DeviceSpec, *, core: int | None = None, index: int | str = 0) -> None:
        self._spec = dataclasses.replace(spec, runtime=spec.runtime or "legacy")
        self._root = Path(spec.root)
        self._index = index
        self._socket = ""
        self._ours = False  # whether a child of this claim may have booted the stick
        self._lock: Lock | None = None

    def launch(self) -> Launch:
        """Make a stick ready for a new child.

        Raises:
            NoRuntimeError: If the host lacks the legacy environment.
            NoDeviceError: If it has no stick that can be used; the message says why.
        """
        stick = self._held() or self._choose()
        if trouble := mutex_trouble(self._root):
            raise _unusable(stick, trouble)
        stick = self._permitted(stick)
        spec = dataclasses.replace(self._spec, python=self._spec.python or legacy_python())
        stick = self._permitted(self._unbooted(stick))  # it may have come to the bus anew
        assert self._lock is not None
        self._ours = True
        return Launch(
            command=spec.command("--stick", ",".join(map(str, stick.folders))),
            environment=spec.environment,
            keep_open=(self._lock.descriptor,),
        )

    def translated(self, onnx_bytes: bytes) -> bytes | None:
        """The model in opset 13, without what the stick lacks; None if it is so already.

        Raises:
            UnsupportedModelError: If an operator cannot be put in older words, or nobody can tell
                whether they say the same.
        """
        from raytune_edge.lowering import lower  # brings ONNX, which most models don't need here

        try:
            lowered = lower(onnx_bytes)
        except (LoweringError, ParityError) as error:
            raise UnsupportedModelError(str(error)) from error
        except ExportError:
            return None  # no whole ONNX model: the runtime has said so
        return None if lowered == onnx_bytes else lowered

    def release(self) -> None:
        """Leave the stick to others. May be called again."""
        if self._lock is not None:
            self._lock.release()
        self._lock, self._socket, self._ours = None, "", False

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
        if not (known := self._in_order()):
            raise NoDeviceError(str(no_stick()))
        deadline = time.monotonic() + self._spec.patience_s
        while True:
            denied = 0
            for stick in self._in_order():
                try:
                    if lock := take(lock_name(stick), self._root):
                        self._lock, self._socket = lock, stick.socket
                        return stick
                except NoDeviceError:  # no reason to leave the other sticks idle
                    denied += 1
            if denied == len(known) or time.monotonic() >= deadline:
                break
            time.sleep(_LOOK_S)  # a child whose parent was killed takes a moment to end
        raise NoDeviceError(
            f"all {len(known)} sticks of {socket.gethostname()} are in use: "
            f"{'; '.join(self._user(stick) for stick in known)}; let its Ray node offer as many "
            "units as it has sticks"
        )

    def _in_order(self) -> list[Stick]:
        """The sticks that may be taken, the one to try first in front."""
        sticks = find_sticks(self._root)
        if isinstance(self._index, str):
            return [stick for stick in sticks if stick.socket == self._index]
        return sticks[self._index :] + sticks[: self._index]

    def _user(self, stick: Stick) -> str:
        """Who has the stick, or why nobody can tell."""
        name = lock_name(stick)
        try:
            if lock := take(name, self._root):
                lock.release()
                return f"{stick.socket} was let go just now"
        except NoDeviceError as error:
            return f"{stick.socket}: {error}"
        users = ", ".join(map(str, holders(lock_file(name, self._root))))
        return f"{stick.socket} by process {users or 'of another user or container'}"

    def _permitted(self, stick: Stick) -> Stick:
        """The stick as it shows once this user may open it.

        Raises:
            NoDeviceError: If he may not.
        """
        trouble = node_trouble(stick)
        if trouble is None:
            return stick
        patience_s = min(_UDEV_S, self._spec.patience_s)
        if found := self._wait_for(lambda stick: node_trouble(stick) is None, patience_s):
            return found
        raise _unusable(stick, trouble)

    def _unbooted(self, stick: Stick) -> Stick:
        if not stick.booted:
            return stick
        if users := holders(stick.node):
            told = ", ".join(map(str, users))
            raise NoDeviceError(f"{stick} is in use by process {told}, which is none of ours")
        if found := self._wait_for(lambda stick: not stick.booted):
            return found
        if not self._ours:
            raise NoDeviceError(
                f"{stick} stays booted, and its process is gone or does not show here, perhaps "
                "one of another container: this unit did not boot it, so it is not reset; end who "
                f"has it, or {replug(stick)}"
            )
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

    def _wait_for(
        self, wanted: Callable[[Stick], bool], patience_s: float | None = None
    ) -> Stick | None:
        deadline = time.monotonic() + (self._spec.patience_s if patience_s is None else patience_s)
        while True:
            for stick in find_sticks(self._root):
                if stick.socket == self._socket and wanted(stick):
                    return stick
            if time.monotonic() >= deadline:
                return None
            time.sleep(_LOOK_S)


def _unusable(stick: Stick, trouble: Trouble) -> NoDeviceError:
    return NoDeviceError(f"{stick} of {socket.gethostname()} cannot be used: {trouble}")


def replug(stick: Stick) -> str:
    """What a person can do with a stick that no software brings back."""
    bus, _, port = stick.socket.rpartition("." if "." in stick.socket else "-")
    return f"replug it, or: sudo uhubctl -l {bus} -p {port} -a cycle"
