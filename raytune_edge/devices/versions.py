"""One Python, one Ray and one raytune_edge on all nodes, or a message that names both sides."""

from __future__ import annotations

import logging
import os
import platform
import socket
from collections.abc import Mapping
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from raytune_edge import __version__
from raytune_edge.errors import VersionMismatchError

__all__ = ["ANSWER_S", "check_nodes", "mismatch", "versions_here", "versions_on"]

logger = logging.getLogger(__name__)

ANSWER_S = 30.0
"""How long a node may take to start a worker and to tell."""

_RAYS_LEVEL = "RAY_DEFAULT_PYTHON_VERSION_MATCH_LEVEL"

Versions = Mapping[str, str]
"""Version of each of ``Python``, ``Ray`` and ``raytune_edge``."""


def versions_here() -> Versions:
    """What this process runs."""
    python, rays = platform.python_version(), ray.__version__
    return {"Python": python, "Ray": rays, "raytune_edge": __version__}


def versions_on(node_id: str) -> ray.ObjectRef[Any]:
    """What a worker on that node runs, from a task that holds nothing and ends at once."""

    # Nested, so that it travels by value: an older raytune_edge over there need not know it.
    def tell() -> dict[str, str]:
        import platform

        import ray

        try:
            from raytune_edge import __version__ as ours
        except ImportError:
            ours = "not installed"
        return {
            "Python": platform.python_version(),
            "Ray": ray.__version__,
            "raytune_edge": ours,
        }

    node = NodeAffinitySchedulingStrategy(node_id, soft=False)
    task: Any = ray.remote(tell)
    reference: ray.ObjectRef[Any] = task.options(
        num_cpus=0, max_retries=0, scheduling_strategy=node
    ).remote()
    return reference


def mismatch(here: Versions, there: Versions, host: str) -> str:
    """Both sides and the command that mends it; "" where they agree.

    Python's patch version counts unless Ray was told that it does not.
    """
    minor = os.environ.get(_RAYS_LEVEL) == "minor"
    compared = [dict(each) for each in (here, there)]
    if minor:
        for each in compared:
            each["Python"] = each["Python"].rpartition(".")[0]
    if compared[0] == compared[1]:
        return ""
    mend = (
        f"pip install ray=={here['Ray']} raytune-edge=={here['raytune_edge']}"
        f"  # under Python {here['Python']}, then start its node again"
    )
    return (
        f"expected one version of everything on all nodes: {_told(here)} here on "
        f"{socket.gethostname()}, got {_told(there)} on {host}; on {host} run\n    {mend}"
    )


def _told(versions: Versions) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items())


def check_nodes() -> None:
    """Ask all nodes of the cluster at once.

    One that is lost meanwhile, or has no answer after 30 s, is passed over.

    Raises:
        VersionMismatchError: For the nodes that differ from this process.
    """
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    asked = {
        versions_on(node["NodeID"]): node["NodeManagerHostname"] for node in nodes if node["Alive"]
    }
    ready, silent = ray.wait(list(asked), num_returns=len(asked), timeout=ANSWER_S)
    for reference in silent:
        logger.warning("%s did not tell its versions in %g s", asked[reference], ANSWER_S)
    told = []
    for reference in ready:
        try:
            told.append(mismatch(versions_here(), ray.get(reference), asked[reference]))
        except RayError as error:
            logger.warning("%s did not tell its versions: %s", asked[reference], error)
    if any(told):
        raise VersionMismatchError("\n".join(filter(None, told)))
