"""A tuning run on nodes that are killed and cut off: is a trial lost, or measured wrongly?

Head, two trainer nodes and a device's node are separate Rays, each in a network namespace of its
own (`_nodes.py`). The trials' stages sleep (`stub_stages.py`); Tune, the trial, its checkpoints,
the pool and the device's child are the real ones. In mid-run:

- the device's node is killed, and started again;
- a trainer node is killed, and started again: its trials go on from their checkpoints;
- the driver is killed, and started again: ``Tuner.restore``;
- the cable between the device's node and the others is out for 20 s.

Each network has a latency and an accuracy of its own, known beforehand. A trial is ``lost`` if it
did not end as it should have, once. It is ``wrong`` if it has another network's figure, if the
network that it kept is not the one measured by its SHA-256, or if it is on the reported front and
should not be, or the reverse. Prints what happens, then JSON:
``{"trials": n, "lost": 0, "wrong": 0, "faults": {...}}``.

    python benchmarks/chaos.py [--trials 24] [--short]        # as root, on Linux
"""

import argparse
import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
os.environ.setdefault("TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S", "0")
os.environ.setdefault("TUNE_GLOBAL_CHECKPOINT_S", "2")

import ray
import stub_stages
from _machine import machine
from _nodes import Nodes
from ray import tune

import raytune_edge as rte
from raytune_edge.analysis import to_frame
from raytune_edge.analysis.files import checkpoint_folder
from raytune_edge.runtimes import DeviceSpec
from raytune_edge.testing import FakeDevice

BUDGET_MS = 2.0
TOLERANCE = 0.02
TIMING = rte.Timing(warmup_requests=0, warmup_s=0.0, min_s=0.0, throughput_s=0.0, timeout_s=30.0)


def make_jobs(trials: int, short: bool) -> list[dict[str, Any]]:
    """Networks 5 % apart in latency; every fourth is too slow, every third of no use."""
    stages = {"prune_s": 0.2, "retrain_s": 3.0 if short else 10.0, "evaluate_s": 0.2, "epochs": 4}
    jobs = []
    for number in range(trials):
        latency_ms = 0.5 * 1.05**number + (BUDGET_MS if number % 4 == 3 else 0.0)
        top1 = 0.5 + 0.4 * number / trials - (0.3 if number % 3 == 2 else 0.0)
        jobs.append({"latency_ms": latency_ms, "top1": top1, "number": number, **stages})
    return jobs


def trial(
    config: Mapping[str, Any], *, recipe: rte.Recipe, devices: rte.DevicePool, folder: str
) -> None:
    stub_stages.trial(config["job"], recipe=recipe, devices=devices)
    Path(folder, "ended", str(config["job"]["number"])).touch()


def drive(folder: Path, address: str, option: str, jobs: list[dict[str, Any]]) -> None:
    """The driver: begins the run in ``folder``, or goes on with it."""
    ray.init(address=address, configure_logging=False, log_to_driver=False)
    spec = DeviceSpec(
        device="FAKE",
        runtime="fake",
        option=option,
        hints=lambda model: {"latency_ms": float(model)},
    )
    devices = rte.connect_devices(spec, resource="ncs", timeout_s=60.0, quarantine_s=2.0)
    recipe = rte.Recipe(
        task=None,
        objective=rte.Objective(maximize="top1", latency_budget_ms=BUDGET_MS),
        timing=TIMING,
    )
    trainable = tune.with_resources(
        tune.with_parameters(trial, recipe=recipe, devices=devices, folder=str(folder)), {"cpu": 1}
    )
    experiment = folder / "run"
    if tune.Tuner.can_restore(str(experiment)):
        tuner = tune.Tuner.restore(
            str(experiment), trainable, resume_unfinished=True, resume_errored=True
        )
    else:
        tuner = tune.Tuner(
            trainable,
            param_space={"job": tune.grid_search(jobs)},
            run_config=tune.RunConfig(
                name=experiment.name,
                storage_path=str(folder),
                verbose=0,
                failure_config=tune.FailureConfig(max_failures=10),
            ),
        )
    results = tuner.fit()
    front = set(rte.pareto_front(results)["trial_id"])
    (folder / "reported.json").write_text(json.dumps(sorted(front)))
    devices.close()


def undominated(jobs: list[dict[str, Any]]) -> set[int]:
    """By brute force, from what is known beforehand."""
    good = [job for job in jobs if job["latency_ms"] <= BUDGET_MS]
    return {
        one["number"]
        for one in good
        if not any(
            other["latency_ms"] <= one["latency_ms"]
            and other["top1"] >= one["top1"]
            and other is not one
            for other in good
        )
    }


def judge(folder: Path, jobs: list[dict[str, Any]]) -> dict[str, Any]:
    """Hold what the run left against what was known."""
    frame = to_frame(folder / "run")
    numbers = frame["config/job"].map(lambda text: json.loads(text.replace("'", '"'))["number"])
    front = set(json.loads((folder / "reported.json").read_text()))
    on_front = undominated(jobs)
    lost, wrong = [], []
    for job in jobs:
        rows = frame[numbers == job["number"]]
        fits = job["latency_ms"] <= BUDGET_MS
        if list(rows["status"]) != ["done" if fits else "infeasible"]:
            lost.append((job["number"], list(rows["status"])))
            continue
        row = rows.iloc[0]
        is_wrong = abs(row["latency_p50_ms"] / job["latency_ms"] - 1) > TOLERANCE
        if fits:
            with checkpoint_folder(row) as kept:
                record = json.loads((kept / "measurement.json").read_text())
                sha256 = hashlib.sha256((kept / "model.onnx").read_bytes()).hexdigest()
            is_wrong |= record["model_sha256"] != sha256
            is_wrong |= row["top1"] != job["top1"]
        if is_wrong or (row["trial_id"] in front) != (job["number"] in on_front):
            wrong.append((job["number"], row["latency_p50_ms"]))
    for name, found in (("lost", lost), ("wrong", wrong)):
        if found:
            print(f"{name}: {found}", file=sys.stderr)
    return {"trials": len(jobs), "lost": len(lost), "wrong": len(wrong), "front": len(front)}


class Run:
    """The driver as a process of its own, and what happens to it and its nodes."""

    def __init__(self, nodes: Nodes, folder: Path, trials: int, short: bool) -> None:
        self.nodes = nodes
        self.folder = folder
        self.cut_s = 8.0 if short else 20.0
        self.start = time.monotonic()
        (folder / "ended").mkdir()
        device = FakeDevice(latency_ms=float, busy_s=0.5, any_model=True)
        self.arguments = [str(folder), nodes.address, device.spec().option, str(trials)]
        self.arguments += ["--short"] if short else []
        self.begin_driver()

    def begin_driver(self) -> None:
        self.driver = subprocess.Popen(
            [sys.executable, __file__, "--drive", *self.arguments],
            env={**os.environ, **self.nodes.environment},
            stdout=subprocess.DEVNULL,
            stderr=(self.folder / "driver.log").open("a"),
        )

    def check_driver(self) -> None:
        if self.driver.poll():
            said = (self.folder / "driver.log").read_text()[-3000:]
            raise RuntimeError(f"the driver has ended with {self.driver.returncode}: {said}")

    def say(self, what: str) -> None:
        ended = len(list((self.folder / "ended").iterdir()))
        print(f"{time.monotonic() - self.start:6.1f} s  {ended:3} ended  {what}", flush=True)

    def wait_for(self, ended: int) -> None:
        while len(list((self.folder / "ended").iterdir())) < ended:
            self.check_driver()
            time.sleep(0.1)

    def kill_device_node(self) -> None:
        self.nodes.kill("device")
        time.sleep(3.0)
        add_device(self.nodes)

    def kill_trainer_node(self) -> None:
        self.nodes.kill("trainer1")
        time.sleep(3.0)
        self.nodes.add("trainer1", cpus=2)

    def kill_driver(self) -> None:
        self.driver.send_signal(signal.SIGKILL)
        self.driver.wait()
        self.begin_driver()

    def cut_device_node(self) -> None:
        self.nodes.cut("device", self.cut_s)


def add_device(nodes: Nodes) -> None:
    nodes.add("device", cpus=0, resources='{"ncs": 1}')


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--trials", type=int, default=24)
    parser.add_argument("--short", action="store_true", help="ten short trials")
    parser.add_argument("--drive", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.drive:
        folder, address, option, trials = arguments.drive
        drive(Path(folder), address, option, make_jobs(int(trials), arguments.short))
        return 0
    trials = 10 if arguments.short else arguments.trials
    faults: dict[str, int] = {}
    with Nodes() as nodes, tempfile.TemporaryDirectory() as temporary:
        with ThreadPoolExecutor() as threads:
            started = [threads.submit(nodes.add, each, cpus=2) for each in ("trainer1", "trainer2")]
            for each in [*started, threads.submit(add_device, nodes)]:
                each.result()
        folder = Path(temporary)
        run = Run(nodes, folder, trials, arguments.short)
        plan = {
            "device node killed": run.kill_device_node,
            "trainer node killed": run.kill_trainer_node,
            "driver killed": run.kill_driver,
            "device node cut off": run.cut_device_node,
        }
        for number, (fault, inject) in enumerate(plan.items()):
            run.wait_for(1 + number * (trials - 2) // len(plan))
            run.say(fault)
            inject()
            faults[fault] = faults.get(fault, 0) + 1
            run.say("and back")
        run.driver.wait()
        run.check_driver()
        run.say("the run has ended")
        result = judge(folder, make_jobs(trials, arguments.short))
    result |= {"faults": faults, "seconds": round(time.monotonic() - run.start)}
    print(json.dumps({**result, "machine": machine()}))
    return int(result["lost"] + result["wrong"] > 0)


if __name__ == "__main__":
    sys.exit(main())
