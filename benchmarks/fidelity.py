"""Our p50 against OpenVINO's benchmark_app, model by model.

In each round both measure on the same core, with one thread and in float32, by turns: while one
runs for ``--slice`` seconds the other is stopped, so that both meet the same moods of the machine.
A round's ratio is ours over theirs, a model's is the median over its rounds, whose processes are
fresh. A round in which either waited for the core for more than 2 % of the time that it was not
stopped is done again, up to ``--rounds`` times a model, since benchmark_app would not notice. It is
run as it is, but its median is printed with all digits: two decimals of a millisecond are no figure
for half of one. The core is claimed as a pool's unit claims it, so that none measures there too.

Ours times the request as the caller sees it, theirs inside the runtime: a call from Python adds
5 us to ours, some 50 us after a network that emptied the processor's caches. Prints a table, then
JSON: ``{"median_ratio": {"resnet18": 1.004, ...}}``.

    python benchmarks/fidelity.py [--models cifar_resnet20 ...] [--rounds 7] [--seconds 10]
"""

import argparse
import contextlib
import itertools
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
import torchvision
from _machine import machine

import raytune_edge as rte
from raytune_edge.config import Timing
from raytune_edge.devices.cores import allowed_cores, claim_core
from raytune_edge.export import export_onnx
from raytune_edge.runtimes import Instrument, device_spec
from raytune_edge.tasks.resnet import cifar_resnet

QUIET = 0.02
MODELS = ("cifar_resnet20", "resnet18", "mobilenet_v2")

THEIRS = """
import glob, os, sys
os.sched_setaffinity(0, {int(sys.argv.pop(1))})
sys.modules["openvino_telemetry"] = None
from openvino.tools.benchmark.benchmark import Benchmark
from openvino.tools.benchmark.main import main

told = Benchmark.main_loop

def schedstat():  # of all threads: nanoseconds on a CPU, and in line for one
    files = glob.glob("/proc/self/task/*/schedstat")
    return [sum(int(open(file).read().split()[i]) for file in files) for i in (0, 1)]

def main_loop(self, *args):
    before = schedstat()
    result = told(self, *args)
    ran, waited = (after - each for after, each in zip(schedstat(), before))
    print("found", result[1], waited / (ran + waited))
    return result

Benchmark.main_loop = main_loop
main()
"""


def export(name: str) -> bytes:
    torch.manual_seed(0)
    if name.startswith("cifar_resnet"):
        model, size = cifar_resnet(int(name.removeprefix("cifar_resnet"))), 32
    else:
        model, size = torchvision.models.get_model(name), 224
    return export_onnx(model.eval(), torch.rand(1, 3, size, size)).onnx


def theirs(path: Path, core: int, seconds: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", THEIRS, str(core), "-m", str(path), "-d", "CPU"]
    command += ["-api", "sync", "-hint", "none", "-nstreams", "1", "-nthreads", "1"]
    command += ["-t", str(seconds), "-infer_precision", "f32", "-ip", "f32"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def waited(record: rte.Measurement) -> float:
    """Fraction of the time in which ours wanted the core, not that in which it was stopped."""
    waited_s = (record.cpu_wait or 0.0) * record.latency_mean_ms / 1e3
    return waited_s / (waited_s + record.cpu_s_per_inference)


def one_round(onnx_bytes: bytes, core: int, seconds: int, slice_s: float) -> tuple[float, ...]:
    """p50 in ms, ours and theirs, and the larger fraction of the time that one had no CPU."""
    timing = Timing(precision="f32", min_s=seconds, max_s=seconds, throughput_s=0)
    instrument = Instrument(device_spec("CPU"), core=core)
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(2) as threads:
        path = Path(folder, "model.onnx")
        path.write_bytes(onnx_bytes)
        pid = instrument.hello().pid
        with theirs(path, core, seconds) as process:
            found = threads.submit(process.communicate)
            record = threads.submit(instrument.measure, onnx_bytes, timing)
            try:
                turns = itertools.cycle([(pid, process.pid), (process.pid, pid)])
                while not (found.done() or record.done()):
                    running, waiting = next(turns)
                    os.kill(waiting, signal.SIGSTOP)
                    os.kill(running, signal.SIGCONT)
                    time.sleep(slice_s)
            finally:
                for each in (pid, process.pid):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(each, signal.SIGCONT)
            (line,) = (x for x in found.result()[0].splitlines() if x.startswith("found "))
        ours = record.result()
        instrument.close()
    p50_ms, their_wait = map(float, line.split()[1:])
    return ours.latency_p50_ms, p50_ms, max(their_wait, waited(ours))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=int, default=10, help="of a round, shared by both")
    parser.add_argument("--slice", type=float, default=0.5, help="seconds of one turn")
    arguments = parser.parse_args()
    if (claimed := claim_core(allowed_cores(), 1)) is None:
        sys.exit("expected a core that no pool has claimed, and another one for everything else")
    core = min(claimed.cpus)
    ratios: dict[str, list[float]] = {name: [] for name in arguments.models}
    print(f"{'model':16} {'ours ms':>9} {'theirs ms':>9} {'ratio':>7}", flush=True)
    for name, found in ratios.items():
        onnx_bytes, again = export(name), arguments.rounds
        while len(found) < arguments.rounds:
            ours, other, wait = one_round(onnx_bytes, core, arguments.seconds, arguments.slice)
            line = f"{name:16} {ours:9.4f} {other:9.4f} {ours / other:7.4f}"
            if wait > QUIET and again > 0:
                again -= 1
                line += f"  again: waited {wait:.0%} of the time"
            else:
                found.append(ours / other)
            print(line, flush=True)
    medians = {name: round(statistics.median(found), 4) for name, found in ratios.items()}
    print(json.dumps({"median_ratio": medians, "machine": machine()}))


if __name__ == "__main__":
    main()
