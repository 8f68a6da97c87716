"""CPU cores: one for each measuring child where the device is the host's own CPU."""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Sequence
from pathlib import Path

__all__ = ["allowed_cores", "keep_off", "quiet_cores", "wait_for_quiet"]

_LOOK_S = 0.25


def allowed_cores() -> list[frozenset[int]]:
    """The cores that this process may use, each with its hardware threads, in ascending order."""
    if not hasattr(os, "sched_getaffinity"):
        return []
    allowed = os.sched_getaffinity(0)
    cores = {frozenset(_hardware_threads(cpu) & allowed) for cpu in allowed}
    return sorted(cores, key=min)


def _hardware_threads(cpu: int) -> set[int]:
    path = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
    try:
        parts = path.read_text().strip().split(",")
    except OSError:
        return {cpu}
    threads = {cpu}
    for part in parts:
        first, _, last = part.partition("-")
        threads.update(range(int(first), int(last or first) + 1))
    return threads


def quiet_cores(allowed: Sequence[frozenset[int]], units: int) -> list[frozenset[int]]:
    """A core for each of a host's ``units``, as far as one is left for everything else.

    The last cores are taken. If there are not enough whole cores, hardware threads stand in.

    >>> quiet_cores([frozenset({0}), frozenset({1}), frozenset({2})], 2)
    [frozenset({2}), frozenset({1})]
    >>> quiet_cores([frozenset({0, 1})], 1)
    [frozenset({1})]
    >>> quiet_cores([frozenset({0})], 1)
    []
    """
    if len(allowed) <= units:
        allowed = [frozenset({cpu}) for core in allowed for cpu in sorted(core)]
    spare = max(0, min(units, len(allowed) - 1))
    return list(reversed(allowed))[:spare]


def keep_off(cores: Collection[int]) -> None:
    """Move all threads of this process off ``cores``, as far as it has others."""
    if not hasattr(os, "sched_setaffinity"):
        return
    for thread in os.listdir("/proc/self/task"):
        if rest := os.sched_getaffinity(int(thread)) - set(cores):
            os.sched_setaffinity(int(thread), rest)


def wait_for_quiet(*, max_pressure: float, limit_s: float) -> float:
    """Wait until tasks of the host stand in line for a CPU no more than ``max_pressure``.

    Returns:
        Seconds waited: ``limit_s`` if it did not get quiet, 0 where the kernel does not tell.
    """
    start = time.monotonic()
    before = _pressure_s()
    while before is not None and (waited := time.monotonic() - start) < limit_s:
        time.sleep(_LOOK_S)
        after = _pressure_s()
        if after is None or after - before <= max_pressure * _LOOK_S:
            return waited
        before = after
    return 0.0 if before is None else limit_s


def _pressure_s() -> float | None:
    try:
        some = Path("/proc/pressure/cpu").read_text().splitlines()[0]
    except OSError:
        return None
    return int(some.rpartition("total=")[2]) / 1e6
