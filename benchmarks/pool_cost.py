"""What the pool adds to a request over calling the measuring child, and what the store takes.

Direct and pooled requests take turns, with models of several sizes; the device is a fake one in a
real child, whose measurement takes a few milliseconds. With them goes what any pool on Ray's actors
would take: the model in the object store, and two actors, one that queues and one that measures,
with nothing in them. Prints a table, then JSON: ``{"added_ms": {"0.1 MB": 3.1, ...}, "bare_ms":
{...}, "cached_ms": {...}, "cached_p90_ms": {...}}``. The targets are at most 10 ms for the pool and
for the store.

    python benchmarks/pool_cost.py [--rounds 60]
"""

import argparse
import hashlib
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import ray
from _machine import machine

import raytune_edge as rte
from raytune_edge.runtimes import Instrument
from raytune_edge.testing import FakeDevice

SIZES_MB = (0.1, 1.0, 10.0, 45.0)
TIMING = rte.Timing(warmup_requests=0, warmup_s=0.0, min_s=0.0, throughput_s=0.0, max_pressure=1.0)


class Queue:
    """A pool with nothing in it: what comes goes to the one device there is."""

    def __init__(self, device: FakeDevice) -> None:
        self._device = ray.remote(Device).options(num_cpus=0).remote(device)

    async def measure(self, payload: list[Any]) -> rte.Measurement:
        return await self._device.measure.remote(payload[0])


class Device:
    def __init__(self, device: FakeDevice) -> None:
        self._instrument = Instrument(device.spec())

    def measure(self, packed: np.ndarray) -> rte.Measurement:
        return self._instrument.measure([packed.data], TIMING)


def took_ms(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return (time.perf_counter() - start) * 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=60)
    rounds = parser.parse_args().rounds

    ray.init(
        address="local",
        num_cpus=1,
        resources={"ncs": 1},
        include_dashboard=False,
        configure_logging=False,
        log_to_driver=False,
    )
    device = FakeDevice(any_model=True)
    instrument = Instrument(device.spec())
    queue = ray.remote(Queue).options(num_cpus=0).remote(device)
    added, bare, cached, slowest = {}, {}, {}, {}
    with tempfile.TemporaryDirectory() as folder:
        pool = rte.connect_devices(device, resource="ncs", store=folder)
        for size_mb in SIZES_MB:
            model = b"\x08" * int(size_mb * 1e6)
            signature = hashlib.sha256(model).hexdigest()
            calls = {
                "direct": lambda model=model: instrument.measure(model, TIMING),
                "bare": lambda model=model: ray.get(
                    queue.measure.remote([ray.put(np.frombuffer(model, np.uint8))])
                ),
                "pooled": lambda model=model: pool.measure(model, timing=TIMING),
                "cached": lambda model=model, signature=signature: pool.measure(
                    model, timing=TIMING, signature=signature
                ),
            }
            for call in calls.values():
                call()
            times = {name: [] for name in calls}
            for _ in range(rounds):
                for name, call in calls.items():
                    times[name].append(took_ms(call))
            median = {name: statistics.median(each) for name, each in times.items()}
            label = f"{size_mb:g} MB"
            added[label] = round(median["pooled"] - median["direct"], 2)
            bare[label] = round(median["bare"] - median["direct"], 2)
            cached[label] = round(median["cached"], 2)
            slowest[label] = round(statistics.quantiles(times["cached"], n=10)[-1], 2)
            print(
                f"{label:>7}: direct {median['direct']:6.2f} ms, "
                f"pooled {median['pooled']:6.2f} ms, added {added[label]:5.2f} ms "
                f"(bare actors {bare[label]:5.2f} ms), "
                f"cached {cached[label]:5.2f} ms (p90 {slowest[label]:.2f})"
            )
        pool.close()
    instrument.close()
    ray.shutdown()
    result = {"added_ms": added, "bare_ms": bare, "cached_ms": cached, "cached_p90_ms": slowest}
    print(json.dumps({**result, "machine": machine()}))


if __name__ == "__main__":
    main()
