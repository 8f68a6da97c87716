"""The experiments that are connected to a pool, known also after its process was lost."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Mapping

import ray
from ray.exceptions import RayError
from ray.experimental.internal_kv import _internal_kv_del, _internal_kv_get, _internal_kv_put

__all__ = ["Experiments"]

logger = logging.getLogger(__name__)

_NAMESPACE = "raytune_edge"


class Experiments(Mapping[str, str]):
    """The driver's job of each experiment.

    Ray starts a lost process again with its constructor's arguments, which name the experiment that
    made the pool and no other. So a copy is kept where Ray keeps what it knows of its actors: it
    is there as long as the cluster.
    """

    def __init__(self, experiment: str, job: str) -> None:
        self._key = f"experiments-{ray.get_runtime_context().get_actor_id()}"
        kept = _internal_kv_get(self._key, namespace=_NAMESPACE)
        self._jobs: dict[str, str] = json.loads(kept) if kept else {experiment: job}
        self._keep()

    def __getitem__(self, experiment: str) -> str:
        return self._jobs[experiment]

    def __iter__(self) -> Iterator[str]:
        return iter(self._jobs)

    def __len__(self) -> int:
        return len(self._jobs)

    def join(self, experiment: str, job: str) -> None:
        """Let one in, if it isn't."""
        if self._jobs.get(experiment) != job:
            self._jobs[experiment] = job
            self._keep()

    def leave(self, experiment: str) -> None:
        """Let one go. May be called again."""
        if self._jobs.pop(experiment, None) is not None:
            self._keep()

    def end(self) -> None:
        """Leave nothing behind; for a pool that isn't to be started again."""
        self._attempt(lambda: _internal_kv_del(self._key, namespace=_NAMESPACE))

    def _keep(self) -> None:
        value = json.dumps(self._jobs)
        self._attempt(lambda: _internal_kv_put(self._key, value, namespace=_NAMESPACE))

    def _attempt(self, action: Callable[[], object]) -> None:
        """Do it; that Ray can't just now costs the pool nothing but its memory."""
        try:
            action()
        except RayError as error:
            logger.warning("a lost pool would not know its experiments again: %s", error)
