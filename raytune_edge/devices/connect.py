"""Connecting to a pool: find its coordinator or make it, and say clearly what is missing."""

from __future__ import annotations

import logging
import os
import time
import uuid
from typing import Any

import ray
from ray.exceptions import ActorDiedError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from raytune_edge.devices.causes import last_line
from raytune_edge.devices.cluster import cluster_resources, no_device_message, units_in_cluster
from raytune_edge.devices.coordinator import Coordinator, PoolSettings
from raytune_edge.devices.pool import NAMESPACE, DevicePool, actor_name, ask
from raytune_edge.devices.status import PoolStatus
from raytune_edge.devices.versions import check_nodes
from raytune_edge.errors import DeviceError, NoDeviceError
from raytune_edge.runtimes import device_spec

__all__ = ["connect_devices"]

logger = logging.getLogger(__name__)

_LOOK_S = 0.5
_JOIN_S = 10.0
_AGAIN_S = 0.05
_SENTINEL_EVERY = 20
_MOST_WAITING = 10_000


def connect_devices(
    device: object = "CPU",
    *,
    resource: str = "ncs",
    store: str | os.PathLike[str] | None = None,
    max_age_s: float | None = None,
    timeout_s: float = 10.0,
    max_tries: int = 4,
    sentinel_every: int | None = None,
    cooldown_s: float = 10.0,
    quarantine_s: float = 60.0,
    linger_s: float = 60.0,
) -> DevicePool:
    """Connect to the pool of devices, made if this is the first to connect.

    Each unit of ``resource`` in the cluster is a device with an actor and a measuring child of its
    own, on the host that offers it. Hosts may come and go. Ray must have been initialised. From
    ``max_tries`` on, the settings are the pool's own: whoever makes it decides.

    Args:
        device: The runtime's name (``"CPU"``, ``"GPU"``, ``"NPU"``, ``"MYRIAD"``), a
            `runtimes.DeviceSpec`, or a `testing.FakeDevice`.
        resource: The Ray resource that stands for a device.
        store: Folder to keep measurements in, on this host's local disk; None keeps none.
        max_age_s: Oldest kept measurement that may answer; None for any.
        timeout_s: How long to look for a host that is joining, and for a device to answer.
        max_tries: How often a request may go wrong, each time on a fresh child and on another
            device if there is one, before its caller gets the `DeviceError`.
        sentinel_every: Requests to a device between two looks at its reference model; 0 for no
            sentinel. By default 20, and 0 for what isn't named by a string: a fake device's
            script of faults is for requests.
        cooldown_s: Pause that drift of the reference model asks for.
        quarantine_s: Shortest time in quarantine, after four failures in succession.
        linger_s: How long the pool outlives its last driver, so that one that was killed and is
            started again finds its devices warm.

    Raises:
        NoDeviceError: If Ray isn't initialised, no node has the resource, no device answers, or
            the running pool drives another device.
        VersionMismatchError: If nodes differ in their Python, Ray or raytune_edge.
        OutputError: If the folder of the store cannot be written.
        ValueError: For a setting out of range.
    """
    if not ray.is_initialized():
        raise NoDeviceError(
            "expected Ray to be initialised; call ray.init() first: on one machine with "
            f"resources={{{resource!r}: 1}}, on a cluster with address='auto'"
        )
    if max_age_s is not None and max_age_s <= 0:
        raise ValueError(f"connect_devices(max_age_s=...): expected > 0, got {max_age_s!r}")
    if sentinel_every is None:
        sentinel_every = _SENTINEL_EVERY if isinstance(device, str) else 0
    settings = PoolSettings(
        resource=resource,
        spec=device_spec(device),
        max_tries=max_tries,
        sentinel_every=sentinel_every,
        cooldown_s=cooldown_s,
        quarantine_s=quarantine_s,
        linger_s=linger_s,
    )
    deadline = time.monotonic() + timeout_s
    _wait_for_host(resource, deadline)
    check_nodes()
    pool = DevicePool(
        resource=resource,
        experiment=uuid.uuid4().hex,
        job=ray.get_runtime_context().get_job_id(),
        store=os.path.abspath(store) if store is not None else "",
        max_age_s=max_age_s,
    )
    try:
        coordinator = _join(pool, settings, max(deadline, time.monotonic() + _JOIN_S))
        waited = coordinator.ready.remote(max(1.0, deadline - time.monotonic()))
        status: PoolStatus = ask(waited, resource)
        if status.devices and all(each.quarantined for each in status.devices):
            told = "; ".join(f"{each.device_id}: {each.reason}" for each in status.devices)
            raise NoDeviceError(f"no device of {resource!r} can be used: {told}")
    except BaseException:
        pool.close()
        raise
    if any(each.healthy for each in status.devices):
        logger.info("measuring on %d x %s (%s)", len(status.devices), status.device, resource)
    else:
        troubles = "; ".join(each.trouble for each in status.devices)
        logger.warning("no device of %r is ready, requests will wait: %s", resource, troubles)
    return pool


def _wait_for_host(resource: str, deadline: float) -> None:
    while not units_in_cluster(resource):
        if time.monotonic() >= deadline:
            address = ray.get_runtime_context().gcs_address
            raise NoDeviceError(no_device_message(resource, cluster_resources(), address))
        time.sleep(_LOOK_S)


def _join(pool: DevicePool, settings: PoolSettings, deadline: float) -> Any:
    """Let ``pool`` into the coordinator, which is made if there is none.

    Raises:
        DeviceError: If none could be made until ``deadline``; with the cause.
    """
    here = ray.get_runtime_context().get_node_id()
    actor: Any = ray.remote(Coordinator)
    while True:
        coordinator = actor.options(
            name=actor_name(pool.resource),
            namespace=NAMESPACE,
            get_if_exists=True,
            lifetime="detached",
            num_cpus=0,
            max_restarts=-1,
            max_task_retries=-1,
            max_concurrency=_MOST_WAITING,
            scheduling_strategy=NodeAffinitySchedulingStrategy(here, soft=True),
        ).remote(settings, pool.experiment, pool.job)
        joined = coordinator.connect.remote(settings.spec, pool.experiment, pool.job, pool.store)
        cause: BaseException | None = None
        try:
            if ask(joined, pool.resource):
                return coordinator
            ray.kill(coordinator, no_restart=True)
        except DeviceError as error:
            cause = error.__cause__
            if not isinstance(cause, ActorDiedError):
                raise
        if time.monotonic() >= deadline:
            why = last_line(cause) if cause else "others close it again and again"
            raise DeviceError(f"the pool of {pool.resource!r} cannot be started: {why}") from cause
        time.sleep(_AGAIN_S)  # another experiment has just closed it
