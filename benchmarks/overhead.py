"""What this package adds to a Tune trial whose stages take no time, and what importing it costs.

Three kinds of trials take turns in one reused worker: bare function trials of Tune, which report
once; ours with empty stages, whose measurements are there at once; and the same with the real pool
and a fake device that takes no time. Ours report twice (or once more for each of ``--epochs``) and
leave their checkpoint. What a trial costs is the time from its begin to the next one's; figures are
medians. Imports are timed in fresh interpreters. Prints a table, then JSON:
``{"per_trial_ms": 12.3, "import_ms": 5.1, ...}``. The targets are 20 and 50.

    python benchmarks/overhead.py [--rounds 40] [--epochs 0]
"""

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
os.environ.setdefault("TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S", "0")

import ray
import stub_stages
from _machine import machine
from ray import tune

import raytune_edge as rte
from raytune_edge.testing import FakeDevice

TIMING = rte.Timing(warmup_requests=0, warmup_s=0.0, min_s=0.0, throughput_s=0.0)
IMPORT = "import time; start = time.perf_counter(); import {}; print(time.perf_counter() - start)"


KINDS = ("bare", "ours", "ours_with_pool")


@dataclass(frozen=True)
class AtOnce:
    """In the pool's place: every measurement is there at once."""

    measurement: rte.Measurement

    def quiet_cores(self) -> frozenset[int]:
        return frozenset()

    def submit(self, onnx_bytes: bytes, **_: Any) -> "AtOnce":
        return self

    def done(self) -> bool:
        return True

    def result(self) -> rte.Measurement:
        return self.measurement


def one_of_three(
    config: Mapping[str, Any], *, recipe: rte.Recipe, devices: Mapping[str, Any], folder: str
) -> None:
    """The kinds by turns; notes when each trial begins."""
    Path(folder, str(config["number"])).write_text(repr(time.time()))
    kind = KINDS[config["number"] % len(KINDS)]
    if kind == "bare":
        tune.report({"score": 0.5})
        return
    empty = {"prune_s": 0.0, "retrain_s": 0.0, "evaluate_s": 0.0, "epochs": config["epochs"]}
    job = {"latency_ms": 0.5, "top1": 0.5, **empty}
    stub_stages.trial(job, recipe=recipe, devices=devices[kind])


def trial_ms(rounds: int, epochs: int) -> dict[str, float]:
    """Median of each kind."""
    ray.init(
        address="local",
        num_cpus=1,
        resources={"ncs": 1},
        include_dashboard=False,
        configure_logging=False,
        log_to_driver=False,
    )
    pool = rte.connect_devices(FakeDevice(latency_ms=float, any_model=True), resource="ncs")
    measurement = pool.measure(b"0.5", timing=TIMING)
    devices = {"ours": AtOnce(measurement), "ours_with_pool": pool}
    recipe = rte.Recipe(task=None, objective=rte.Objective(maximize="top1"), timing=TIMING)
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as storage:
        trainable = tune.with_parameters(
            one_of_three, recipe=recipe, devices=devices, folder=folder
        )
        numbers = list(range(len(KINDS) * rounds + 1))
        tune.Tuner(
            tune.with_resources(trainable, {"cpu": 1}),
            param_space={"number": tune.grid_search(numbers), "epochs": epochs},
            tune_config=tune.TuneConfig(reuse_actors=True),
            run_config=tune.RunConfig(storage_path=storage, verbose=0),
        ).fit()
        begun = [float(Path(folder, str(number)).read_text()) for number in numbers]
    pool.close()
    ray.shutdown()
    took = [(after - before) * 1e3 for before, after in itertools.pairwise(begun)]
    warm = took[2 * len(KINDS) :]  # the first ones import what they need
    return {kind: statistics.median(warm[first :: len(KINDS)]) for first, kind in enumerate(KINDS)}


def import_ms(module: str, repeats: int = 7) -> float:
    command = [sys.executable, "-c", IMPORT.format(module)]
    told = [subprocess.check_output(command, text=True) for _ in range(repeats)]
    return statistics.median(float(each) * 1e3 for each in told)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=40, help="trials of each kind")
    parser.add_argument("--epochs", type=int, default=0)
    arguments = parser.parse_args()
    took = trial_ms(arguments.rounds, arguments.epochs)
    for kind, each in took.items():
        print(f"{kind:<20}{each:7.1f} ms a trial")
    imported = import_ms("raytune_edge")
    print(f"{'import raytune_edge':<20}{imported:7.1f} ms")
    result = {
        "per_trial_ms": round(took["ours"] - took["bare"], 1),
        "per_trial_with_pool_ms": round(took["ours_with_pool"] - took["bare"], 1),
        "bare_trial_ms": round(took["bare"], 1),
        "import_ms": round(imported, 1),
        "epochs": arguments.epochs,
        "machine": machine(),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
