"""CPU cores: one for each measuring child where the device is the host's own CPU."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from raytune_edge.runtimes.locks import Lock, take

__all__ = [
    "ClaimedCore",
    "allowed_cores",
    "claim_core",
    "keep_off",
    "quiet_cores",
    "wait_for_quiet",
]

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
    return _spare_cores(allowed, units)[:units]


def _spare_cores(allowed: Sequence[frozenset[int]], units: int) -> list[frozenset[int]]:
    if len(allowed) <= units:
        allowed = [frozenset({cpu}) for core in allowed for cpu in sorted(core)]
    return list(reversed(allowed))[:-1]


@dataclass(frozen=True, kw_only=True)
class ClaimedCore:
    """A core that a measuring child has for itself, among all pools and users of the host.

    Attributes:
        cpus: Its hardware threads.
        locks: They say so to others, for as long as this process lives.
    """

    cpus: frozenset[int]
    locks: tuple[Lock, ...]

    def release(self) -> None:
        """Leave it to others. May be called again."""
        for lock in self.locks:
            lock.release()


def claim_core(
    allowed: Sequence[frozenset[int]],
    units: int,
    *,
    patience_s: float = 2.0,
    root: Path = Path("/"),
) -> ClaimedCore | None:
    """The first core that nobody has claimed, one being left for everything else; None if none.

    Args:
        patience_s: How long to wait for a core that a process is just about to leave.
    """
    spare = _spare_cores(allowed, units)
    deadline = time.monotonic() + patience_s
    while spare:
        for core in spare:
            locks = [take(f"cpu-{cpu}", root) for cpu in sorted(core)]
            claimed = ClaimedCore(cpus=core, locks=tuple(filter(None, locks)))
            if len(claimed.locks) == len(core):
                return claimed
            claimed.release()
        if time.monotonic() >= deadline:
            break
        time.sleep(_LOOK_S)
    return None


def keep_off(cores: Collection[int]) -> None:
    """Move all threads of this process off ``cores``, as far as it has others."""
    if not hasattr(os, "sched_setaffinity"):
        return
    for thread in os.listdir("/proc/self/task"):
        with contextlib.suppress(ProcessLookupError):  # it has just ended
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
