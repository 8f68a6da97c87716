"""One device and the child process that drives it."""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import os
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from raytune_edge.config import Timing
from raytune_edge.errors import (
    DeviceDiedError,
    ModelProofError,
    NoDeviceError,
    UnsupportedModelError,
)
from raytune_edge.records import Measurement
from raytune_edge.runtimes.client import Child
from raytune_edge.runtimes.timing import measurement

__all__ = [
    "MAX_MODEL_BYTES",
    "DeviceFacts",
    "DeviceSpec",
    "Instrument",
    "check_model_bytes",
    "read_model",
]

logger = logging.getLogger(__name__)

MAX_MODEL_BYTES = 1 << 30
"""Larger models are refused before they travel; ONNX itself ends at 2 GiB."""

_WORKER = Path(__file__).parent / "worker"


@dataclass(frozen=True, kw_only=True)
class DeviceSpec:
    """Which device, and what drives it.

    Attributes:
        device: The runtime's name for it, such as ``"CPU"``.
        runtime: The module in ``runtimes/worker`` that drives it.
        python: Interpreter of the child; "" is this one.
        option: The runtime's own, such as which of several sticks.
        environment: Added to the child's environment.
        hints: Makes more fields of a request from the model, for runtimes that ask for them.
    """

    device: str
    runtime: str = "modern"
    python: str = ""
    option: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    hints: Callable[[bytes], Mapping[str, Any]] | None = field(default=None, compare=False)

    def command(self, core: int | None = None) -> list[str]:
        """The child's command line, bound to one CPU ``core`` if one is given."""
        bound = [] if core is None else ["--core", str(core)]
        return [
            *(self.python or sys.executable, str(_WORKER)),
            *("--device", self.device, "--runtime", self.runtime, "--option", self.option),
            *bound,
        ]


@dataclass(frozen=True, kw_only=True)
class DeviceFacts:
    """What a child says about itself and its device.

    Attributes:
        runtime: Name and version, such as ``"openvino 2026.4.1"``.
        device_name: What the device calls itself.
        devices: All devices that the runtime sees, by name.
        python: Version of the child's interpreter.
        pid: Of the child.
    """

    runtime: str
    device_name: str
    devices: Mapping[str, str]
    python: str
    pid: int


class Instrument:
    """One device and its child process; used by one thread at a time.

    Nothing is started before the first call. After a timeout, a death or a wrong proof the child
    is gone and the next call starts a fresh one.

    Args:
        spec: The device.
        core: CPU core for the child alone, where the device is the host's CPU.
        device_id: What records call this unit; by default the device's name.
    """

    def __init__(self, spec: DeviceSpec, *, core: int | None = None, device_id: str = "") -> None:
        self.spec = spec
        self.device_id = device_id or spec.device
        self._child = Child(spec.command(core), environment=spec.environment)
        self._facts: DeviceFacts | None = None

    def hello(self, timeout_s: float = 30.0) -> DeviceFacts:
        """Start the child if none runs, and ask it what it is.

        Raises:
            NoDeviceError: If the runtime doesn't see the device; it lists those that it sees.
            DeviceError: If the child cannot be started or doesn't answer.
        """
        told = self._child.request("hello", timeout_s=timeout_s)
        if told["device_name"] is None:
            self.close()
            raise NoDeviceError(
                f"{told['runtime']} sees no device {self.spec.device!r} on this host; "
                f"it sees {told['devices']}"
            )
        try:
            self._facts = DeviceFacts(**told)
        except TypeError as error:
            raise self._distrust(f"introduced itself wrongly: {error}") from error
        return self._facts

    def measure(
        self,
        onnx_bytes: bytes,
        timing: Timing | None = None,
        *,
        signature: str = "",
        sample: tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]] | None = None,
    ) -> Measurement:
        """Measure a model; `raytune_edge.Timing` says how.

        Args:
            signature: Kept in the record.
            sample: Images (N, C, H, W) and labels (N,) to take the accuracy on the device from.

        Raises:
            UnsupportedModelError: If the runtime refuses the model.
            ValueError: If sample or settings do not fit the model.
            DeviceTimeoutError: If it takes longer than ``timing.timeout_s``.
            DeviceError: If the device or its child is in trouble.
        """
        timing = timing or Timing()
        check_model_bytes(onnx_bytes)
        facts = self._facts if self._facts and self._child.pid == self._facts.pid else self.hello()
        nonce, sha256 = uuid.uuid4().hex, hashlib.sha256(onnx_bytes).hexdigest()
        start = time.perf_counter()
        with tempfile.TemporaryDirectory(prefix="raytune_edge-") as folder:
            model = Path(folder, "model.onnx")
            model.write_bytes(onnx_bytes)
            fields: dict[str, Any] = dict(self.spec.hints(onnx_bytes)) if self.spec.hints else {}
            fields["model"] = str(model)
            if sample is not None:
                fields["sample"] = str(Path(folder, "sample.npz"))
                np.savez(fields["sample"], images=sample[0], labels=sample[1])
            raw = self._child.request(
                "measure",
                timeout_s=timing.timeout_s,
                nonce=nonce,
                settings=dataclasses.asdict(timing),
                **fields,
            )
        took_s = time.perf_counter() - start
        proof = (raw.get("model_sha256"), raw.get("nonce"))
        if proof != (sha256, nonce):
            self._child.kill()
            raise ModelProofError(
                f"the answer is another request's: expected model and nonce {(sha256, nonce)}, "
                f"got {proof}; thrown away"
            )
        try:
            made = measurement(
                raw,
                timing,
                measure_s=took_s,
                runtime=facts.runtime,
                device=self.spec.device,
                device_name=facts.device_name,
                device_id=self.device_id,
                signature=signature,
            )
        except (KeyError, TypeError, ValueError) as error:
            raise self._distrust(f"answered with no measurement: {error}") from error
        logger.info(
            "%s: p50 %.4g ms (%d requests, stopped by %s)",
            *(self.device_id, made.latency_p50_ms, made.samples, made.stopped_by),
        )
        return made

    def close(self, grace_s: float = 10.0) -> None:
        """End the child, gracefully at first. May be called again."""
        self._child.close(grace_s)

    def _distrust(self, why: str) -> DeviceDiedError:
        self._child.kill()
        return DeviceDiedError(f"the measuring process {why}")

    @property
    def pid(self) -> int | None:
        """Of the child; None if none runs."""
        return self._child.pid


def check_model_bytes(onnx_bytes: bytes) -> None:
    """Refuse what no device could measure, before it travels.

    Raises:
        UnsupportedModelError: If there are no bytes, or more than `MAX_MODEL_BYTES`.
    """
    _check_size(len(onnx_bytes))


def read_model(path: str | os.PathLike[str]) -> bytes:
    """The bytes of an ONNX file; one that is too large is not read.

    Raises:
        OSError: If the file cannot be read.
        UnsupportedModelError: If it is empty, or larger than `MAX_MODEL_BYTES`.
    """
    _check_size(os.path.getsize(path))
    return Path(path).read_bytes()


def _check_size(size_bytes: int) -> None:
    if not 0 < size_bytes <= MAX_MODEL_BYTES:
        raise UnsupportedModelError(
            f"expected an ONNX model of at most {MAX_MODEL_BYTES:,} bytes, got {size_bytes:,} "
            "bytes; keep large weights out of a model for an edge device"
        )
