"""What the pool adds to a request over calling the measuring child, and what the store takes.

Direct and pooled requests take turns, with models of several sizes; the device is a fake one in a
real child, whose measurement takes a few milliseconds. Prints a table, then JSON:
``{"added_ms": {"0.1 MB": 3.1, ...}, "cached_ms": {...}, "cached_p90_ms": {...}}``. The targets are
at most 10 ms each.

    python benchmarks/pool_cost.py [--rounds 60]
"""

import argparse
import hashlib
import json
import statistics
import tempfile
import time
from collections.abc import Callable

import ray
from _machine import machine

import raytune_edge as rte
from raytune_edge.runtimes import Instrument
from raytune_edge.testing import FakeDevice

SIZES_MB = (0.1, 1.0, 10.0, 45.0)
TIMING = rte.Timing(warmup_requests=0, warmup_s=0.0, min_s=0.0, throughput_s=0.0, max_pressure=1.0)


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
    added, cached, slowest = {}, {}, {}
    with tempfile.TemporaryDirectory() as folder:
        pool = rte.connect_devices(device, resource="ncs", store=folder)
        for size_mb in SIZES_MB:
            model = b"\x08" * int(size_mb * 1e6)
            signature = hashlib.sha256(model).hexdigest()
            calls = {
                "direct": lambda model=model: instrument.measure(model, TIMING),
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
            cached[label] = round(median["cached"], 2)
            slowest[label] = round(statistics.quantiles(times["cached"], n=10)[-1], 2)
            print(
                f"{label:>7}: direct {median['direct']:6.2f} ms, "
                f"pooled {median['pooled']:6.2f} ms, added {added[label]:5.2f} ms, "
                f"cached {cached[label]:5.2f} ms (p90 {slowest[label]:.2f})"
            )
        pool.close()
    instrument.close()
    ray.shutdown()
    result = {"added_ms": added, "cached_ms": cached, "cached_p90_ms": slowest}
    print(json.dumps({**result, "machine": machine()}))


if __name__ == "__main__":
    main()
