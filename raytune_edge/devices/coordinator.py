"""The actor behind a pool: one for each resource and cluster, shared by all its experiments."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass

import ray

from raytune_edge.devices.actor import DeviceLine, pack
from raytune_edge.devices.cluster import UnitPlace, live_jobs, units_in_cluster
from raytune_edge.devices.cores import keep_off
from raytune_edge.devices.desk import Answer, Desk, Order
from raytune_edge.devices.experiments import Experiments
from raytune_edge.devices.sentinel import reference_model
from raytune_edge.devices.status import PoolStatus
from raytune_edge.devices.stores import Stores
from raytune_edge.devices.unit import Unit
from raytune_edge.errors import DeviceError, NoDeviceError
from raytune_edge.records import Measurement
from raytune_edge.runtimes import DeviceFacts, DeviceSpec

__all__ = ["Coordinator", "PoolSettings"]

logger = logging.getLogger(__name__)

_LOOK_S = 2.0
_IDLE_GRACE_S = 12.0
_BUSY_GRACE_S = 2.0


@dataclass(frozen=True, kw_only=True)
class PoolSettings:
    """How a pool works; `connect_devices` says what each means. The first to connect decides."""

    resource: str
    spec: DeviceSpec
    max_tries: int
    sentinel_every: int
    cooldown_s: float
    quarantine_s: float
    linger_s: float

    def __post_init__(self) -> None:
        checks = {
            "max_tries": (self.max_tries >= 1, "at least 1"),
            "sentinel_every": (self.sentinel_every >= 0, "at least 0"),
            "cooldown_s": (self.cooldown_s >= 0, "at least 0"),
            "quarantine_s": (self.quarantine_s > 0, "more than 0"),
            "linger_s": (self.linger_s >= 0, "at least 0"),
        }
        for name, (ok, expected) in checks.items():
            if not ok:
                raise ValueError(
                    f"connect_devices({name}=...): expected {expected}, got {getattr(self, name)!r}"
                )


class Coordinator:
    """Keeps a `Unit` at work for each unit of the resource, as hosts come and go.

    It lives as long as a driver that is connected, and ``linger_s`` more. If its own process is
    lost, Ray starts it again on any node, and puts the calls that wait to it once more; it knows
    its experiments then.
    """

    def __init__(self, settings: PoolSettings, experiment: str, job: str) -> None:
        self._settings = settings
        self._experiments = Experiments(experiment, job)
        self._at_work: dict[tuple[str, int], _AtWork] = {}
        self._stores = Stores()
        self._desk = Desk(
            max_tries=settings.max_tries, healthy=self._healthy, troubles=self._troubles
        )
        self._reference = ray.put(pack(reference_model())) if settings.sentinel_every else None
        self._alone_since: float | None = None
        self._ended = False
        self._watcher = asyncio.get_running_loop().create_task(self._watch())

    async def connect(self, spec: DeviceSpec, experiment: str, job: str, store: str) -> bool:
        """Let an experiment in; False if this pool has ended and a new one is to be made.

        Raises:
            NoDeviceError: If the pool drives another device for another experiment.
            OutputError: If the folder of the store cannot be written.
        """
        if spec != self._settings.spec and not self._ended:
            if set(self._experiments) - await self._dead_experiments() - {experiment}:
                raise NoDeviceError(
                    f"the pool of {self._settings.resource!r} drives {self._settings.spec}, "
                    f"expected {spec}; close() that pool first, or name another resource"
                )
            await self._end()
        if self._ended:
            return False
        self._experiments.join(experiment, job)
        if store:
            await self._stores.open(store)
        return True

    async def ready(self, timeout_s: float) -> PoolStatus:
        """Wait until a device takes requests, or all are in quarantine, or for ``timeout_s``."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            status = await self.status("")
            devices = status.devices
            if any(each.healthy for each in devices):
                break
            if devices and all(each.quarantined for each in devices):
                break
            await asyncio.sleep(0.05)
        return await self.status("")

    async def kept(self, order: Order) -> Measurement | None:
        """What the store answers; a device that takes the order asks it once more."""
        for facts in self._facts():
            if (kept := await self._stores.get(order, facts)) is not None:
                return kept
        return None

    async def measure(self, order: Order) -> Answer:
        """Answer with a measurement or a typed error, as a value."""
        if self._ended:
            return DeviceError("the pool was closed")
        self._experiments.join(order.experiment, order.job)
        return await self._desk.measure(order)

    async def status(self, experiment: str) -> PoolStatus:
        """How the pool is, as ``experiment`` sees it."""
        return PoolStatus(
            resource=self._settings.resource,
            device=self._settings.spec.device,
            devices=tuple(each.unit.status for each in self._at_work.values()),
            queue_length=self._desk.queue_length,
            places=self._desk.places(experiment),
            expected_wait_s=self._desk.expected_wait_s(),
            experiments=len(self._experiments),
        )

    async def quiet_cores(self, node_id: str) -> frozenset[int]:
        """CPUs of a host that measuring children own."""
        return frozenset().union(
            *(
                each.unit.opened.quiet
                for (node, _), each in self._at_work.items()
                if node == node_id and each.unit.opened is not None
            )
        )

    async def release(self, experiment: str) -> bool:
        """Let an experiment go; True if it was the last one and the devices are closed."""
        self._forget(experiment, "the pool was closed by its experiment")
        dead = await self._dead_experiments()
        if not set(self._experiments) - dead:
            await self._end()
        return self._ended

    async def _watch(self) -> None:
        while True:
            try:
                await self._look()
            except Exception:
                logger.exception("the pool could not look at the cluster; it will try again")
            await asyncio.sleep(_LOOK_S)

    async def _look(self) -> None:
        """Follow the hosts that come and go, and the drivers that end."""
        for experiment in await self._dead_experiments():
            self._forget(experiment, "the driver of its experiment has ended")
        now = time.monotonic()
        self._alone_since = None if self._experiments else self._alone_since or now
        if self._alone_since is not None and now - self._alone_since >= self._settings.linger_s:
            logger.info("no experiment is connected any more: the pool ends")
            await self._end()
            ray.kill(ray.get_runtime_context().current_actor, no_restart=True)
        places = await asyncio.to_thread(units_in_cluster, self._settings.resource)
        if self._ended:
            return
        wanted = {place.key: place for place in places}
        for key in set(self._at_work) - set(wanted):
            await self._let_go(key)
        for key in sorted(set(wanted) - set(self._at_work)):
            self._put_to_work(wanted[key])
        own_node = ray.get_runtime_context().get_node_id()
        keep_off(await self.quiet_cores(own_node))
        await self._desk.wake()

    def _put_to_work(self, place: UnitPlace) -> None:
        settings = self._settings
        device_id = f"{place.host}/{settings.resource}:{place.index}"
        if device_id in {each.line.device_id for each in self._at_work.values()}:
            device_id += f"@{place.node_id[:8]}"  # several nodes on one machine
        logger.info("%s joins the pool", device_id)
        line = DeviceLine(settings.spec, place, device_id)
        unit = Unit(
            line,
            self._desk,
            self._stores,
            node_id=place.node_id,
            reference=self._reference,
            sentinel_every=settings.sentinel_every,
            cooldown_s=settings.cooldown_s,
            quarantine_s=settings.quarantine_s,
        )
        task = asyncio.get_running_loop().create_task(unit.serve())
        self._at_work[place.key] = _AtWork(unit=unit, line=line, task=task)

    async def _let_go(self, key: tuple[str, int], *, grace_s: float = 0.0) -> None:
        gone = self._at_work.pop(key, None)
        if gone is None:
            return
        logger.info("%s leaves the pool", gone.line.device_id)
        gone.task.cancel()
        await asyncio.wait([gone.task])
        await gone.line.end(grace_s=grace_s)

    async def _dead_experiments(self) -> set[str]:
        known = dict(self._experiments)  # who joins while Ray is asked is alive
        jobs = await asyncio.to_thread(live_jobs)
        return {experiment for experiment, job in known.items() if job not in jobs}

    def _forget(self, experiment: str, why: str) -> None:
        self._experiments.leave(experiment)
        self._desk.drop(experiment, DeviceError(why))

    def _healthy(self) -> set[str]:
        return {each.line.device_id for each in self._at_work.values() if each.unit.status.healthy}

    def _troubles(self) -> list[str]:
        return [told for each in self._at_work.values() if (told := each.unit.status.trouble)]

    def _facts(self) -> list[DeviceFacts]:
        opened = (each.unit.opened for each in self._at_work.values())
        return list(
            {
                (each.facts.device_name, each.facts.runtime): each.facts for each in opened if each
            }.values()
        )

    async def _end(self) -> None:
        """Answer who still waits and close all devices gracefully."""
        self._ended = True
        self._experiments.end()
        for experiment in self._desk.experiments:
            self._desk.drop(experiment, DeviceError("the pool was closed"))
        busy = {key for key, each in self._at_work.items() if each.unit.status.busy}
        await asyncio.gather(
            *(
                self._let_go(key, grace_s=_BUSY_GRACE_S if key in busy else _IDLE_GRACE_S)
                for key in list(self._at_work)
            )
        )


@dataclass(kw_only=True)
class _AtWork:
    unit: Unit
    line: DeviceLine
    task: asyncio.Task[None]
