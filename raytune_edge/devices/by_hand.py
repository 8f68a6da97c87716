"""Measuring by hand, without a pool, and apart from the pools of this host."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

from raytune_edge.devices.cores import allowed_cores, claim_core
from raytune_edge.errors import NoDeviceError
from raytune_edge.runtimes import Instrument, device_spec

__all__ = ["Core", "core_for", "instrument_for"]


@dataclass(frozen=True, kw_only=True)
class Core:
    """Where the child runs.

    Attributes:
        cpu: The one that it is bound to; None for any.
        doubt: What may be wrong with its figures, and others'; "" if nothing is.
    """

    cpu: int | None = None
    doubt: str = ""


@contextlib.contextmanager
def core_for(device: str, *, threads: int | None = 1) -> Iterator[Core]:
    """A core of its own for a child that measures on the host's CPU, as a pool's unit claims it.

    Where others have claimed all cores but the one that is left for everything else, the child
    gets that one: it must not disturb what they measure.

    Args:
        threads: Inference threads; a child with several needs as many cores, and gets them all.
    """
    cores = allowed_cores() if device == "CPU" else []
    if not cores:
        yield Core()
        return
    if threads != 1:
        yield Core(doubt="it runs on all cores, also on those of pools that measure here")
        return
    try:
        claimed, why = claim_core(cores, 1), ""
    except NoDeviceError as error:
        claimed, why = None, f" ({error})"
    if claimed is None:
        yield Core(cpu=min(cores[0]), doubt=f"it has no core of its own{why}: others may slow it")
        return
    try:
        yield Core(cpu=min(claimed.cpus))
    finally:
        claimed.release()


@contextlib.contextmanager
def instrument_for(device: str, *, threads: int | None = 1) -> Iterator[tuple[Instrument, str]]:
    """An instrument on the core of `core_for`, closed in the end, and the doubt about that core."""
    with core_for(device, threads=threads) as core:
        instrument = Instrument(device_spec(device), core=core.cpu)
        try:
            yield instrument, core.doubt
        finally:
            instrument.close()
