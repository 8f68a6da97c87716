"""`WandbCallback` with real W&B, offline, read back from the files that it wrote."""

from __future__ import annotations

import json
import os
import re
import signal
import struct
import subprocess
import sys
import threading
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import raytune_edge as rte


def records(file: Path) -> Iterator[Any]:
    """The records of a ``.wandb`` file: LevelDB's log format under a header of 7 bytes."""
    from wandb.proto.wandb_internal_pb2 import Record

    data = file.read_bytes()
    assert data[:4] == b":W&B"
    at, parts, block = 7, b"", 32768
    while at + 7 <= len(data):
        if block - at % block < 7:
            at += block - at % block
            continue
        _, length, kind = struct.unpack_from("<IHB", data, at)
        if kind == 0:
            at += block - at % block
            continue
        parts += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or last of several
            record = Record()
            record.ParseFromString(parts)
            yield record
            parts = b""


def read_runs(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Run id → what each of its folders holds."""
    runs = defaultdict(list)
    for file in sorted(folder.glob("wandb/offline-run-*/*.wandb")):
        run: dict[str, Any] = {"rows": [], "summary": {}, "artifacts": [], "exit": None}
        for record in records(file):
            kind = record.WhichOneof("record_type")
            if kind == "run":
                run.update(
                    id=record.run.run_id, name=record.run.display_name, group=record.run.run_group,
                    job=record.run.job_type,
                    config={u.key: json.loads(u.value_json) for u in record.run.config.update},
                )  # fmt: skip
            elif kind == "history":
                items = record.history.item
                run["rows"].append(
                    {(i.key or "/".join(i.nested_key)): json.loads(i.value_json) for i in items}
                )
            elif kind == "summary":
                for item in record.summary.update:
                    key = item.key or "/".join(item.nested_key)
                    run["summary"][key] = json.loads(item.value_json)
            elif kind == "artifact":
                run["artifacts"].append(
                    (
                        record.artifact.name,
                        sorted(e.path for e in record.artifact.manifest.contents),
                    )
                )
            elif kind == "exit":
                run["exit"] = record.exit.exit_code
        runs[run["id"]].append(run)
    return dict(runs)


@pytest.fixture(scope="session")
def logged(search: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("wandb")
    Image.new("RGB", (8, 8)).save(folder / "sensitivity.png")
    images = {"sensitivity": folder / "sensitivity.png"}
    callback = rte.WandbCallback(project="edge", dir=folder, budget_ms=0.8, images=images)
    ratios = [0.0, 0.2, 0.4, 0.6, 0.8, 0.3, 0.5]
    ends = ["infeasible", "done", "done", "done", "done", "failed", "late"]
    configs = [
        {"pruning_ratio:stem": r, "pruning_ratio:layer1": r, "end": e}
        for r, e in zip(ratios, ends, strict=True)
    ]
    results = search(configs, name="logged", callbacks=[callback])
    return results, read_runs(folder)


def test_every_trial_has_one_run(logged: Any) -> None:
    results, runs = logged
    frame = rte.to_frame(results)
    trials = {run_id for run_id, found in runs.items() if found[0]["job"] == "trial"}
    assert trials == set(frame["trial_id"])
    assert [len(found) for found in runs.values()] == [1] * len(runs)
    assert {found[0]["group"] for found in runs.values()} == {"logged"}


def test_every_report_is_in_its_run(logged: Any) -> None:
    results, runs = logged
    for result in results:
        if result.metrics_dataframe is None or not len(result.metrics_dataframe):
            continue
        rows = runs[result.metrics["trial_id"]][0]["rows"]
        told = result.metrics_dataframe
        assert [row["stage"] for row in rows] == told["stage"].tolist()
        assert rows[-1]["top1_pruned"] == pytest.approx(told["top1_pruned"].iloc[-1])


def test_summary_tells_status_reason_and_units(logged: Any) -> None:
    results, runs = logged
    for row in rte.to_frame(results).to_dict("records"):
        run = runs[row["trial_id"]][0]
        assert run["summary"]["status"] == row["status"]
        assert run["summary"]["reason"] == row["reason"]
        assert run["exit"] == int(row["status"] == "failed")
        assert run["summary"]["units"]["latency_p50_ms"] == "ms"
        assert run["config"]["pruning_ratio:stem"] == row["config/pruning_ratio:stem"]


def test_the_front_has_a_run_with_table_picture_and_networks(logged: Any) -> None:
    results, runs = logged
    front = rte.pareto_front(results)
    (run,) = runs["front-logged"]
    told = {name: value for row in run["rows"] for name, value in row.items()}
    assert told["front/nrows"] == len(front)
    for title in (
        "latency and accuracy",
        "kept channels of the most accurate",
        "filters removed from the most accurate",
        "sensitivity",
    ):
        assert told[f"{title}/_type"] == "image-file"
    networks = dict(run["artifacts"])
    for trial_id in front["trial_id"]:
        assert {"model.onnx", "manifest.json"} <= set(networks[f"network-{trial_id}"])


SCRIPT = Path(__file__).with_name("interrupted_search.py")


def run_search(folder: Path, *arguments: str, interrupt_after: str = "") -> str:
    """What the search printed; it gets SIGINT once a line matches ``interrupt_after``."""
    environment = {**os.environ, "RAY_AIR_NEW_OUTPUT": "0", "WANDB_MODE": "offline"}
    process = subprocess.Popen(
        [sys.executable, "-u", str(SCRIPT), str(folder), *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment,
        start_new_session=True,
    )  # fmt: skip
    guard = threading.Timer(150, process.kill)
    guard.start()
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if interrupt_after and re.search(interrupt_after, line):
            interrupt_after = ""
            os.killpg(process.pid, signal.SIGINT)  # as a terminal does: all of the group get it
    process.stdout.close()
    process.wait()
    guard.cancel()
    return "".join(lines)


def told(printed: str, name: str) -> list[str]:
    (line,) = re.findall(rf"^{name}: (.*)$", printed, flags=re.MULTILINE)
    return line.split()


def unfinished(run: dict[str, Any]) -> bool:
    return bool(run["summary"].get("status") == "unfinished")


def test_ctrl_c_loses_no_run_and_a_restored_search_opens_none_twice(tmp_path: Path) -> None:
    first = run_search(tmp_path, interrupt_after="trial 3: halfway")
    begun = read_runs(tmp_path)
    assert len([run_id for run_id in begun if not run_id.startswith("front")]) >= 3, first
    assert all(found[0]["exit"] is not None for found in begun.values())
    statuses = [found[0]["summary"].get("status") for found in begun.values()]
    assert "unfinished" in statuses, first
    assert "unfinished" in told(first, "statuses")
    assert max(len(found[0]["rows"]) for found in begun.values() if unfinished(found[0])) > 2
    second = run_search(tmp_path)
    whole = read_runs(tmp_path)
    assert told(second, "statuses") == ["done"] * 4
    trials = {run_id for run_id in whole if not run_id.startswith("front")}
    assert trials == set(told(second, "begun"))
    for run_id, found in whole.items():
        assert len(found) == 1, run_id
        if not run_id.startswith("front"):
            assert [row["step"] for row in found[0]["rows"]] == [1, 2, 3, 4, 5, 6]
            assert found[0]["summary"]["status"] == "done"


def test_a_time_budget_loses_no_run(tmp_path: Path) -> None:
    printed = run_search(tmp_path, "--budget", "15", "--steps", "1000")
    runs = read_runs(tmp_path)
    assert told(printed, "begun"), printed
    assert set(told(printed, "begun")) <= set(runs)
    assert all(len(found) == 1 for found in runs.values())
    assert all(found[0]["exit"] == 0 for found in runs.values())
