"""What a pool tells about itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["DeviceState", "DeviceStatus", "PoolStatus"]

DeviceState = Literal["starting", "idle", "busy", "cooling", "backing off", "quarantined"]


@dataclass(frozen=True, kw_only=True)
class DeviceStatus:
    """One device of a pool.

    Attributes:
        device_id: Which unit of which host, such as ``"stickhost/ncs:0"``; as in the records.
        node_id: Ray's name for the host's node.
        device_name: What the device calls itself; "" before it has answered.
        runtime: Runtime and version; "" before it has answered.
        state: ``"starting"`` until it has answered (also while others hold its resource),
            ``"cooling"`` during the pause that drift asks for, ``"backing off"`` between tries,
            ``"quarantined"`` after failures in succession, until it is tried again.
        reason: Why it is in quarantine, backs off, or does not get started; "" otherwise.
        retry_in_s: When it is tried again; 0 unless it is in quarantine or backs off.
        drift: Reference model's latency against the one at the start, as a fraction; None before
            there is a second figure.
        drifting: Whether ``drift`` is beyond tolerance and noise.
        last_error: The last thing that went wrong, also if all is well since.
        measured: Requests answered with a figure.
        failed: How often something went wrong: requests, starts, looks at the reference model.
        core: CPU core that its child has for itself; None if it has none.
        pid: Of its actor, 0 if none runs.
    """

    device_id: str
    node_id: str
    device_name: str = ""
    runtime: str = ""
    state: DeviceState = "starting"
    reason: str = ""
    retry_in_s: float = 0.0
    drift: float | None = None
    drifting: bool = False
    last_error: str = ""
    measured: int = 0
    failed: int = 0
    core: int | None = None
    pid: int = 0

    @property
    def healthy(self) -> bool:
        """Whether it takes requests."""
        return self.state in ("idle", "busy", "cooling")

    @property
    def busy(self) -> bool:
        """Whether it measures right now."""
        return self.state == "busy"

    @property
    def trouble(self) -> str:
        """Why it takes no requests, and when it is tried again, in words; "" if it does."""
        if self.healthy:
            return ""
        when = f", tried again in {self.retry_in_s:.0f} s" if self.retry_in_s else ""
        return f"{self.device_id} is {self.state}{when}: {self.reason or 'no answer yet'}"

    @property
    def quarantined(self) -> bool:
        """Whether it gets no requests until it is tried again."""
        return self.state == "quarantined"


@dataclass(frozen=True, kw_only=True)
class PoolStatus:
    """A pool as one of its experiments sees it.

    Attributes:
        resource: The Ray resource whose units are the devices.
        device: The runtime's name for them, such as ``"CPU"``.
        devices: One entry for each unit in the cluster.
        queue_length: Requests of all experiments that wait; those being measured not counted.
        places: Places in the queue of this experiment's waiting requests, from 1.
        expected_wait_s: What a new request would wait, by the durations so far; None if no device
            is healthy.
        experiments: Connected experiments.
    """

    resource: str
    device: str
    devices: tuple[DeviceStatus, ...]
    queue_length: int
    places: tuple[int, ...]
    expected_wait_s: float | None
    experiments: int
