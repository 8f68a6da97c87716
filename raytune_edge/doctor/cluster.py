"""What this host's Ray node offers to the cluster.

Run as a module it prints that for one resource, as JSON: Ray may try for minutes to reach a cluster
that is gone, and cannot be interrupted, so it is asked in a process of its own.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from raytune_edge.doctor.finding import Finding

__all__ = ["Offer", "offer_here", "ray_findings"]

_ANSWER_S = 30.0
_HEAD = "node:__internal_head__"
"""Ray's own resource that a cluster's head has, and no other node."""


@dataclass(frozen=True, kw_only=True)
class Offer:
    """How many units of a resource this host's node offers, and to which cluster.

    Attributes:
        head: Whether the node is the cluster's head, without which there is no cluster.
    """

    units: int
    address: str
    head: bool = False

    def restart(self, resources: str) -> str:
        """The command that lets the node offer other ``resources``."""
        if not self.head:
            return f"ray stop && ray start --address={self.address} {resources}"
        port = self.address.rpartition(":")[2]
        return (
            f"ray stop && ray start --head --port={port} {resources}  # this node is the head: "
            "that ends the cluster with all its runs, and the other nodes have to join again"
        )


def ray_findings(resource: str, units: int = 0) -> Iterator[Finding]:
    """Whether this host's Ray node offers the resource, and as many units as there are devices.

    Args:
        units: How many there are; 0 for any number, as where the CPU measures.
    """
    ray_offers = f"--resources='{{\"{resource}\": {units or 1}}}'"
    try:
        offer = offer_here(resource)
    except TimeoutError as error:
        mend = "ray status  # tells the address; then RAY_ADDRESS=HOST:PORT raytune-edge doctor"
        yield Finding(level="warn", what=str(error), mend=mend)
        return
    if offer is None:
        what = "no Ray node runs on this host"
        mend = f"ray start --address=HEAD:6379 {ray_offers}  # --head in place of --address alone"
        yield Finding(level="warn", what=what, mend=mend)
        return
    mend = offer.restart(ray_offers)
    told = f"offers {resource}: {offer.units} to {offer.address}"
    if not offer.units:
        what = f"this host's Ray node does not offer the resource {resource!r} to {offer.address}"
        yield Finding(level="warn", what=what, mend=mend)
    elif units and offer.units != units:
        what = f"this host's Ray node {told}, but the host has {units}"
        yield Finding(level="warn", what=what, mend=mend)
    else:
        yield Finding(level="ok", what=f"this host's Ray node {told}")


def offer_here(resource: str) -> Offer | None:
    """What this host's node offers; None where none runs.

    Raises:
        TimeoutError: If there is a cluster, or a trace of one, that does not answer.
    """
    import ray

    if ray.is_initialized():
        return _ask(resource)
    try:
        done = subprocess.run(
            [sys.executable, "-m", __name__, resource],
            capture_output=True,
            text=True,
            timeout=_ANSWER_S,
        )
    except subprocess.TimeoutExpired:
        message = (
            f"the Ray cluster that this host should belong to does not answer in {_ANSWER_S:g} s"
        )
        raise TimeoutError(message) from None
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"status {done.returncode}"]
        raise TimeoutError(f"the Ray cluster of this host cannot be asked: {lines[-1]}")
    told = json.loads(done.stdout.splitlines()[-1])
    return None if told is None else Offer(**told)


def _ask(resource: str) -> Offer:
    import ray

    from raytune_edge.devices.cluster import units_in_cluster

    context = ray.get_runtime_context()
    here = context.get_node_id()
    units = sum(unit.node_id == here for unit in units_in_cluster(resource))
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    head = any(node["NodeID"] == here and _HEAD in node["Resources"] for node in nodes)
    return Offer(units=units, address=context.gcs_address, head=head)


def _main(resource: str) -> None:
    import ray

    try:
        ray.init(address="auto", configure_logging=False, log_to_driver=False)
    except ConnectionError as error:
        if "Could not find any running Ray instance" not in str(error):
            raise
        sys.stdout.write("null\n")
        return
    sys.stdout.write(json.dumps(asdict(_ask(resource))) + "\n")


if __name__ == "__main__":
    _main(sys.argv[1])
