"""A device that isn't there, with faults by script."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from raytune_edge.runtimes import DeviceSpec

__all__ = ["FakeDevice", "Fault"]

Fault = Literal["ok", "die", "segfault", "hang", "garbage", "replay", "error", "unsupported"]
"""What happens to one measurement: ``die`` and ``segfault`` end the child, ``hang`` never answers,
``garbage`` prints what is no answer, ``replay`` answers with another request's nonce and hash,
``error`` is a sporadic error of the device, ``unsupported`` refuses the model."""


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

    Raises:
        ValueError: On construction, for a fault that isn't in `Fault`.
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
    _script: Path = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if unknown := set(self.faults) - set(get_args(Fault)):
            raise ValueError(f"FakeDevice(faults=...): expected {get_args(Fault)}, got {unknown}")
        script = Path(tempfile.mkdtemp(prefix="raytune_edge-fake-"), "script.json")
        object.__setattr__(self, "_script", script)
        values = asdict(self)
        del values["_script"]
        if callable(self.latency_ms):
            values["latency_ms"] = None
        script.write_text(json.dumps(values))

    def spec(self) -> DeviceSpec:
        """What `connect_devices` and `runtimes.Instrument` make a child of."""
        hints = self._hints if callable(self.latency_ms) else None
        return DeviceSpec(device="FAKE", runtime="fake", option=str(self._script), hints=hints)

    def _hints(self, onnx_bytes: bytes) -> Mapping[str, Any]:
        assert callable(self.latency_ms)
        return {"latency_ms": self.latency_ms(onnx_bytes)}
