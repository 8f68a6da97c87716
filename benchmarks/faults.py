"""A campaign of faults against a real pool: does each request get its own answer?

A cluster of three nodes on this machine, two of them with a device: OpenVINO's CPU in a measuring
child, whose answers can be spoilt on demand (`faulty.py`). Requests for three networks, whose
latencies are some thirty times apart, keep coming while faults of eight kinds are injected: child
killed, child hung (stopped), child printing garbage, record of another request replayed, actor
killed, node killed (and another one joining), a cut-short ONNX file, and an unsupported layer.

A request is ``lost`` if it has neither answer nor typed error; its number is ``wrong`` if the
record is of another model by its SHA-256, or if its p50 is nearer to another network's, or if a
model that cannot be measured has one. Prints a table, then JSON: ``{"faults": n, "lost": 0,
"wrong": 0, ...}``.

    python benchmarks/faults.py [--faults 104] [--seed 0]
"""

import argparse
import collections
import concurrent.futures
import contextlib
import hashlib
import json
import math
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import ray
from _machine import machine
from onnx import TensorProto, helper, numpy_helper
from ray.cluster_utils import Cluster

import raytune_edge as rte
from raytune_edge.errors import RaytuneEdgeError, UnsupportedModelError
from raytune_edge.runtimes import DeviceSpec

TIMING = rte.Timing(
    warmup_requests=3,
    warmup_s=0.02,
    block_requests=50,
    block_s=0.05,
    min_s=0.0,
    max_s=0.3,
    pressure_retries=0,
    throughput_s=0.0,
    timeout_s=10.0,
)
KINDS = {
    "child killed": 7,
    "child hung": 6,
    "garbage": 7,
    "replay": 7,
    "actor killed": 7,
    "node killed": 4,
    "cut short": 7,
    "unsupported": 7,
}
"""The eight kinds, and how often each comes up among 52."""

IN_FLIGHT = 6
ANSWER_WITHIN_S = 240.0


def convolutions(channels: int, size: int, depth: int) -> bytes:
    """A network of ``depth`` convolutions on (1, channels, size, size)."""
    random_weights = np.random.default_rng(channels)
    shape = (1, channels, size, size)
    nodes, weights = [], []
    for number in range(depth):
        kernel = random_weights.normal(0, 0.01, (channels, channels, 3, 3)).astype(np.float32)
        weights.append(numpy_helper.from_array(kernel, f"w{number}"))
        inputs = [f"x{number}", f"w{number}"]
        nodes.append(helper.make_node("Conv", inputs, [f"x{number + 1}"], pads=[1, 1, 1, 1]))
    graph = helper.make_graph(
        nodes,
        "convolutions",
        [helper.make_tensor_value_info("x0", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(f"x{depth}", TensorProto.FLOAT, shape)],
        weights,
    )
    opset = [helper.make_opsetid("", 13)]
    return helper.make_model(graph, opset_imports=opset, ir_version=7).SerializeToString()


NETWORKS = {
    "small": convolutions(8, 16, 2),
    "medium": convolutions(32, 64, 8),
    "large": convolutions(128, 96, 12),
}


def cut_short(rng: random.Random) -> bytes:
    whole = rng.choice(list(NETWORKS.values()))
    return whole[: int(len(whole) * rng.uniform(0.2, 0.9))]


def unsupported(rng: random.Random) -> bytes:
    model = onnx.load_from_string(rng.choice(list(NETWORKS.values())))
    model.graph.node[0].op_type = f"NoSuchLayer{rng.randrange(1000)}"
    model.graph.node[0].domain = "nowhere"
    return model.SerializeToString()


class Campaign:
    """The cluster, its pool, the requests that keep coming, and what became of them."""

    def __init__(self, folder: str, seed: int) -> None:
        self.folder = Path(folder)
        self.rng = random.Random(seed)
        self.cluster = Cluster(
            initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False}
        )
        self.nodes = [self.add_node(), self.add_node()]
        ray.init(address=self.cluster.address, configure_logging=False, log_to_driver=False)
        spec = DeviceSpec(
            device="CPU",
            runtime="faulty",
            option=folder,
            environment={"PYTHONPATH": str(Path(__file__).parent)},
        )
        self.pool = rte.connect_devices(
            spec, resource="ncs", timeout_s=25.0, max_tries=8, quarantine_s=2.0
        )
        self.outcomes: collections.Counter[str] = collections.Counter()
        self.injected: collections.Counter[str] = collections.Counter()
        self.stopped: list[int] = []
        self.lock = threading.Lock()
        self.usual_ms = {
            name: self.pool.measure(onnx_bytes, timing=TIMING).latency_p50_ms
            for name, onnx_bytes in NETWORKS.items()
        }

    def add_node(self) -> object:
        return self.cluster.add_node(num_cpus=1, resources={"ncs": 1})

    def note(self, outcome: str) -> None:
        with self.lock:
            self.outcomes[outcome] += 1

    def request(self, name: str) -> None:
        """Send a good network and judge what comes back."""
        onnx_bytes = NETWORKS[name]
        try:
            record = self.pool.submit(onnx_bytes, timing=TIMING).result(ANSWER_WITHIN_S)
        except RaytuneEdgeError as error:
            self.note(f"typed error: {type(error).__name__}")
            return
        except Exception as error:
            print(f"lost: {name}: {error!r}", file=sys.stderr)
            self.note("lost")
            return
        nearest = min(
            self.usual_ms,
            key=lambda other: abs(math.log(record.latency_p50_ms / self.usual_ms[other])),
        )
        same_bytes = record.model_sha256 == hashlib.sha256(onnx_bytes).hexdigest()
        if not same_bytes or nearest != name:
            print(f"wrong: {name} got {record}", file=sys.stderr)
        self.note("answered" if same_bytes and nearest == name else "wrong")

    def request_bad(self, onnx_bytes: bytes) -> None:
        """Send what cannot be measured: the one right outcome is that the model is refused."""
        try:
            record = self.pool.submit(onnx_bytes, timing=TIMING).result(ANSWER_WITHIN_S)
        except UnsupportedModelError:
            self.note("refused")
        except RaytuneEdgeError as error:
            self.note(f"typed error: {type(error).__name__}")
        except Exception as error:
            print(f"lost: {error!r}", file=sys.stderr)
            self.note("lost")
        else:
            print(f"wrong: a broken file got {record}", file=sys.stderr)
            self.note("wrong")

    def requests_until(self, stop: threading.Event, seed: int) -> None:
        rng = random.Random(seed)
        while not stop.is_set():
            self.request(rng.choice(list(NETWORKS)))

    def actors(self) -> list[int]:
        devices = self.pool.status().devices
        return [device.pid for device in devices if device.healthy and device.pid]

    def children(self) -> list[int]:
        found = []
        for actor in self.actors():
            for tasks in Path(f"/proc/{actor}/task").glob("*/children"):
                found += [int(child) for child in tasks.read_text().split()]
        return found

    def signal_one(self, find: Callable[[], list[int]], number: signal.Signals) -> bool:
        try:
            victim = self.rng.choice(find())
            os.kill(victim, number)
        except (IndexError, OSError):
            return False
        if number == signal.SIGSTOP:
            self.stopped.append(victim)
        return True

    def resume_stopped(self) -> None:
        """Let children that are still stopped end: the actors that would kill them may be gone."""
        for child in self.stopped:
            with contextlib.suppress(OSError):
                os.kill(child, signal.SIGCONT)

    def order(self, kind: str) -> bool:
        """Spoil the next answer; True once that has happened."""
        path = self.folder / f"{kind}-{time.time_ns()}"
        path.touch()
        deadline = time.monotonic() + 30.0
        while path.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        return not path.exists()

    def kill_node(self) -> bool:
        victim = self.nodes.pop(self.rng.randrange(len(self.nodes)))
        self.cluster.remove_node(victim, allow_graceful=False)
        self.nodes.append(self.add_node())
        return True

    def inject(self, kind: str) -> bool:
        """Let one fault happen; False if there was nothing that it could happen to."""
        match kind:
            case "child killed":
                return self.signal_one(self.children, signal.SIGKILL)
            case "child hung":
                return self.signal_one(self.children, signal.SIGSTOP)
            case "actor killed":
                return self.signal_one(self.actors, signal.SIGKILL)
            case "node killed":
                return self.kill_node()
            case "garbage" | "replay":
                return self.order(kind)
            case "cut short":
                self.request_bad(cut_short(self.rng))
            case "unsupported":
                self.request_bad(unsupported(self.rng))
        return True

    def inject_one(self, kind: str) -> None:
        while not self.inject(kind):
            time.sleep(0.2)
        self.injected[kind] += 1
        total = self.injected.total()
        print(f"{total:4}  {kind:<13} {dict(self.outcomes)}", file=sys.stderr)
        time.sleep(self.rng.uniform(0.0, 1.0))

    def run(self, faults: int) -> None:
        share = faults / sum(KINDS.values())
        plan = [kind for kind, weight in KINDS.items() for _ in range(math.ceil(weight * share))]
        self.rng.shuffle(plan)
        stop = threading.Event()
        with concurrent.futures.ThreadPoolExecutor(IN_FLIGHT) as senders:
            for number in range(IN_FLIGHT):
                senders.submit(self.requests_until, stop, number)
            try:
                for kind in plan:
                    self.inject_one(kind)
            finally:
                stop.set()  # else the senders go on, and are waited for


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--faults", type=int, default=104)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        campaign = Campaign(folder, args.seed)
        usual = {name: f"{p50:.3f} ms" for name, p50 in campaign.usual_ms.items()}
        print("p50 without faults:", usual, flush=True)
        try:
            campaign.run(args.faults)
            left = campaign.pool.status()
        finally:
            campaign.pool.close()
            campaign.resume_stopped()
            ray.shutdown()
            campaign.cluster.shutdown()
    outcomes = campaign.outcomes
    result = {
        "faults": campaign.injected.total(),
        "lost": outcomes["lost"] + left.queue_length,
        "wrong": outcomes["wrong"],
        "by_kind": dict(campaign.injected),
        "requests": outcomes.total(),
        "answered": outcomes["answered"],
        "refused": outcomes["refused"],
        "typed_errors": sum(n for name, n in outcomes.items() if name.startswith("typed")),
        "seconds": round(time.monotonic() - start),
    }
    for kind, times in campaign.injected.items():
        print(f"{kind:<14}{times:>4} times")
    for outcome, times in sorted(outcomes.items()):
        print(f"{times:>5} requests: {outcome}")
    print(json.dumps({**result, "machine": machine()}))
    return 0 if result["lost"] == result["wrong"] == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
