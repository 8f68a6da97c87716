"""Which device is asked for, as it travels to the host that has it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["DeviceSpec", "device_spec"]

_WORKER = Path(__file__).parent / "worker"


@dataclass(frozen=True, kw_only=True)
class DeviceSpec:
    """Which device, and what drives it; what is left open, the device's host decides.

    Attributes:
        device: The runtime's name for it, such as ``"CPU"``.
        runtime: The module in ``runtimes/worker`` that drives it; "" is the host's choice.
        python: Interpreter of the child; "" is the host's choice.
        option: The runtime's own.
        environment: Added to the child's environment.
        hints: Makes more fields of a request from the model, for runtimes that ask for them.
        root: Where the host's ``/sys``, ``/dev`` and ``/tmp`` are; tests make one up.
        patience_s: How long a USB stick may take to come back to the bus after it was let go.
    """

    device: str
    runtime: str = ""
    python: str = ""
    option: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    hints: Callable[[bytes], Mapping[str, Any]] | None = field(default=None, compare=False)
    root: str = "/"
    patience_s: float = 15.0

    def command(self, *more: str) -> list[str]:
        """The child's command line, with ``more`` arguments."""
        return [
            *(self.python or sys.executable, str(_WORKER)),
            *("--device", self.device, "--runtime", self.runtime, "--option", self.option),
            *more,
        ]


def device_spec(device: object) -> DeviceSpec:
    """The spec of ``device``: a name such as ``"CPU"``, a spec, or what has a ``spec()``.

    Raises:
        ValueError: If it is none of these.
    """
    if isinstance(device, DeviceSpec):
        return device
    if isinstance(device, str) and device:
        return DeviceSpec(device=device)
    made = device.spec() if hasattr(device, "spec") else None
    if isinstance(made, DeviceSpec):
        return made
    raise ValueError(f"expected a device's name, a DeviceSpec or a FakeDevice, got {device!r}")
