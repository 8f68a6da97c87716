"""One device of the pool at work: open it, let it measure, and climb the ladder on trouble."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

from raytune_edge.devices.actor import CallerLostError, DeviceLine, Opened
from raytune_edge.devices.causes import told
from raytune_edge.devices.desk import Desk, Job, Order
from raytune_edge.devices.health import Health
from raytune_edge.devices.sentinel import RUNS, TIMING, Sentinel
from raytune_edge.devices.status import DeviceState, DeviceStatus
from raytune_edge.devices.stores import Stores
from raytune_edge.errors import DeviceDiedError, DeviceError, UnsupportedModelError
from raytune_edge.records import Measurement

__all__ = ["Unit"]

logger = logging.getLogger(__name__)

_REFERENCE_TRIES = 3
_AFTER_BUG_S = 60.0

_NOT_THE_DEVICE = (UnsupportedModelError, ValueError, CallerLostError)
"""Errors that another try, or another device, would meet as well."""


class Unit:
    """One device of the pool; `serve` runs for as long as its host is there.

    Args:
        reference: Reference to the sentinel's model; None for no sentinel.
        sentinel_every: Requests between two looks at the sentinel.
        cooldown_s: Pause that drift asks for.
        quarantine_s: Shortest quarantine.
    """

    def __init__(
        self,
        line: DeviceLine,
        desk: Desk,
        kept: Stores,
        *,
        node_id: str,
        reference: Any,
        sentinel_every: int,
        cooldown_s: float,
        quarantine_s: float,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.line = line
        self.opened: Opened | None = None
        self._desk = desk
        self._kept = kept
        self._reference = reference
        self._sentinel_every = sentinel_every
        self._cooldown_s = cooldown_s
        self._sleep = sleep
        self._health = Health(quarantine_s=quarantine_s)
        self._sentinel = Sentinel()
        self._since_sentinel = 0
        self._retry_at = 0.0
        self._status = DeviceStatus(device_id=line.device_id, node_id=node_id)

    @property
    def status(self) -> DeviceStatus:
        """How it is now."""
        waits = self._status.state in ("backing off", "quarantined")
        return dataclasses.replace(
            self._status,
            reason=self.line.waits or self._status.reason,
            retry_in_s=max(0.0, self._retry_at - time.monotonic()) if waits else 0.0,
            drift=self._sentinel.drift,
            drifting=self._sentinel.drifting,
        )

    async def serve(self) -> None:
        """Measure what the desk has, for ever; nothing but a cancellation ends it."""
        while True:
            try:
                await self._open()
                while True:
                    await self._measure_one()
            except Exception as error:
                await self._look_after(error)

    async def _open(self) -> None:
        await self._turn("starting")
        self.opened = await self.line.open()
        facts = self.opened.facts
        self._note(
            device_name=facts.device_name,
            runtime=facts.runtime,
            core=self.opened.core,
            pid=self.opened.pid,
        )
        if self._reference is not None:
            await self._look_at_sentinel()
            self._health.passed()
        await self._turn("idle")

    async def _measure_one(self) -> None:
        assert self.opened is not None
        job = await self._desk.take(self.line.device_id)
        await self._turn("busy")
        started_at = time.monotonic()
        try:
            measurement = await self._kept.get(job.order, self.opened.facts)
            if measurement is None:
                measurement = await self._measure(job.order)
        except _NOT_THE_DEVICE as error:
            self._desk.answer(job, error, started_at=started_at)
        except asyncio.CancelledError:
            await self._give_back(job, DeviceDiedError(f"{self.line.device_id} has left the pool"))
            raise
        except Exception as error:
            if not job.failed_on - {self.line.device_id}:
                self._health.suspect(job.number)
            await self._give_back(job, error)
            raise
        else:
            try:  # to keep it comes first, so that who asks again at once finds it
                if not measurement.cached:
                    await self._kept.put(job.order, measurement)
            finally:
                self._desk.answer(job, measurement, started_at=started_at)
        if self._reference is not None and self._since_sentinel >= self._sentinel_every:
            await self._look_at_sentinel()
        await self._turn("idle")

    async def _measure(self, order: Order) -> Measurement:
        measurement = await self.line.measure(
            order.payload, order.timing, signature=order.signature, sha256=order.sha256
        )
        self._health.proved()
        self._since_sentinel += 1
        self._note(measured=self._status.measured + 1)
        if self._sentinel.drifting:
            flags = (*measurement.flags, self._sentinel.flag)
            measurement = dataclasses.replace(measurement, flags=flags)
        return measurement

    async def _give_back(self, job: Job, error: BaseException) -> None:
        ours = error if isinstance(error, DeviceError) else DeviceError(told(error))
        await self._desk.failed(job, ours, self.line.device_id)

    async def _look_at_sentinel(self) -> None:
        """Compare the reference model with the start; let the device cool down if it drifts."""
        self._since_sentinel = 0
        try:
            if not self._sentinel.started:
                self._sentinel.start([await self._reference_ms() for _ in range(RUNS)])
                return
            if await self._drifts() and self._cooldown_s > 0:
                logger.warning("%s: %s; cooling down", self.line.device_id, self._sentinel.flag)
                await self._turn("cooling")
                await self._sleep(self._cooldown_s)
                await self._drifts()
        except UnsupportedModelError as error:
            logger.warning("%s runs without a sentinel: %s", self.line.device_id, error)
            self._reference = None

    async def _drifts(self) -> bool:
        runs = [await self._reference_ms()]
        if not self._sentinel.is_close(runs[0]):
            runs += [await self._reference_ms() for _ in range(RUNS - 1)]
        return self._sentinel.judge(runs)

    async def _reference_ms(self) -> float:
        """One run; a doubtful one is repeated, so that it spoils no comparison."""
        for _ in range(_REFERENCE_TRIES):
            run = await self.line.measure(self._reference, TIMING)
            if not run.flags:
                break
        return run.latency_p50_ms

    async def _look_after(self, error: Exception) -> None:
        try:
            await self._climb(error)
        except Exception:
            logger.exception("%s: could not be looked after", self.line.device_id)
            await self._sleep(_AFTER_BUG_S)  # it is served again, whatever that was

    async def _climb(self, error: Exception) -> None:
        """One step of the ladder."""
        step = self._health.failed(error)
        logger.warning(
            "%s: %s; %s for %g s",
            self.line.device_id,
            error,
            "in quarantine" if step.quarantine else "left alone",
            step.pause_s,
            exc_info=None if isinstance(error, DeviceError) else error,
        )
        reason = told(error)
        self._retry_at = time.monotonic() + step.pause_s
        self._note(last_error=reason, failed=self._status.failed + 1, reason=reason)
        await self._turn("quarantined" if step.quarantine else "backing off")
        if step.reopen:
            await self.line.end()
            self._note(pid=0)
        await self._sleep(step.pause_s)

    async def _turn(self, state: DeviceState) -> None:
        was_healthy = self._status.healthy
        self._note(state=state)
        if self._status.healthy:
            self._note(reason="")
        if self._status.healthy != was_healthy:
            await self._desk.wake()  # orders avoid other devices now

    def _note(self, **changes: Any) -> None:
        self._status = dataclasses.replace(self._status, **changes)
