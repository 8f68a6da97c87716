"""How well trainers and devices are kept busy, with stages of known length.

Efficiency is the makespan that the busiest resource allows over the measured one. Ray Tune, the
trial, the pool, its actors and their children are the real ones; the stages sleep
(`stub_stages.py`). As in a search, a third of the networks are too slow for the latency budget:
necessary are their pruning and one measurement. Three designs:

- ours: measured while it is retrained, ended if it is too slow, measured once more at the end;
- sequential: the original's order: every network is retrained, then measured, its trainer waiting;
- placement_group: the same, in a placement group that holds trainer and device for the whole trial.

``4x1`` are 4 trainers and 1 device, ``16x4`` 16 and 4. ``32 at once`` is ours alone, with 4 devices
on two hosts as the busiest resource; ``share_off`` is by how much the busiest device's share of the
work is beyond the idlest one's. There the last trial's two measurements can come one after the
other while the other devices have nothing left, which takes 3 s once: it lasts long enough for that
to weigh little. The clock starts when all of Ray's workers are up. A table, then JSON.

    python benchmarks/pipeline.py [--only 4x1 16x4 32] [--quick]
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
os.environ.setdefault("TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S", "0")

import ray
import stub_stages
from _machine import machine
from ray import tune
from ray.cluster_utils import Cluster

import raytune_edge as rte
from raytune_edge.analysis import to_frame, to_spans
from raytune_edge.runtimes import DeviceSpec, Instrument
from raytune_edge.testing import FakeDevice

FAST_MS, BUDGET_MS, SLOW_MS = 0.5, 1.0, 2.0
NAIVE = ("placement_group", "sequential")
TIMING = rte.Timing(warmup_requests=0, warmup_s=0.0, min_s=0.0, throughput_s=0.0)


@dataclass(frozen=True, kw_only=True)
class Load:
    """Stage lengths in seconds, and how many waves of trials there are of each kind."""

    prune_s: float = 0.5
    retrain_s: float = 40.0
    evaluate_s: float = 0.4
    measure_s: float = 0.3
    fast_waves: int = 2
    slow_waves: int = 1
    cycles: int = 1

    def jobs(self, at_once: int) -> list[dict[str, Any]]:
        lengths = {
            "prune_s": self.prune_s,
            "retrain_s": self.retrain_s,
            "evaluate_s": self.evaluate_s,
            "epochs": 4,
            "top1": 0.5,
        }
        waves = [FAST_MS] * self.fast_waves + [SLOW_MS] * self.slow_waves
        return [
            {"latency_ms": latency_ms, **lengths}
            for latency_ms in waves * self.cycles
            for _ in range(at_once)
        ]

    def bound_s(self, jobs: list[dict[str, Any]], trainers: int, devices: int) -> float:
        """The least makespan: the necessary work of the busiest resource."""
        fast = sum(job["latency_ms"] == FAST_MS for job in jobs)
        training_s = len(jobs) * self.prune_s + fast * (self.retrain_s + self.evaluate_s)
        measuring_s = (len(jobs) + fast) * self.measure_s
        return max(training_s / trainers, measuring_s / devices)


class OwnDevice:
    """A device that a trial holds for itself, in the pool's place."""

    def __init__(self, spec: DeviceSpec) -> None:
        self._spec = spec
        self._instrument: Instrument | None = None

    def quiet_cores(self) -> frozenset[int]:
        return frozenset()

    def submit(self, onnx_bytes: bytes, *, timing: rte.Timing, **_: Any) -> "OwnDevice":
        self._instrument = self._instrument or Instrument(self._spec)
        self._measurement = self._instrument.measure(onnx_bytes, timing)
        return self

    def done(self) -> bool:
        return True

    def result(self) -> rte.Measurement:
        return self._measurement


def warm_or_run(
    config: Mapping[str, Any], *, recipe: rte.Recipe, devices: Any, folder: str, at_once: int
) -> None:
    """The first trials wait for each other, so that each worker is up when the clock starts."""
    if config["job"]:
        stub_stages.trial(config["job"], recipe=recipe, devices=devices)
        return
    Path(folder, tune.get_context().get_trial_id()).touch()
    while len(list(Path(folder).iterdir())) < at_once:
        time.sleep(0.05)
    tune.report({"stage": "warm"})


def share_off(work_s: Iterable[float]) -> float:
    """By how much the busiest device's share of the work is beyond the idlest one's."""
    shares = list(work_s)
    return float(max(shares) / min(shares)) - 1


def run(design: str, trainers: int, device_count: int, hosts: int, load: Load) -> dict[str, Any]:
    """One experiment on a cluster of its own."""
    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": trainers, "include_dashboard": False}
    )
    for _ in range(hosts):
        cluster.add_node(num_cpus=0, resources={"ncs": device_count // hosts})
    ray.init(address=cluster.address, configure_logging=False, log_to_driver=False)
    device = FakeDevice(latency_ms=float, busy_s=load.measure_s, any_model=True)
    alone = design == "placement_group"
    resources = tune.PlacementGroupFactory([{"CPU": 1}, *([{"ncs": 1}] if alone else [])])
    devices: Any = OwnDevice(device.spec())
    if not alone:
        devices = rte.connect_devices(device, resource="ncs", timeout_s=30.0)
    at_once = min(trainers, device_count) if alone else trainers
    jobs = load.jobs(at_once)
    recipe = rte.Recipe(
        task=None,  # the stages that would need one are not there
        objective=rte.Objective(maximize="top1", latency_budget_ms=BUDGET_MS),
        timing=TIMING,
        gate="overlap" if design == "ours" else "off",
    )
    try:
        with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as storage:
            trainable = tune.with_parameters(
                warm_or_run, recipe=recipe, devices=devices, folder=folder, at_once=at_once
            )
            results = tune.Tuner(
                tune.with_resources(trainable, resources),
                param_space={"job": tune.grid_search([None] * at_once + jobs)},
                tune_config=tune.TuneConfig(reuse_actors=True),
                run_config=tune.RunConfig(storage_path=storage, verbose=0),
            ).fit()
            start = max(path.stat().st_mtime for path in Path(folder).iterdir())
            frame, spans = to_frame(results), to_spans(results)
        status = None if alone else devices.status()
    finally:
        if not alone:
            devices.close()
        ray.shutdown()
        cluster.shutdown()
    makespan_s = spans["end"].max() - start
    measured = spans[spans["what"] == "measure"]
    work_s = (measured["end"] - measured["start"]).groupby(measured["where"]).sum()
    retrained = spans[spans["what"] == "retrain"]
    ended = frame.loc[frame["stage"] != "warm", "status"].value_counts()
    return {
        "design": design,
        "efficiency": round(load.bound_s(jobs, trainers, device_count) / makespan_s, 3),
        "makespan_s": round(makespan_s, 2),
        "trials": len(jobs),
        "ended": {name: int(count) for name, count in ended.items()},
        "measured": len(measured),
        "retrained_s": round(float((retrained["end"] - retrained["start"]).sum()), 2),
        "devices": len(work_s),
        "share_off": round(share_off(work_s), 3),
        "failed": sum(each.failed for each in status.devices) if status else 0,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", nargs="+", default=["4x1", "16x4", "32"])
    parser.add_argument("--quick", action="store_true", help="a small one: is all as it should be?")
    arguments = parser.parse_args()
    busy_devices = Load(
        prune_s=0.2, retrain_s=6.0, evaluate_s=0.2, measure_s=3.0, fast_waves=4, slow_waves=0
    )
    if arguments.quick:
        small = Load(prune_s=0.1, retrain_s=60.0, measure_s=0.1, fast_waves=0, slow_waves=1)
        also = Load(prune_s=0.1, retrain_s=0.4, evaluate_s=0.1, measure_s=0.1, slow_waves=0)
        print(json.dumps([run("ours", 8, 4, 2, load) for load in (small, also)]))
        return
    efficiency: dict[str, dict[str, float]] = {}
    at_once = {}
    print(f"{'':>6}  {'design':<16}{'trials':>7}{'makespan s':>12}{'efficiency':>12}", flush=True)
    for name in arguments.only:
        if name == "32":
            plan = [("ours", 32, 4, 2, busy_devices)]
        else:
            trainers, devices = map(int, name.split("x"))
            plan = [("ours", trainers, devices, 1, Load(cycles=2))]
            plan += [(each, trainers, devices, 1, Load()) for each in NAIVE]
        for setting in plan:
            found = run(*setting)
            print(
                f"{name:>6}  {found['design']:<16}{found['trials']:>7}"
                f"{found['makespan_s']:>12}{found['efficiency']:>12}  {found['ended']}",
                flush=True,
            )
            if name == "32":
                at_once = {key: found[key] for key in ("efficiency", "share_off")}
            else:
                efficiency.setdefault(name, {})[found["design"]] = found["efficiency"]
    print(json.dumps({"efficiency": efficiency, "32 at once": at_once, "machine": machine()}))


if __name__ == "__main__":
    main()
