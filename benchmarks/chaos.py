"""A tuning run on nodes that are killed and cut off: is a trial lost, or measured wrongly?

Head, two trainer nodes and a device's node are separate Rays, each in a network namespace of its
own (`_nodes.py`). The trials' stages sleep (`stub_stages.py`); Tune, the trial, its checkpoints,
the pool and the device's child are the real ones. In mid-run:

- the device's node is killed, and started again;
- a trainer node is killed, and started again: its trials go on from their checkpoints;
- the driver is killed, and started again: ``Tuner.restore``;
- the cable between the device's node and the others is out for 20 s.

A fault waits until it hits something: trials in flight, where it kills them one with a checkpoint
to go on from. Each network has a latency and an accuracy of its own, known beforehand. A trial is
``lost`` if it did not end as it should have, once. It is ``wrong`` if it has another network's
figure, if the network that it kept is not the one measured by its SHA-256, or if it is on the
reported front and should not be, or the reverse. ``resumed`` trials went on from a checkpoint, some
after each fault that kills them; one that went on from too early is ``forgotten``. ``errors`` are
exceptions in trials: Tune would begin these again, and nobody would see it. Prints what happens,
then JSON: ``{"trials": 24, "lost": 0, "wrong": 0, "resumed": {...}, "forgotten": 0, ...}``.

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
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
os.environ.setdefault("TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S", "0")
os.environ.setdefault("TUNE_GLOBAL_CHECKPOINT_S", "2")

import ray
import stub_stages
from _diary import Diary
from _machine import machine
from _nodes import MARK, Nodes
from ray import tune

import raytune_edge as rte
from raytune_edge.analysis import to_frame
from raytune_edge.analysis.files import checkpoint_folder
from raytune_edge.runtimes import DeviceSpec
from raytune_edge.testing import FakeDevice

TRAINERS = ("trainer1", "trainer2")
BUDGET_MS = 2.0
TOLERANCE = 0.02
EPOCHS = 4
MOST_FORGOTTEN = 2
"""Epochs: Tune notes a driver's state every two seconds, and a checkpoint may be on its way."""
WAIT_S = 180.0
TIMING = rte.Timing(warmup_requests=0, warmup_s=0.0, min_s=0.0, throughput_s=0.0, timeout_s=30.0)


def make_jobs(trials: int, short: bool) -> list[dict[str, Any]]:
    """Networks 5 % apart in latency; every fourth is too slow, every third of no use."""
    stages = {"prune_s": 0.2, "retrain_s": 14.0 if short else 10.0, "evaluate_s": 0.2}
    jobs = []
    for number in range(trials):
        latency_ms = 0.5 * 1.05**number + (BUDGET_MS if number % 4 == 3 else 0.0)
        top1 = 0.5 + 0.4 * number / trials - (0.3 if number % 3 == 2 else 0.0)
        jobs.append({"latency_ms": latency_ms, "top1": top1, "epochs": EPOCHS, **stages})
    return jobs


def kept_epoch() -> int:
    """The epoch that Tune lets this trial go on from."""
    checkpoint = tune.get_checkpoint()
    if checkpoint is None:
        return 0
    with checkpoint.as_directory() as folder:
        state = Path(folder, "training.json")
        # What a trial leaves at its end has none: it is only to repeat its report.
        return int(json.loads(state.read_text())["epoch"]) if state.exists() else EPOCHS


def trial(
    config: Mapping[str, Any],
    *,
    jobs: list[dict[str, Any]],
    recipe: rte.Recipe,
    devices: rte.DevicePool,
    folder: str,
) -> None:
    number, diary = config["number"], Diary(Path(folder))
    diary.note(number, "begin", epoch=kept_epoch(), mark=os.environ.get(MARK, ""))
    try:
        job = {**jobs[number], "on_epoch": lambda epoch: diary.note(number, "epoch", epoch=epoch)}
        stub_stages.trial(job, recipe=recipe, devices=devices)
    except Exception as error:
        diary.note(number, "error", error=f"{type(error).__name__}: {error}")
        raise
    diary.note(number, "end")


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
    with_these = tune.with_parameters(
        trial, jobs=jobs, recipe=recipe, devices=devices, folder=str(folder)
    )
    trainable = tune.with_resources(with_these, {"cpu": 1})
    experiment = folder / "run"
    if tune.Tuner.can_restore(str(experiment)):
        tuner = tune.Tuner.restore(
            str(experiment), trainable, resume_unfinished=True, resume_errored=True
        )
    else:
        tuner = tune.Tuner(
            trainable,
            param_space={"number": tune.grid_search(list(range(len(jobs))))},
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
    """Numbers of those on the front; by brute force, from what is known beforehand."""
    good = {number: job for number, job in enumerate(jobs) if job["latency_ms"] <= BUDGET_MS}
    return {
        number
        for number, one in good.items()
        if not any(
            other["latency_ms"] <= one["latency_ms"]
            and other["top1"] >= one["top1"]
            and other is not one
            for other in good.values()
        )
    }


def judge(folder: Path, jobs: list[dict[str, Any]]) -> dict[str, Any]:
    """Hold what the run left against what was known."""
    frame = to_frame(folder / "run")
    front = set(json.loads((folder / "reported.json").read_text()))
    on_front = undominated(jobs)
    lost, wrong = [], []
    for number, job in enumerate(jobs):
        rows = frame[frame["config/number"] == number]
        fits = job["latency_ms"] <= BUDGET_MS
        if list(rows["status"]) != ["done" if fits else "infeasible"]:
            lost.append((number, list(rows["status"])))
            continue
        row = rows.iloc[0]
        is_wrong = abs(row["latency_p50_ms"] / job["latency_ms"] - 1) > TOLERANCE
        if fits:
            with checkpoint_folder(row) as kept:
                record = json.loads((kept / "measurement.json").read_text())
                sha256 = hashlib.sha256((kept / "model.onnx").read_bytes()).hexdigest()
            is_wrong |= record["model_sha256"] != sha256
            is_wrong |= row["top1"] != job["top1"]
        if is_wrong or (row["trial_id"] in front) != (number in on_front):
            wrong.append((number, row["latency_p50_ms"]))
    for name, found in (("lost", lost), ("wrong", wrong)):
        if found:
            print(f"{name}: {found}", file=sys.stderr)
    return {"trials": len(jobs), "lost": len(lost), "wrong": len(wrong), "front": len(front)}


class Run:
    """The driver as a process of its own, and what happens to it and its nodes."""

    def __init__(self, nodes: Nodes, folder: Path, trials: int, short: bool) -> None:
        self.nodes = nodes
        self.folder = folder
        self.diary = Diary(folder)
        self.cut_s = 8.0 if short else 20.0
        self.start = time.monotonic()
        self.faults: dict[str, dict[str, Any]] = {}
        device = FakeDevice(latency_ms=float, busy_s=0.5, any_model=True)
        self.arguments = [str(folder), nodes.address, device.spec().option, str(trials)]
        self.arguments += ["--short"] if short else []
        self.begin_driver()

    def begin_driver(self) -> None:
        with (self.folder / "driver.log").open("a") as log:
            self.driver = subprocess.Popen(
                [sys.executable, __file__, "--drive", *self.arguments],
                env=self.nodes.environment("driver"),
                stdout=subprocess.DEVNULL,
                stderr=log,
            )

    def failed(self, why: str) -> RuntimeError:
        said = (self.folder / "driver.log").read_text()[-3000:]
        return RuntimeError(f"{why}; the driver said: {said}")

    def say(self, what: str) -> None:
        print(
            f"{time.monotonic() - self.start:6.1f} s  {self.diary.ended():3} ended  {what}",
            flush=True,
        )

    def inject(
        self, fault: str, after: int, hit: Callable[[], Any], do: Callable[[Any], str | None]
    ) -> None:
        """Let it happen once that many trials have ended and there is something to hit."""
        deadline = time.monotonic() + WAIT_S
        while not (target := hit()) or self.diary.ended() < after:
            if self.driver.poll() is not None:
                raise self.failed(f"the driver has ended before this could happen: {fault}")
            if time.monotonic() > deadline:
                raise self.failed(f"nothing to hit in {WAIT_S:g} s: {fault}")
            time.sleep(0.1)
        in_flight = len(self.diary.in_flight())
        self.say(f"{fault}, {in_flight} in flight")
        at = time.time()
        self.faults[fault] = {"at": at, "in_flight": in_flight, "kills": do(target)}
        self.say("and back")

    def wait(self) -> None:
        """Until the driver has ended well."""
        if status := self.driver.wait(timeout=10 * WAIT_S):
            raise self.failed(f"the driver has ended with {status}")
        self.say("the run has ended")

    def with_checkpoint(self, epochs: int) -> str:
        """A trainer node with a trial that has so many epochs behind it and one before it."""
        for name in TRAINERS:
            mark = self.nodes.environment(name)[MARK]
            if any(epochs <= each < EPOCHS for each in self.diary.in_flight(mark).values()):
                return name
        return ""

    def wait_for_resumed(self, since: float) -> None:
        """Until one goes on from its checkpoint: the next fault must not hide it."""
        deadline = time.monotonic() + WAIT_S
        while not any(each.epoch and each.at > since for each in self.diary.begun_again()):
            if time.monotonic() > deadline or self.driver.poll() is not None:
                raise self.failed("no trial goes on from its checkpoint")
            time.sleep(0.1)

    # Each returns the mark of the node whose trials it killed, "" for all, None for none.

    def kill_device_node(self, _: Any) -> None:
        self.nodes.kill("device")
        time.sleep(3.0)
        add_device(self.nodes)

    def kill_trainer_node(self, name: str) -> str:
        since = time.time()
        self.nodes.kill(name)
        time.sleep(3.0)
        self.nodes.add(name, cpus=2)
        self.wait_for_resumed(since)
        return self.nodes.environment(name)[MARK]

    def kill_driver(self, _: Any) -> str:
        since = time.time()
        self.driver.send_signal(signal.SIGKILL)
        self.driver.wait()
        self.begin_driver()
        self.wait_for_resumed(since)
        return ""

    def cut_device_node(self, _: Any) -> None:
        self.nodes.cut("device", self.cut_s)

    def judge_faults(self) -> dict[str, Any]:
        """What each fault did to trials; one belongs to the first that killed it."""
        again = dict.fromkeys(self.faults, 0)
        resumed = {name: 0 for name, fault in self.faults.items() if fault["kills"] is not None}
        forgotten = []
        for each in self.diary.begun_again():
            killers = [
                name
                for name in resumed
                if self.faults[name]["kills"] in each.mark
                and each.seen_at < self.faults[name]["at"] < each.at
            ]
            if killers:
                again[killers[0]] += 1
                resumed[killers[0]] += each.epoch > 0
            else:
                print(f"begun again for no known reason: {each}", file=sys.stderr)
            if each.behind - each.epoch > MOST_FORGOTTEN:
                forgotten.append(each)
        if forgotten:
            print(f"forgotten: {forgotten}", file=sys.stderr)
        return {
            "resumed": resumed,
            "forgotten": len(forgotten),
            "errors": self.diary.errors(),
            "faults": {
                name: {"in_flight": fault["in_flight"], "begun_again": again[name]}
                for name, fault in self.faults.items()
            },
        }


def add_device(nodes: Nodes) -> None:
    nodes.add("device", cpus=0, resources='{"ncs": 1}')


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--trials", type=int, default=24)
    parser.add_argument("--short", action="store_true", help="eight trials")
    parser.add_argument("--drive", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.drive:
        folder, address, option, trials = arguments.drive
        drive(Path(folder), address, option, make_jobs(int(trials), arguments.short))
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # clean up first
    trials = 8 if arguments.short else arguments.trials
    with tempfile.TemporaryDirectory() as temporary, Nodes() as nodes:
        for name in TRAINERS:
            nodes.add(name, cpus=2)
        add_device(nodes)
        run = Run(nodes, Path(temporary), trials, arguments.short)
        plan = {
            "device node killed": (run.diary.in_flight, run.kill_device_node),
            "trainer node killed": (lambda: run.with_checkpoint(2), run.kill_trainer_node),
            # A checkpoint that is older than Tune's last note of the experiment.
            "driver killed": (lambda: run.with_checkpoint(3), run.kill_driver),
            "device node cut off": (run.diary.in_flight, run.cut_device_node),
        }
        # All within the first half, so that none comes too late to hit something.
        for number, (fault, (hit, do)) in enumerate(plan.items()):
            run.inject(fault, number * trials // (2 * len(plan)), hit, do)
        run.wait()
        result = judge(Path(temporary), make_jobs(trials, arguments.short)) | run.judge_faults()
    result |= {
        "namespaces": nodes.has_namespaces,
        "seconds": round(time.monotonic() - run.start),
    }
    print(json.dumps({**result, "machine": machine()}))
    is_bad = any(result[each] for each in ("lost", "wrong", "forgotten", "errors"))
    return int(is_bad or not all(result["resumed"].values()))


if __name__ == "__main__":
    sys.exit(main())
