"""What Ray knows of the cluster: which host has which units, and whose driver still lives."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import ray

__all__ = [
    "UnitPlace",
    "cluster_resources",
    "live_jobs",
    "no_device_message",
    "offered_by",
    "units_in_cluster",
    "units_on",
]


@dataclass(frozen=True, kw_only=True)
class UnitPlace:
    """One unit of the resource on one host.

    Attributes:
        node_id: Ray's name for the host's node; another one after the host has come back.
        host: Its host name.
        index: Which of the host's ``units``, from 0.
        resources: What its actor asks Ray for.
    """

    node_id: str
    host: str
    index: int
    units: int
    resources: Mapping[str, float] = field(compare=False)

    @property
    def key(self) -> tuple[str, int]:
        """Tells units apart."""
        return self.node_id, self.index


def units_on(nodes: Iterable[Mapping[str, Any]], resource: str) -> list[UnitPlace]:
    """The units of ``resource`` on those of Ray's ``nodes`` that are alive.

    Ray's custom resources have no instance index. Where a node offers ``ncs:0``, ``ncs:1``, ...
    beside ``ncs``, the unit's actor asks for its own one too, so that nobody else gets it.
    """
    places = []
    for node in nodes:
        offered = node["Resources"]
        units = int(offered.get(resource, 0))
        if not node["Alive"]:
            continue
        for index in range(units):
            tag = f"{resource}:{index}"
            asked = {resource: 1.0} | ({tag: 1.0} if offered.get(tag) else {})
            places.append(
                UnitPlace(
                    node_id=node["NodeID"],
                    host=node["NodeManagerHostname"],
                    index=index,
                    units=units,
                    resources=asked,
                )
            )
    return places


def offered_by(units: int, resource: str) -> dict[str, float]:
    """What the node of a host with that many devices offers; `units_on` reads it.

    Example:
        >>> offered_by(2, "ncs")
        {'ncs': 2, 'ncs:0': 1, 'ncs:1': 1}
    """
    if units < 0:
        raise ValueError(f"expected a number of devices, got {units}")
    tags = {f"{resource}:{index}": 1 for index in range(units)}
    return {resource: units, **tags} if units else {}


def units_in_cluster(resource: str) -> list[UnitPlace]:
    """The units of ``resource`` that the cluster has now."""
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    return units_on(nodes, resource)


def cluster_resources() -> dict[str, float]:
    """All resources of the cluster, by name."""
    resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    return resources


def no_device_message(resource: str, offered: Mapping[str, float], address: str) -> str:
    """What the cluster has instead of ``resource``, and the command that mends it."""
    listed = ", ".join(
        f"{name}: {amount:g}"
        for name, amount in sorted(offered.items())
        if not name.startswith("node:") and "memory" not in name
    )
    return (
        f"expected a node with the resource {resource!r}, the cluster has {{{listed}}}; "
        f"on the device's host run\n"
        f"    ray start --address={address} --resources='{{\"{resource}\": 1}}'\n"
        f"or, on this machine alone, ray.init(resources={{{resource!r}: 1}})"
    )


def live_jobs() -> set[str]:
    """Ids of the drivers that are connected to this cluster now.

    Ray's public way to this needs the dashboard, which small clusters run without.
    """
    from ray._private.state import state

    jobs: list[dict[str, Any]] = state.job_table()  # type: ignore[no-untyped-call]
    return {job["JobID"] for job in jobs if not job["IsDead"]}
