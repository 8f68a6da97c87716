"""What a host gives to a measuring child: each kind of device is claimed in a way of its own."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from raytune_edge.runtimes.spec import DeviceSpec

__all__ = ["Claim", "Launch", "ProcessorClaim"]


@dataclass(frozen=True, kw_only=True)
class Launch:
    """How to start a child.

    Attributes:
        command: Program and arguments.
        environment: Added to the parent's.
        keep_open: File descriptors that the child inherits.
    """

    command: list[str]
    environment: Mapping[str, str]
    keep_open: tuple[int, ...] = ()


class Claim(Protocol):
    """A device of this host, for one child after the other.

    Args:
        core: CPU core for the child alone, where the device is the host's CPU.
        index: Which of the host's devices, where it has several; a stick also by its socket.
    """

    def __init__(
        self, spec: DeviceSpec, *, core: int | None = None, index: int | str = 0
    ) -> None: ...

    def launch(self) -> Launch:
        """Make the device ready for a new child.

        Raises:
            NoDeviceError: If a person has to do something first; the message says what.
        """

    def translated(self, onnx_bytes: bytes) -> bytes | None:
        """The same model in words that the device's runtime knows; None if it is so already.

        Raises:
            UnsupportedModelError: If there are no such words.
        """

    def release(self) -> None:
        """Leave the device to others. May be called again."""


class ProcessorClaim:
    """A device that any number of processes may open, driven by today's OpenVINO."""

    def __init__(self, spec: DeviceSpec, *, core: int | None = None, index: int | str = 0) -> None:
        self._spec = dataclasses.replace(spec, runtime=spec.runtime or "modern")
        self._bound = [] if core is None else ["--core", str(core)]

    def launch(self) -> Launch:
        """Nothing has to be made ready."""
        return Launch(command=self._spec.command(*self._bound), environment=self._spec.environment)

    def translated(self, onnx_bytes: bytes) -> None:
        """Today's OpenVINO knows all words of ONNX."""

    def release(self) -> None:
        """Nothing is kept from others."""
