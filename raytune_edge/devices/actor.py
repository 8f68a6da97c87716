"""The Ray actor that owns one device, and the pool's end of the line to it."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import os
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import ray
from ray.exceptions import ObjectLostError, RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from raytune_edge.config import Timing
from raytune_edge.devices.causes import last_line, told
from raytune_edge.devices.cluster import UnitPlace
from raytune_edge.devices.cores import (
    allowed_cores,
    claim_core,
    keep_off,
    quiet_cores,
    wait_for_quiet,
)
from raytune_edge.devices.versions import ANSWER_S, mismatch, versions_here, versions_on
from raytune_edge.errors import (
    DeviceDiedError,
    DeviceError,
    DeviceTimeoutError,
    RaytuneEdgeError,
    VersionMismatchError,
)
from raytune_edge.records import Measurement
from raytune_edge.runtimes import DeviceFacts, DeviceSpec, Instrument
from raytune_edge.runtimes.samples import Sample

__all__ = ["CallerLostError", "DeviceActor", "DeviceLine", "Opened", "pack"]

logger = logging.getLogger(__name__)

Payload = tuple[list[np.ndarray[Any, Any]], Sample | None]
"""ONNX bytes in pieces, and the sample to take the accuracy from; travels by reference."""

_PIECE_BYTES = 1 << 20
"""Ray copies larger arrays with six threads, which slow what the caller does beside them."""

_QUIET_LIMIT_S = 10.0
_GRACE_S = 12.0
_OVERRUN_S = 60.0
"""Beyond a request's own limit: waiting for quiet, starting a child and ending one."""

_START_S = 5.0
"""What starting an actor may take before something else must hold its resources."""

_STICK_ERROR = "NC_ERROR"
_STICK_ADVICE = (
    "if it stays so, look at the stick's cable, socket and power, and run "
    "'raytune-edge doctor --device MYRIAD' on {}; connect_devices(quarantine_s=...) says how soon "
    "it is tried again"
)
"""For the one word that a stick's library has for any trouble."""


def pack(onnx_bytes: bytes, sample: Sample | None = None) -> Payload:
    """What travels. Ray copies arrays once, where it copies bytes several times."""
    whole = np.frombuffer(onnx_bytes, np.uint8)
    starts = range(0, len(whole), _PIECE_BYTES)
    return [whole[start : start + _PIECE_BYTES] for start in starts], sample


class CallerLostError(DeviceError):
    """The process that sent a request has ended, and its model with it: no fault of the device."""


@dataclass(frozen=True, kw_only=True)
class Opened:
    """What a device actor tells when its child has answered.

    Attributes:
        facts: What the child says about itself.
        core: CPU core that the child has for itself; None if it has none.
        quiet: CPUs of the host that measuring children own.
        pid: Of the actor.
    """

    facts: DeviceFacts
    core: int | None
    quiet: frozenset[int]
    pid: int


class DeviceActor:
    """Owns one device: an `Instrument` behind one call at a time. Loads no torch.

    Where the device is the host's CPU, the child gets a core of its own as far as there are
    enough, and this process keeps off it. A child without a core waits for quiet, at most 10 s,
    and its record is flagged if it did not get quiet. What other devices are claimed by, and which
    of several sticks is whose, `runtimes.Instrument` knows.
    """

    def __init__(self, spec: DeviceSpec, device_id: str, index: int, units: int) -> None:
        cores = allowed_cores() if spec.device == "CPU" else []
        self._claimed = claim_core(cores, units)
        self._quiet = self._claimed.cpus if self._claimed else frozenset()
        self._core = min(self._quiet) if self._quiet else None
        self._shares_cpu = spec.device == "CPU" and self._core is None
        if self._shares_cpu:
            logger.warning(
                "%s has no CPU core of its own among the host's %d units: its figures will suffer "
                "from other work, and are flagged where they do",
                *(device_id, units),
            )
        keep_off(self._quiet.union(*quiet_cores(cores, units)))  # the other units' as well
        self._instrument = Instrument(spec, core=self._core, index=index, device_id=device_id)

    def open(self) -> Opened:
        """Start the child if none runs."""
        facts = self._instrument.hello()
        return Opened(facts=facts, core=self._core, quiet=self._quiet, pid=os.getpid())

    def measure(self, payload: Payload, timing: Timing, signature: str, sha256: str) -> Measurement:
        """Measure a model; see `Instrument.measure`. Waiting for quiet is ``queue_wait_s``."""
        waited_s = 0.0
        if self._shares_cpu:
            waited_s = wait_for_quiet(max_pressure=timing.max_pressure, limit_s=_QUIET_LIMIT_S)
        pieces, sample = payload
        made = self._instrument.measure(
            [piece.data for piece in pieces],
            timing,
            signature=signature,
            sample=sample,
            sha256=sha256,
        )
        return dataclasses.replace(made, queue_wait_s=waited_s)

    def close(self) -> None:
        """End the child gracefully and leave the device to others."""
        self._instrument.close()
        if self._claimed is not None:
            self._claimed.release()


class DeviceLine:
    """A device actor as the pool reaches it: each call ends in a value or an error of ours.

    The actor is made when it is needed, also again after it or its host was lost. It has no
    restarts and no retries of Ray's: the pool owns the ladder, and must know what was lost.
    """

    def __init__(self, spec: DeviceSpec, place: UnitPlace, device_id: str) -> None:
        self.device_id = device_id
        self.place = place
        self._spec = spec
        self._actor: Any = None
        self._asked_at: float | None = None

    @property
    def waits(self) -> str:
        """What its actor waits for, if it could not be started for some seconds; "" otherwise."""
        if self._asked_at is None or time.monotonic() - self._asked_at < _START_S:
            return ""
        asked = self.place.resources.items()
        units = " and ".join(f"{amount:g} unit of {name!r}" for name, amount in asked)
        return (
            f"waits for {units}, which something else on its node seems to hold; only the pool "
            "should ask Ray for it, trials need not"
        )

    async def open(self) -> Opened:
        """Make the actor if there is none, and let it say hello.

        Waits for as long as others hold the resource.

        Raises:
            VersionMismatchError: If the host runs other versions than this process.
            DeviceError: If actor, child or device cannot be reached.
        """
        if self._actor is None:
            there = await self._answer(versions_on(self.place.node_id), ANSWER_S, "its node")
            if difference := mismatch(versions_here(), there, self.place.host):
                raise VersionMismatchError(difference)
            node = NodeAffinitySchedulingStrategy(self.place.node_id, soft=False)
            self._actor = (
                ray.remote(DeviceActor)
                .options(
                    num_cpus=0,
                    resources=dict(self.place.resources),
                    max_restarts=0,
                    max_concurrency=1,
                    scheduling_strategy=node,
                )
                .remote(self._spec, self.device_id, self.place.index, self.place.units)
            )
            self._asked_at = time.monotonic()
            try:
                await self._answer(self._actor.__ray_ready__.remote())
            finally:
                self._asked_at = None
        opened = await self._answer(self._actor.open.remote())
        assert isinstance(opened, Opened)
        return opened

    async def measure(
        self, payload: Any, timing: Timing, *, signature: str = "", sha256: str = ""
    ) -> Measurement:
        """Measure the model that ``payload``, an object reference, holds.

        Raises:
            UnsupportedModelError: If the runtime refuses the model.
            ValueError: If sample or settings do not fit the model.
            CallerLostError: If the model is lost with the process that sent it.
            DeviceError: If anything else went wrong.
        """
        if self._actor is None:
            raise DeviceDiedError(f"{self.device_id}: its actor is gone")
        answer = self._actor.measure.remote(payload, timing, signature, sha256)
        measurement = await self._answer(answer, timing.timeout_s + _OVERRUN_S)
        assert isinstance(measurement, Measurement)
        return measurement

    async def end(self, *, grace_s: float = _GRACE_S) -> None:
        """End the child gracefully and then the actor. May be called again."""
        actor, self._actor = self._actor, None
        if actor is None:
            return
        try:
            with contextlib.suppress(RayError, asyncio.TimeoutError):
                await asyncio.wait_for(actor.close.remote(), grace_s)
        finally:  # also where this is cancelled: nobody else knows the actor
            ray.kill(actor, no_restart=True)

    async def _answer(
        self, reference: Any, timeout_s: float | None = None, who: str = "its actor"
    ) -> Any:
        try:
            return await asyncio.wait_for(reference, timeout_s)
        except asyncio.TimeoutError:
            await self.end(grace_s=0.0)
            raise DeviceTimeoutError(
                f"{self.device_id}: {who} did not answer in {timeout_s:g} s"
            ) from None
        except RayTaskError as error:
            cause = error.cause
            if isinstance(cause, DeviceError) and _STICK_ERROR in str(cause):
                raise type(cause)(f"{cause}; {_STICK_ADVICE.format(self.place.host)}") from None
            if isinstance(cause, RaytuneEdgeError | ValueError):
                raise cause from None
            if isinstance(cause, ObjectLostError):
                raise CallerLostError(f"the request's model is lost: {cause}") from error
            raise DeviceError(f"{self.device_id}: {told(cause)}") from error
        except RayError as error:
            await self.end(grace_s=0.0)
            raise DeviceDiedError(f"{self.device_id}: {who} is gone: {last_line(error)}") from error
