"""``map`` over Ray tasks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import TypeVar

import ray

__all__ = ["ray_map"]

Job = TypeVar("Job")
Result = TypeVar("Result")


def ray_map(
    function: Callable[[Job], Result],
    jobs: Iterable[Job],
    *,
    num_cpus: float = 1,
    num_gpus: float = 0,
) -> Iterator[Result]:
    """The results of ``function`` on each job, as they become ready.

    Each job is a Ray task; ``function`` is sent to the cluster once, with all that it refers to.
    An exception of a task is raised here. Tasks that have not begun when iteration ends, for
    whatever reason, are cancelled.

    Args:
        function: Anything that cloudpickle can carry: closures are welcome.
        jobs: Its arguments.
        num_cpus: CPUs that a task holds; torch uses as many threads.
        num_gpus: GPUs that a task holds.
    """

    def call(function: Callable[[Job], Result], job: Job) -> Result:
        return function(job)

    task = ray.remote(num_cpus=num_cpus, num_gpus=num_gpus)(call)
    start = partial(task.remote, ray.put(function))
    pending = [start(job) for job in jobs]
    try:
        while pending:
            (ready,), pending = ray.wait(pending)
            yield ray.get(ready)
    finally:
        for reference in pending:
            ray.cancel(reference)
