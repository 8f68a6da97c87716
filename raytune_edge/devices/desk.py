"""The desk of a pool: takes orders, lets devices fetch them, answers each exactly once."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import logging
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

from raytune_edge.config import Timing
from raytune_edge.devices.queue import FairQueue
from raytune_edge.errors import DeviceBusyError, DeviceError, RaytuneEdgeError
from raytune_edge.records import Measurement

__all__ = ["Answer", "Desk", "Job", "Order"]

logger = logging.getLogger(__name__)

Answer = Measurement | RaytuneEdgeError | ValueError
"""A value or a typed error, never both and never neither; a ValueError is the caller's mistake."""


@dataclass(frozen=True, kw_only=True)
class Order:
    """A request as it travels to the pool.

    Attributes:
        experiment: Whose it is; ``job`` is the driver's id in Ray.
        use_store: Whether a kept record may answer.
        store: Folder of the store; "" for none.
        max_age_s: Oldest record that may answer; None for any.
        payload: Reference to ONNX bytes and sample; the pool passes it on without fetching it.
        sha256: Of the ONNX bytes, as the caller has them.
    """

    timing: Timing
    signature: str
    priority: int
    experiment: str
    job: str
    use_store: bool
    store: str = ""
    max_age_s: float | None = None
    payload: Any = None
    sha256: str = ""

    @property
    def has_store(self) -> bool:
        """Whether a store may hold its record."""
        return bool(self.store and self.signature)


@dataclass(eq=False, kw_only=True)
class Job:
    """An order on its way through the pool.

    Attributes:
        number: Order of arrival.
        waited_s: Time in the queue before it came to the device that has it, or back from one.
        failed_on: Devices that it went wrong on.
        tries: How often it went wrong.
    """

    order: Order
    number: int
    answer: asyncio.Future[Answer]
    came_at: float
    queued_at: float = 0.0
    waited_s: float = 0.0
    limit: asyncio.TimerHandle | None = None
    failed_on: set[str] = field(default_factory=set)
    tries: int = 0
    last_error: RaytuneEdgeError | None = None

    @property
    def experiment(self) -> str:
        """Whose it is."""
        return self.order.experiment

    @property
    def priority(self) -> int:
        """Higher goes first within its experiment."""
        return self.order.priority


class Desk:
    """Orders come in by `measure`, devices fetch them by `take` and hand back what came of them.

    Args:
        max_tries: How often an order may go wrong before its caller is told.
        healthy: The devices that take orders now. An order avoids a device that it went wrong on
            while there is another one.
        troubles: What is the matter with the others, a line for each.
    """

    def __init__(
        self,
        *,
        max_tries: int,
        healthy: Callable[[], Collection[str]],
        troubles: Callable[[], Collection[str]] = tuple,
    ) -> None:
        self._max_tries = max_tries
        self._healthy = healthy
        self._troubles = troubles
        self._queue: FairQueue[Job] = FairQueue()
        self._open: set[Job] = set()
        self._numbers = itertools.count()
        self._news = asyncio.Condition()
        self._mean_s = 1.0

    async def measure(self, order: Order) -> Answer:
        """Wait for the order's answer.

        The order gives up after ``timing.queue_timeout_s`` in the queue; what goes wrong on a
        device takes none of it.
        """
        job = Job(
            order=order,
            number=next(self._numbers),
            answer=asyncio.get_running_loop().create_future(),
            came_at=time.monotonic(),
        )
        self._open.add(job)
        try:
            await self._put(job)
            return await job.answer
        finally:
            self._open.discard(job)
            self._remove(job)

    async def take(self, device_id: str) -> Job:
        """The next order for this device; waits for one."""
        async with self._news:
            while (job := self._queue.take(lambda job: self._suits(job, device_id))) is None:
                await self._news.wait()
        self._left_queue(job)
        return job

    async def wake(self) -> None:
        """Let waiting devices look again: which of them are healthy has changed."""
        async with self._news:
            self._news.notify_all()

    def answer(self, job: Job, outcome: Answer, *, started_at: float) -> None:
        """Hand over what came of an order; where the device waited, that counts as queue."""
        if isinstance(outcome, Measurement) and not outcome.cached:
            self._mean_s += 0.3 * (outcome.measure_s - self._mean_s)
            waited_s = outcome.queue_wait_s + started_at - job.came_at
            outcome = dataclasses.replace(outcome, queue_wait_s=waited_s)
        self._settle(job, outcome)

    async def failed(self, job: Job, error: RaytuneEdgeError, device_id: str) -> None:
        """Put an order back that went wrong on a device, or tell its caller after too many."""
        job.tries += 1
        job.failed_on.add(device_id)
        job.last_error = error
        if job.tries >= self._max_tries:
            self._settle(job, _after_tries(error, job))
        elif not job.answer.done():
            logger.info("request %d goes back to the queue: %s", job.number, error)
            await self._put(job)

    def drop(self, experiment: str, why: RaytuneEdgeError) -> None:
        """Answer all open orders of an experiment with ``why``."""
        for job in [job for job in self._open if job.experiment == experiment]:
            self._remove(job)
            self._settle(job, why)

    @property
    def queue_length(self) -> int:
        """Orders that wait."""
        return len(self._queue)

    @property
    def experiments(self) -> set[str]:
        """Those that wait for an answer."""
        return {job.experiment for job in self._open}

    def places(self, experiment: str) -> tuple[int, ...]:
        """Places of an experiment's waiting orders, from 1."""
        line = enumerate(self._queue.in_order(), start=1)
        return tuple(place for place, job in line if job.experiment == experiment)

    def expected_wait_s(self) -> float | None:
        """What a new order would wait; None if no device is healthy."""
        devices = len(self._healthy())
        running = len(self._open) - len(self._queue)
        if devices == 0:
            return None
        ahead = len(self._queue) + (running / 2 if running >= devices else 0)
        return ahead * self._mean_s / devices

    async def _put(self, job: Job) -> None:
        self._queue.put(job)
        job.queued_at = time.monotonic()
        if (limit_s := job.order.timing.queue_timeout_s) is not None:
            loop = asyncio.get_running_loop()
            job.limit = loop.call_later(limit_s - job.waited_s, self._give_up, job)
        await self.wake()

    def _remove(self, job: Job) -> bool:
        waiting = self._queue.remove(job)
        if waiting:
            self._left_queue(job)
        return waiting

    def _left_queue(self, job: Job) -> None:
        job.waited_s += time.monotonic() - job.queued_at
        if job.limit is not None:
            job.limit.cancel()

    def _suits(self, job: Job, device_id: str) -> bool:
        return device_id not in job.failed_on or not set(self._healthy()) - job.failed_on

    def _give_up(self, job: Job) -> None:
        if not self._remove(job):
            return
        limit_s = job.order.timing.queue_timeout_s
        why = f"; it went wrong before: {job.last_error}" if job.last_error else ""
        why += "".join(f"; {trouble}" for trouble in self._troubles())
        self._settle(
            job,
            DeviceBusyError(
                f"the request waited longer than its limit of {limit_s:g} s; {len(self._queue)} "
                f"more wait, {len(self._healthy())} devices are healthy{why}"
            ),
        )

    def _settle(self, job: Job, outcome: Answer) -> None:
        if not job.answer.done():
            job.answer.set_result(outcome)


def _after_tries(error: RaytuneEdgeError, job: Job) -> RaytuneEdgeError:
    kind = type(error) if isinstance(error, DeviceError) else DeviceError
    devices = ", ".join(sorted(job.failed_on))
    return kind(f"gave up after {job.tries} tries on {devices}; the last one: {error}")
