"""One device and the child process that drives it."""

from __future__ import annotations

import dataclasses
import logging
import platform
import tempfile
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from raytune_edge.config import Timing
from raytune_edge.errors import (
    DeviceDiedError,
    DeviceError,
    ModelProofError,
    NoDeviceError,
    UnsupportedModelError,
)
from raytune_edge.records import Measurement
from raytune_edge.runtimes.claims import Claim, ProcessorClaim
from raytune_edge.runtimes.client import Child
from raytune_edge.runtimes.models import Piece, check_model_bytes, sha256_of
from raytune_edge.runtimes.ncs2.claim import StickClaim
from raytune_edge.runtimes.samples import Sample, check_sample
from raytune_edge.runtimes.spec import DeviceSpec
from raytune_edge.runtimes.timing import measurement

__all__ = ["DeviceFacts", "Instrument"]

logger = logging.getLogger(__name__)

_CLAIMS: Mapping[str, Callable[..., Claim]] = {"MYRIAD": StickClaim}
"""How those devices are claimed that not every process may open."""


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

    Nothing is claimed and started before the first call. After any trouble of the device the child
    is ended and the next call starts a fresh one, which the device is made ready for.

    Args:
        spec: The device.
        core: CPU core for the child alone, where the device is the host's CPU.
        index: Which of the host's devices to claim, where it has several; a stick also by socket.
        device_id: What records call this unit; by default the device's name.
    """

    def __init__(
        self,
        spec: DeviceSpec,
        *,
        core: int | None = None,
        index: int | str = 0,
        device_id: str = "",
    ) -> None:
        self.spec = spec
        self.device_id = device_id or spec.device
        self._claim = _CLAIMS.get(spec.device, ProcessorClaim)(spec, core=core, index=index)
        self._child: Child | None = None
        self._facts: DeviceFacts | None = None

    def hello(self, timeout_s: float = 30.0) -> DeviceFacts:
        """Start the child if none runs, and ask it what it is.

        Raises:
            NoDeviceError: If the host has no such device, or it cannot be used; the message says
                what there is, or what to do.
            NoRuntimeError: If there is no runtime to drive it with.
            DeviceError: If the child cannot be started or doesn't answer.
        """
        told = self._request("hello", timeout_s=timeout_s)
        if told["device_name"] is None:
            self.close()
            name = self.spec.device.upper()
            known = name != self.spec.device and (name in _CLAIMS or name in told["devices"])
            raise NoDeviceError(
                f"{told['runtime']} sees no device {self.spec.device!r} on this host; "
                f"it sees {told['devices']}" + (f"; the name is {name}" if known else "")
            )
        try:
            self._facts = DeviceFacts(**told)
        except TypeError as error:
            raise self._distrust(f"introduced itself wrongly: {error}") from error
        return self._facts

    def measure(
        self,
        onnx_bytes: Piece | list[Piece],
        timing: Timing | None = None,
        *,
        signature: str = "",
        sample: Sample | None = None,
        sha256: str = "",
    ) -> Measurement:
        """Measure a model; `raytune_edge.Timing` says how.

        One that the runtime refuses is put in words that it knows, if there are any.

        Args:
            onnx_bytes: The model, whole or in pieces.
            signature: Kept in the record.
            sample: Images (N, C, H, W) and labels (N,) to take the accuracy on the device from.
            sha256: Of the model as its sender has it, if it came a long way; it proves that this
                is the one that was measured.

        Raises:
            UnsupportedModelError: If the runtime refuses the model.
            ValueError: If sample or settings do not fit the model.
            DeviceTimeoutError: If it takes longer than ``timing.timeout_s``.
            ModelProofError: If the answer is another request's, or the model not the sender's.
            DeviceError: If the device or its child is in trouble.
        """
        timing = timing or Timing()
        pieces = onnx_bytes if isinstance(onnx_bytes, list) else [onnx_bytes]
        check_model_bytes(*pieces)
        sample = None if sample is None else check_sample(sample)
        facts = self._facts if self._facts and self.pid == self._facts.pid else self.hello()
        start = time.perf_counter()
        sha256 = sha256 or sha256_of(*pieces)
        try:
            raw = self._measure(pieces, sha256, timing, sample)
        except UnsupportedModelError as error:
            if (came := sha256_of(*pieces)) != sha256:
                raise ModelProofError(
                    f"the model that came is not the one that was sent: expected SHA-256 {sha256}, "
                    f"got {came}"
                ) from error
            from raytune_edge.lowering.reading import weights_apart  # brings ONNX, seldom needed

            whole = b"".join(pieces)
            if told := weights_apart(whole):
                raise UnsupportedModelError(told) from error
            if (translated := self._claim.translated(whole)) is None:
                raise
            raw = self._measure([translated], sha256_of(translated), timing, sample)
            raw["model_sha256"] = sha256
        took_s = time.perf_counter() - start
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

    def _measure(
        self, pieces: list[Piece], sha256: str, timing: Timing, sample: Sample | None
    ) -> dict[str, Any]:
        """The child's answer, proved to be that to this request."""
        nonce = uuid.uuid4().hex
        with tempfile.TemporaryDirectory(prefix="raytune_edge-") as folder:
            hints = self.spec.hints(b"".join(pieces)) if self.spec.hints else {}
            raw = self._request(
                "measure",
                timeout_s=timing.timeout_s,
                nonce=nonce,
                settings=dataclasses.asdict(timing),
                **hints,
                **_written(Path(folder), pieces, sample),
            )
        proof = (raw.get("model_sha256"), raw.get("nonce"))
        if proof != (sha256, nonce):
            self._end_child()
            raise ModelProofError(
                f"the answer is another request's: expected model and nonce {(sha256, nonce)}, "
                f"got {proof}; thrown away"
            )
        return raw

    def close(self) -> None:
        """End the child, gracefully at first, and leave the device. May be called again."""
        self._end_child()
        self._claim.release()

    @property
    def pid(self) -> int | None:
        """Of the child; None if none runs."""
        return self._child.pid if self._child else None

    def _request(self, operation: str, *, timeout_s: float, **fields: Any) -> dict[str, Any]:
        if self._child is None or self._child.pid is None:
            launch = self._claim.launch()
            self._child = Child(
                launch.command, environment=launch.environment, keep_open=launch.keep_open
            )
        try:
            return self._child.request(operation, timeout_s=timeout_s, **fields)
        except UnsupportedModelError:  # says nothing against the child
            raise
        except DeviceError:
            self._end_child()
            raise

    def _end_child(self) -> None:
        if self._child is not None:
            self._child.close()

    def _distrust(self, why: str) -> DeviceDiedError:
        self._end_child()
        return DeviceDiedError(f"the measuring process {why}")


def _written(folder: Path, pieces: list[Piece], sample: Sample | None) -> dict[str, str]:
    """Put model and sample into files, which the child reads; their paths as it expects them."""
    paths = {"model": str(folder / "model.onnx")}
    try:
        with open(paths["model"], "wb") as file:
            file.writelines(pieces)
        if sample is not None:
            paths["sample"] = str(folder / "sample.npz")
            np.savez(paths["sample"], images=sample[0], labels=sample[1])
    except OSError as error:
        raise DeviceError(
            f"expected room for the model in {folder.parent} on {platform.node()}, got "
            f"{error.strerror!r}; make room there, or set TMPDIR to a folder that has it"
        ) from error
    return paths
