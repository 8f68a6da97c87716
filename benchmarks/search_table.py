"""A table of really pruned, retrained and measured networks, for `search.py` to replay.

All 432 networks of a grid over ResNet-20 on scikit-learn's digits: in each of its three stages, how
many filters the blocks keep inside (``conv1``) and how many the stage hands on (the channels that
the residual connection ties together). Each is pruned by the L1 norm of its filters, retrained for
8 epochs on 120 images in bfloat16, tested after each epoch on 720 others, exported and measured in
float32 on one CPU core, twice, in two different orders. The baseline learnt from 1,077 images, the
120 among them; none of the 720. With so few images the networks differ: 0.93 to 0.99, where 480
make all of them 0.98.

It takes about an hour of one core and may be stopped at any time: what is done lies in
``runs/search_table`` and the same command goes on. Training uses all cores; measuring wants a core
to itself, so it is a command of its own. The kept table was measured beside other work, under
``chrt -f 10`` (real-time priority): no block waited for the CPU, and the two turns differ by 0.3 %
in the median.

    python benchmarks/search_table.py train [--workers 2]
    python benchmarks/search_table.py measure
    python benchmarks/search_table.py write    # benchmarks/search_table.json
"""

import argparse
import concurrent.futures
import contextlib
import dataclasses
import datetime
import functools
import itertools
import json
import multiprocessing
import os
import platform
import random
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import ConcatDataset, DataLoader, Subset

import raytune_edge as rte
from raytune_edge import counting, pruning, training
from raytune_edge.errors import DeviceError
from raytune_edge.export import export_onnx
from raytune_edge.runtimes import Instrument, device_spec
from raytune_edge.space import unpack

TABLE = Path(__file__).with_suffix(".json")
WORK = Path("runs/search_table")

GRID: dict[str, tuple[float, ...]] = {
    "pruning_ratio:stage1": (0.0, 0.5),
    "pruning_ratio:stage2": (0.0, 0.375, 0.75),
    "pruning_ratio:stage3": (0.0, 0.375, 0.75),
    "pruning_ratio:conv1": (0.0, 0.5),
    "pruning_ratio:layer2.0.conv2": (0.0, 0.25, 0.5),
    "pruning_ratio:layer3.0.conv2": (0.0, 0.25, 0.5, 0.75),
}
"""The dimensions and their levels: 16, 32 and 64 channels by stage.

A stage's ratio holds inside its blocks; what the stage hands on is a group that has a name of its
own, which is the narrower one.
"""

EPOCHS = 8
RETRAIN = rte.Retrain(epochs=EPOCHS, lr=0.02, collapse_epochs=0)
TIMING = rte.Timing(
    precision="f32", warmup_s=0.1, block_s=0.1, min_s=0.5, max_s=3.0, throughput_s=0.0
)
TRAIN_IMAGES = 120


def networks() -> list[dict[str, float]]:
    """All points of the grid, in a fixed random order: what is done first is a fair sample."""
    points = [dict(zip(GRID, levels, strict=True)) for levels in itertools.product(*GRID.values())]
    random.Random(0).shuffle(points)
    return points


def key_of(point: dict[str, float]) -> str:
    return " ".join(f"{point[name]:g}" for name in GRID)


@functools.cache
def data() -> tuple[DataLoader[Any], DataLoader[Any]]:
    """Batches to train on and to test on."""
    loaders = rte.tasks.digits_resnet20().loaders()
    known, unseen = loaders.train.dataset, (loaders.validation.dataset, loaders.test.dataset)
    chosen = torch.randperm(len(known), generator=torch.Generator().manual_seed(0))[:TRAIN_IMAGES]
    some = Subset(known, chosen.tolist())
    return (
        DataLoader(some, batch_size=24, shuffle=True),
        DataLoader(ConcatDataset(unseen), batch_size=120),
    )


def train(point: dict[str, float]) -> dict[str, Any]:
    """Prune and retrain one network; its ONNX goes to the work folder."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    task = rte.tasks.digits_resnet20()
    baseline, example = task.baseline(), task.example()
    groups = pruning.prunable_groups(baseline, example)
    plan = pruning.plan(groups, unpack(point, groups).ratios, round_to=4, min_keep=4)
    model = pruning.prune(baseline, example, plan, backend="torch-pruning")
    size = counting.count(model, example)
    model.to(memory_format=torch.channels_last)
    top1 = []
    for _ in epochs(model):
        training.recalibrate(model, data()[0], 10, seed=0)
        top1.append(round(training.evaluate(model, data()[1]).top1, 4))
    exported = export_onnx(model.to(memory_format=torch.contiguous_format), example)
    (WORK / "onnx").mkdir(parents=True, exist_ok=True)
    (WORK / "onnx" / f"{key_of(point)}.onnx").write_bytes(exported.onnx)
    return {"key": key_of(point), "macs": size.macs, "params": size.params, "top1": top1}


def epochs(model: torch.nn.Module) -> Iterator[int]:
    """Before retraining (0), and after each epoch; all in bfloat16.

    Autocast keeps its casts of the weights until it is left, so it must not while they change.
    """
    with torch.autocast("cpu", dtype=torch.bfloat16, cache_enabled=False):
        yield 0
        for epoch in training.fine_tune(model, data()[0], RETRAIN, seed=0):
            yield epoch.number


def measure() -> None:
    """Measure all networks twice; the second order is the first one reversed."""
    core = max(os.sched_getaffinity(0))
    instrument = Instrument(device_spec("CPU"), core=core)
    path = WORK / "measured.jsonl"
    done = {(row["key"], row["turn"]) for row in rows(path)}
    trained = [row["key"] for row in rows(WORK / "trained.jsonl")]
    turns = [(key, 0) for key in trained] + [(key, 1) for key in reversed(trained)]
    with contextlib.closing(instrument):
        for number, (key, turn) in enumerate(turns, 1):
            if (key, turn) in done:
                continue
            model = (WORK / "onnx" / f"{key}.onnx").read_bytes()
            try:
                record = instrument.measure(model, TIMING)
            except DeviceError as error:
                print(f"{number}/{len(turns)} {key}: {error}")
                continue
            append(path, {"key": key, "turn": turn} | record.to_dict())
            print(f"{number}/{len(turns)} {key}: {record.latency_p50_ms:.4f} ms {record.flags}")


def write() -> None:
    """Put the table together; complete or not at all."""
    trained = {row["key"]: row for row in rows(WORK / "trained.jsonl")}
    measured: dict[str, list[dict[str, Any]]] = {}
    for row in rows(WORK / "measured.jsonl"):
        measured.setdefault(row["key"], []).append(row)
    table = []
    for point in sorted(networks(), key=lambda point: tuple(point.values())):
        key = key_of(point)
        if key not in trained or len(measured.get(key, [])) < 2:
            raise SystemExit(f"network {key} is not trained and measured twice yet")
        row = trained[key]
        table.append(
            {
                "levels": list(point.values()),
                "macs": row["macs"],
                "params": row["params"],
                "top1": row["top1"],
                "latency_p50_ms": [round(each["latency_p50_ms"], 5) for each in measured[key]],
                "flagged": any(each["flags"] for each in measured[key]),
            }
        )
    packages = ("torch", "openvino", "torch-pruning", "raytune-edge")
    head = {
        "what": "top1[0] is before retraining, top1[k] after k epochs; latency of two turns",
        "dimensions": {name: list(levels) for name, levels in GRID.items()},
        "epochs": EPOCHS,
        "machine": f"{cpu_name()}, {os.cpu_count()} cores",
        "versions": {"python": platform.python_version()} | {p: version(p) for p in packages},
        "timing": dataclasses.asdict(TIMING),
        "retrain": dataclasses.asdict(RETRAIN),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }
    lines = ",\n".join(json.dumps(row) for row in table)
    TABLE.write_text(f'{json.dumps(head, indent=1)[:-2]},\n "networks": [\n{lines}\n ]\n}}\n')
    print(f"{TABLE}: {len(table)} networks")


def cpu_name() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


def rows(path: Path) -> Iterator[dict[str, Any]]:
    """The lines of ``path``; one that a killed run left half-written is passed over."""
    if path.exists():
        for line in path.read_text().splitlines():
            with contextlib.suppress(json.JSONDecodeError):
                yield json.loads(line)


def append(path: Path, row: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(json.dumps(row) + "\n")


def train_all(workers: int) -> None:
    rte.tasks.digits_resnet20().baseline()  # trained once, before the workers start
    path = WORK / "trained.jsonl"
    done = {row["key"] for row in rows(path)}
    todo = [point for point in networks() if key_of(point) not in done]
    print(f"{len(done)} networks are done, {len(todo)} to do")
    spawn = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(workers, mp_context=spawn) as pool:
        futures = [pool.submit(train, point) for point in todo]
        for number, future in enumerate(concurrent.futures.as_completed(futures), len(done) + 1):
            row = future.result()
            append(path, row)
            print(f"{number}/{len(done) + len(todo)} {row['key']}: {row['top1']}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("step", choices=("train", "measure", "write"))
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    arguments = parser.parse_args()
    if arguments.step == "train":
        train_all(arguments.workers)
    elif arguments.step == "measure":
        measure()
    else:
        write()


if __name__ == "__main__":
    main()
