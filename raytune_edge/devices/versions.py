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
_COMPARED = ("Python", "Ray", "raytune_edge")

Versions = Mapping[str, str]
"""Version of each of ``Python``, ``Ray`` and ``raytune_edge``; of another node also what Ray was
told there about Python's patch version."""


def versions_here() -> Versions:
    """What this process runs."""
    python, rays = platform.python_version(), ray.__version__
    return {"Python": python, "Ray": rays, "raytune_edge": __version__}


def versions_on(node_id: str) -> ray.ObjectRef[Any]:
    """What a worker on that node runs, from a task that holds nothing and ends at once."""

    level = _RAYS_LEVEL

    # Nested, so that it travels by value: an older raytune_edge over there need not know it.
    def tell() -> dict[str, str]:
        import os
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
            level: os.environ.get(level, ""),
        }

    node = NodeAffinitySchedulingStrategy(node_id, soft=False)
    task: Any = ray.remote(tell)
    reference: ray.ObjectRef[Any] = task.options(
        num_cpus=0, max_retries=0, scheduling_strategy=node
    ).remote()
    return reference


def mismatch(here: Versions, there: Versions, host: str) -> str:
    """Both sides and the command that mends it; "" where they agree.

    Python's patch version counts unless Ray was told that it does not, on either side: a node asks
    its own environment when it joins.
    """
    compared = [{name: each[name] for name in _COMPARED} for each in (here, there)]
    if "minor" in (os.environ.get(_RAYS_LEVEL), there.get(_RAYS_LEVEL)):
        for each in compared:
            each["Python"] = each["Python"].rpartition(".")[0]
    differ = [name for name in _COMPARED if compared[0][name] != compared[1][name]]
    if not differ:
        return ""
    return (
        f"expected one version of everything on all nodes: {_told(here)} here on "
        f"{socket.gethostname()}, got {_told(there)} on {host}; on {host} run\n"
        f"    {_mend(here, differ)}  # then start its node again"
    )


def _told(versions: Versions) -> str:
    return ", ".join(f"{name} {versions[name]}" for name in _COMPARED)


def _mend(here: Versions, differ: list[str]) -> str:
    """Of the repository's folder: the package is built there, and lies in no registry."""
    ours = here["raytune_edge"]
    if "Python" in differ:
        return f"cluster/node-setup.sh {here['Python']} {ours}"
    commands = {
        "Ray": f"pip install ray=={here['Ray']}",
        "raytune_edge": f"pip install --no-deps dist/raytune_edge-{ours}-py3-none-any.whl",
    }
    return " && ".join(commands[name] for name in differ)


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
        ray.cancel(reference, force=True)  # else it waits there for the whole run
    told = []
    for reference in ready:
        try:
            told.append(mismatch(versions_here(), ray.get(reference), asked[reference]))
        except RayError as error:
            logger.warning("%s did not tell its versions: %s", asked[reference], error)
    if any(told):
        raise VersionMismatchError("\n".join(filter(None, told)))
