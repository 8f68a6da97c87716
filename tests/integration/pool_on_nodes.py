"""A pool on a cluster of several nodes that come, go and are killed; run by `test_pool_on_nodes`.

Prints one JSON object: what each scene saw.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import onnx
import ray
from onnx import TensorProto, helper
from ray.cluster_utils import Cluster

import raytune_edge
from raytune_edge.devices import DevicePool, connect_devices
from raytune_edge.errors import VersionMismatchError
from raytune_edge.testing import FakeDevice

DEVICE = FakeDevice(latency_ms=3.0, busy_s=1.0)
DRIVER = """
import sys, ray
from raytune_edge.devices import connect_devices
from raytune_edge.runtimes import DeviceSpec
ray.init(address=sys.argv[1], configure_logging=False, log_to_driver=False)
spec = DeviceSpec(device="FAKE", runtime="fake", option=sys.argv[2])
pool = connect_devices(spec, resource="late", linger_s=5.0)
print([each.pid for each in pool.status().devices], flush=True)
sys.stdin.read()
"""


def model() -> bytes:
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"])],
        "relu",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 4))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, 4))],
    )
    made = helper.make_model(graph)
    onnx.checker.check_model(made)
    return made.SerializeToString()


def wait_for_devices(pool: DevicePool, count: int, limit_s: float = 60.0) -> float:
    """Seconds until the pool has ``count`` healthy devices and no others."""
    start = time.monotonic()
    while [each.healthy for each in pool.status().devices] != [True] * count:
        if time.monotonic() - start > limit_s:
            raise TimeoutError(f"expected {count} healthy devices, got {pool.status()}")
        time.sleep(0.2)
    return time.monotonic() - start


def p50s(pending: list) -> list[float]:
    return [each.result(120.0).latency_p50_ms for each in pending]


def children_of(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for task in tasks for child in task.read_text().split()]


def gone(pids: list[int], limit_s: float = 30.0) -> bool:
    deadline = time.monotonic() + limit_s
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2)
    return True


def main() -> None:
    seen: dict[str, object] = {}
    onnx_bytes = model()
    os.chdir(tempfile.mkdtemp())  # else the workers of all nodes import ours from here
    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False}
    )
    ray.init(address=cluster.address, configure_logging=False, log_to_driver=False)

    # A host that joins while the driver looks for it, and one that joins later.
    with ThreadPoolExecutor(1) as thread:
        connecting = thread.submit(
            connect_devices, DEVICE, resource="ncs", timeout_s=25.0, linger_s=2.0
        )
        time.sleep(1.0)
        seen["waits_for_host"] = not connecting.done()
        nodes = [cluster.add_node(num_cpus=1, resources={"ncs": 1})]
        pool = connecting.result()
    nodes.append(cluster.add_node(num_cpus=1, resources={"ncs": 2}))
    wait_for_devices(pool, 3)
    seen["device_ids"] = [each.device_id for each in pool.status().devices]

    # A host that is lost while its devices measure.
    pending = [pool.submit(onnx_bytes) for _ in range(9)]
    time.sleep(0.5)
    cluster.remove_node(nodes.pop(), allow_graceful=False)
    seen["node_lost"] = p50s(pending)
    wait_for_devices(pool, 1)

    # All hosts are lost: a request waits until one is back.
    cluster.remove_node(nodes.pop(), allow_graceful=False)
    wait_for_devices(pool, 0)
    parked = pool.submit(onnx_bytes)
    time.sleep(1.0)
    seen["parked"] = not parked.done()
    seen["parked_wait_s"] = pool.status().expected_wait_s
    nodes.append(cluster.add_node(num_cpus=1, resources={"ncs": 1}))
    seen["unparked"] = p50s([parked])

    # The pool's own process is lost while requests wait.
    pending = [pool.submit(onnx_bytes) for _ in range(3)]
    time.sleep(0.5)
    ray.kill(ray.get_actor("pool-ncs", namespace="raytune_edge"), no_restart=False)
    seen["coordinator_lost"] = p50s(pending)
    seen["experiments_after"] = pool.status().experiments

    # A process that sent requests is lost: its model with it, and nothing else.
    @ray.remote(num_cpus=0, max_retries=0)
    def send_and_die(pool: DevicePool, onnx_bytes: bytes) -> None:
        for _ in range(3):
            pool.submit(onnx_bytes)
        time.sleep(0.3)
        os._exit(1)

    try:
        ray.get(send_and_die.remote(pool, onnx_bytes))
    except ray.exceptions.RayError:
        seen["after_caller_lost"] = p50s([pool.submit(onnx_bytes)])
        seen["failed_by_caller"] = [each.failed for each in pool.status().devices]

    # A host with another version of ours: new experiments are told, the running one goes on.
    older = Path(tempfile.mkdtemp(), "raytune_edge", "__init__.py")
    older.parent.mkdir()
    older.write_text(f"__version__ = '0.0.9'\n__path__.append({raytune_edge.__path__[0]!r})\n")
    node = cluster.add_node(
        num_cpus=1, resources={"ncs": 1}, env_vars={"PYTHONPATH": str(older.parents[1])}
    )
    deadline = time.monotonic() + 60.0
    while not any(each.quarantined for each in pool.status().devices):
        if time.monotonic() > deadline:
            raise TimeoutError(f"the older host was not told: {pool.status()}")
        time.sleep(0.2)
    seen["older_host"] = next(each.reason for each in pool.status().devices if each.quarantined)
    seen["beside_older_host"] = p50s([pool.submit(onnx_bytes)])
    try:
        connect_devices(DEVICE, resource="ncs")
    except VersionMismatchError as error:
        seen["connecting_to_older_host"] = str(error)
    cluster.remove_node(node)

    # A driver is killed: another one finds its pool, also after that was lost in turn, and the
    # devices are freed in the end.
    cluster.add_node(num_cpus=1, resources={"late": 1})
    command = [sys.executable, "-c", DRIVER, cluster.address, DEVICE.spec().option]
    pids = []
    for last in (False, True):
        driver = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        pids.append(json.loads(driver.stdout.readline()))
        if last:
            late = ray.get_actor("pool-late", namespace="raytune_edge")
            ray.kill(late, no_restart=False)
            time.sleep(10.0)  # twice what it outlives its drivers
            seen["late_experiments"] = ray.get(late.status.remote("")).experiments
            actors = [each.pid for each in ray.get(late.status.remote("")).devices]
        driver.send_signal(signal.SIGKILL)
        driver.wait()
    seen["same_pool"] = pids[0] == pids[1] != [0]
    actors += [child for pid in actors for child in children_of(pid)]
    seen["freed_processes"] = len(actors)
    seen["freed"] = gone(actors)

    # This driver ends without a word.
    own = [each.pid for each in pool.status().devices]
    own += [child for pid in own for child in children_of(pid)]
    ray.shutdown()
    seen["own_freed_processes"] = len(own)
    seen["own_freed"] = gone(own)
    cluster.shutdown()
    print(json.dumps(seen))


if __name__ == "__main__":
    main()
