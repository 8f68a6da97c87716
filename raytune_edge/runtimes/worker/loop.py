"""The one timing loop: every runtime's models are measured here, and only here.

Runs under Python 3.6 and newer. `raytune_edge.Timing` is the protocol in words.
"""

import math
import os
import time

_T95 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160,
        2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056,
        2.052, 2.048, 2.045, 2.042)  # fmt: skip
"""Two-sided 95 % quantiles of Student's t for 1 to 30 degrees of freedom."""


def percentile(values, fraction):
    """Linear interpolation between the closest ranks, as NumPy's default does."""
    ordered = sorted(values)
    place = fraction * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def half_interval(medians):
    """Half width of the 95 % interval of the mean of independent block medians."""
    count = len(medians)
    mean = sum(medians) / count
    variance = sum((each - mean) ** 2 for each in medians) / (count - 1)
    freedom = count - 1
    # Past the table, the first terms of t's expansion around the normal quantile.
    quantile = _T95[freedom - 1] if freedom <= len(_T95) else 1.95996 + 2.372 / freedom
    return quantile * math.sqrt(variance / count)


class Pressure:
    """How much of the time between two looks something waited for a CPU."""

    def __init__(self):
        self.at, self.own, self.host = time.perf_counter(), _own_wait_s(), _host_pressure_s()

    def since(self):
        """Fractions (of our own threads, of the host); None where the kernel does not tell."""
        now = Pressure()
        elapsed = max(now.at - self.at, 1e-9)
        pairs = ((self.own, now.own), (self.host, now.host))
        return tuple(
            None if before is None or after is None else min(max(after - before, 0) / elapsed, 1.0)
            for before, after in pairs
        )


def _own_wait_s():
    """Seconds that this process's threads stood in a run queue (Linux schedstat)."""
    total = 0
    try:
        for thread in os.listdir("/proc/self/task"):
            with open(f"/proc/self/task/{thread}/schedstat") as file:
                total += int(file.read().split()[1])
    except (OSError, IndexError, ValueError):
        return None
    return total / 1e9


def _host_pressure_s():
    """Seconds in which some task of the host waited for a CPU (Linux pressure stall)."""
    try:
        with open("/proc/pressure/cpu") as file:
            return int(file.readline().rsplit("total=", 1)[1]) / 1e6
    except (OSError, IndexError, ValueError):
        return None


def time_block(infer, settings, clock):
    """Latencies in ms of one block of synchronous requests."""
    samples, begin = [], clock()
    while len(samples) < settings["block_requests"]:
        start = clock()
        infer()
        end = clock()
        samples.append((end - start) * 1e3)
        if end - begin >= settings["block_s"]:
            break
    return samples


def warm_up(infer, settings, clock):
    """Step 2 of the protocol: a slow network's ends with time, whatever its count is."""
    begin, done = clock(), 0
    longest_s = max(settings["warmup_s"], settings["block_s"])
    while True:
        passed_s = clock() - begin
        short = done < settings["warmup_requests"] or passed_s < settings["warmup_s"]
        if not short or passed_s >= longest_s:
            return
        infer()
        done += 1


def stops_by(medians, timed_s, late, settings):
    """Step 4 of the protocol: the half interval, and why measuring stops; None if it goes on."""
    half = half_interval(medians) if len(medians) > 1 else math.inf
    whole = len(medians) >= settings["min_blocks"]
    steady = half <= settings["tolerance"] * percentile(medians, 0.5)
    if whole and steady and timed_s >= settings["min_s"]:
        return half, "tolerance"
    enough = whole and timed_s >= settings["max_s"]
    return half, "max_s" if enough or (late and len(medians) > 1) else None


def time_latency(infer, settings, clock=time.perf_counter, pressure=Pressure):
    """Steps 2 to 4 of the protocol in `raytune_edge.Timing`, whose fields ``settings`` holds.

    A device with a made-up ``clock`` makes up its ``pressure`` as well.
    """
    latest = clock() + settings["timeout_s"] / 2
    warm_up(infer, settings, clock)
    blocks, medians, waits, pressures, stopped_by = [], [], [], [], None
    retries, timed_s, cpu_s, noisy_blocks = settings["pressure_retries"], 0.0, 0.0, 0
    while stopped_by is None:
        before, cpu_before, start = pressure(), time.process_time(), clock()
        samples = time_block(infer, settings, clock)
        end = clock()
        took, cpu_took = end - start, time.process_time() - cpu_before
        late = end + took > latest  # another one would be
        wait, host = before.since()
        noisy = (wait if wait is not None else host or 0.0) > settings["max_pressure"]
        if noisy and retries > 0 and not late:
            retries -= 1
            time.sleep(min(0.2 * (settings["pressure_retries"] - retries), 1.0))
            continue
        noisy_blocks += noisy
        blocks.append(samples)
        medians.append(percentile(samples, 0.5))
        waits.append(wait)
        pressures.append(host)
        timed_s += took
        cpu_s += cpu_took
        half, stopped_by = stops_by(medians, timed_s, late, settings)
    return {
        "samples_ms": [sample for block in blocks for sample in block],
        "block_medians_ms": medians,
        "half_interval_ms": half,
        "stopped_by": stopped_by,
        "noisy_blocks": noisy_blocks,
        "timed_s": timed_s,
        "cpu_s": cpu_s,
        "cpu_wait": _mean(waits),
        "cpu_pressure": _mean(pressures),
    }


def _mean(values):
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def time_throughput(requests, seconds, clock=time.perf_counter):
    """Inferences per second with all ``requests`` in flight; each has ``start`` and ``wait``."""
    for request in requests:
        request.start()
    begin = clock()
    done, last = 0, begin
    while last - begin < seconds or done < len(requests):
        request = requests[done % len(requests)]
        request.wait()
        done += 1
        last = clock()
        request.start()
    for request in requests:
        request.wait()
    return done / (last - begin)
