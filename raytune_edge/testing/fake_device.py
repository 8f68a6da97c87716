"""A device that isn't there, with faults by script."""

from __future__ import annotations

import atexit
import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from raytune_edge.runtimes import DeviceSpec

__all__ = ["FakeDevice", "Fault"]

Fault = Literal[
    "ok",
    "die",
    "segfault",
    "hang",
    "garbage",
    "replay",
    "error",
    "unsupported",
    "vanish",
    "lost",
    "stuck",
    "mutex",
]
"""What happens to one measurement: ``die`` and ``segfault`` end the child, ``hang`` never answers,
``garbage`` prints what is no answer, ``replay`` answers with another request's nonce and hash,
``error`` is a sporadic error of the device, ``unsupported`` refuses the model.

And to sticks: with ``vanish`` it leaves the bus and comes back, with ``lost`` it does not; with
``stuck`` the child ends and the stick stays booted; with ``mutex`` the runtime ends the child,
because another user has the file that it locks."""

_OF_STICKS = {"vanish", "lost", "stuck", "mutex"}


@dataclass(frozen=True, kw_only=True)
class FakeDevice:
    """A device for `connect_devices` that runs any ONNX model and takes the time you say.

    It is a real child process that speaks the real protocol; only its clock is made up, so that
    figures are exact and come at once.

    Attributes:
        latency_ms: Of a model without weights; or a function from the ONNX bytes to it.
        ms_per_megabyte: Added for the model's size, so that smaller networks are faster.
        spread: Latencies vary by up to this fraction either way.
        drift: Each measurement finds the device slower than the last by this fraction.
        busy_s: Real seconds that a measurement keeps the device busy.
        faults: What happens to the first, second, ... measurement; then all go well. All children
            that serve this device share the script.
        name: What the device calls itself.
        version: Of its runtime.
        any_model: Also take bytes that are no ONNX model.
        sticks: Play so many Neural Compute Sticks, on a made-up USB bus of this host: the device
            is ``"MYRIAD"`` then. 0 plays a device that is always there.
        reboot_s: How long a stick takes to come back after its child was killed, or it vanished.
        patience_s: How long the host waits for it to come back.

    Raises:
        ValueError: On construction, for a fault that isn't in `Fault`, or that needs a stick.
    """

    latency_ms: float | Callable[[bytes], float] = 1.0
    ms_per_megabyte: float = 0.0
    spread: float = 0.01
    drift: float = 0.0
    busy_s: float = 0.0
    faults: Sequence[Fault] = ()
    name: str = "a fake device"
    version: str = "1.0"
    any_model: bool = False
    sticks: int = 0
    reboot_s: float = 0.2
    patience_s: float = 5.0
    _root: Path = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if unknown := set(self.faults) - set(get_args(Fault)):
            raise ValueError(f"FakeDevice(faults=...): expected {get_args(Fault)}, got {unknown}")
        if not self.sticks and (unfit := set(self.faults) & _OF_STICKS):
            raise ValueError(f"FakeDevice(faults=...): {unfit} happen to sticks; add sticks=1")
        root = Path(tempfile.mkdtemp(prefix="raytune_edge-fake-"))
        atexit.register(shutil.rmtree, root, ignore_errors=True)
        object.__setattr__(self, "_root", root)
        values = asdict(self) | {"root": str(root)}
        del values["_root"]
        if callable(self.latency_ms):
            values["latency_ms"] = None
        (root / "script.json").write_text(json.dumps(values))
        for number in range(1, self.sticks + 1):
            _plug_in(root, number)

    def spec(self) -> DeviceSpec:
        """What `connect_devices` and `runtimes.Instrument` make a child of."""
        return DeviceSpec(
            device="MYRIAD" if self.sticks else "FAKE",
            runtime="fake",
            python=sys.executable,
            option=str(self._root / "script.json"),
            hints=self._hints if callable(self.latency_ms) else None,
            root=str(self._root),
            patience_s=self.patience_s,
        )

    def _hints(self, onnx_bytes: bytes) -> Mapping[str, Any]:
        assert callable(self.latency_ms)
        return {"latency_ms": self.latency_ms(onnx_bytes)}


def _plug_in(root: Path, number: int) -> None:
    """Let a stick show in a socket: port ``number`` of two buses, as sockets of USB 3 are."""
    devices = root / "sys/bus/usb/devices"
    ports = [devices / f"{bus}-{number}.socket" / f"usb{bus}-port{number}" for bus in (1, 2)]
    for port, peer in zip(ports, reversed(ports), strict=True):
        port.mkdir(parents=True)
        (port / "peer").symlink_to(peer)
    stick = devices / f"1-{number}"
    stick.mkdir()
    (stick / "port").symlink_to(ports[0])
    told = {"idVendor": "03e7", "idProduct": "2485", "speed": "480", "busnum": "1"}
    for name, text in (told | {"devnum": str(number)}).items():
        (stick / name).write_text(text + "\n")
    for bus in (1, 2):
        node = root / f"dev/bus/usb/{bus:03}/{number:03}"
        node.parent.mkdir(parents=True, exist_ok=True)
        node.touch()
    (root / "tmp").mkdir(exist_ok=True)
