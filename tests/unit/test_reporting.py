"""What is told to Tune: every key each time, and a score that is always finite."""

import dataclasses
import hashlib
import json
import math
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from ray import tune

from raytune_edge.config import Recipe
from raytune_edge.objective import Objective
from raytune_edge.records import METRIC_UNITS
from raytune_edge.reporting import MANIFEST, Report
from tests.unit.test_records import measurement

Told = list[dict[str, Any]]


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Told:
    """All reports, a checkpoint's files under ``files``."""
    reports: Told = []

    def record(metrics: dict[str, Any], checkpoint: tune.Checkpoint | None = None) -> None:
        files = {}
        if checkpoint is not None:
            with checkpoint.as_directory() as folder:
                files = {path.name: path.read_bytes() for path in Path(folder).iterdir()}
        reports.append({**metrics, "files": files})

    monkeypatch.setattr(tune, "report", record)
    return reports


def report(**objective: Any) -> Report:
    limits = {"maximize": "top1", "latency_budget_ms": 2.0, **objective}
    return Report(Recipe(task=Mock(), objective=Objective(**limits)))


def test_each_report_has_every_key_and_a_finite_score(told: Told) -> None:
    each = report()
    each.tell("pruned")
    each.add(top1=0.9, macs=10, epoch=1, signature="abc")
    each.add_measurement(measurement(1.0))
    each.tell("done")
    first, last = told
    assert set(first) == set(last) >= set(METRIC_UNITS)
    assert math.isnan(first["top1"])
    assert math.isfinite(first["score"])
    assert last["score"] == 0.9
    assert last["feasible"]
    assert (last["epoch"], last["signature"], last["latency_p50_ms"]) == (1, "abc", 1.0)


def test_a_missed_limit_is_told_with_its_reason(told: Told) -> None:
    each = report()
    assert each.limit_missed() == ""
    each.add(top1=0.99)
    each.add_measurement(measurement(3.0))
    assert "latency_p50_ms 3 ms" in each.limit_missed()
    each.tell("infeasible")
    assert told[-1]["score"] < 0
    assert not told[-1]["feasible"]
    assert told[-1]["reason"] == each.limit_missed()


def test_accuracy_is_no_limit_of_the_shape(told: Told) -> None:
    each = report(top1_floor=0.9)
    each.add(top1=0.5)
    assert each.limit_missed() == ""
    each.tell("retrain")
    assert not told[-1]["feasible"]


def test_a_network_that_was_not_retrained_is_not_held_to_a_floor(told: Told) -> None:
    each = report(top1_floor=0.9)
    each.add(top1=0.1)  # as it is after pruning
    each.add_measurement(measurement(2.2))
    each.tell("infeasible")
    assert told[-1]["reason"] == each.limit_missed()
    assert told[-1]["score"] == pytest.approx(-0.1 / 1.1)


@pytest.mark.parametrize("stage", ["infeasible", "collapsed", "unsupported"])
def test_every_end_leaves_its_report_to_be_repeated(
    told: Told, stage: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    each = report()
    each.add(top1=0.5, epoch=1)
    each.tell(stage, reason="why")
    files = told[-1].pop("files")
    assert set(files) == {"report.json", MANIFEST}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    monkeypatch.setattr(
        tune, "get_checkpoint", lambda: tune.Checkpoint.from_directory(str(tmp_path))
    )
    assert report().told_to_its_end()
    again = told[-1]
    assert (again["stage"], again["reason"], again["epoch"]) == (stage, "why", 1)


def test_a_trial_under_way_leaves_only_what_it_is_given(told: Told) -> None:
    report().tell("pruned")
    report().tell("retrain", files={"training.pt": b""})
    assert [set(each["files"]) for each in told] == [set(), {"training.pt", MANIFEST}]


def test_an_unsupported_network_has_the_worst_score(told: Told) -> None:
    each = report()
    each.add(top1=0.99)
    each.tell("unsupported", reason="unsupported layer")
    assert told[-1]["score"] == -1
    assert not told[-1]["feasible"]
    assert told[-1]["reason"] == "unsupported layer"


def test_the_manifest_has_the_sums_of_the_files(told: Told) -> None:
    report().tell("done", files={"model.onnx": b"onnx", "plan.json": b"{}"})
    files = told[0]["files"]
    manifest = json.loads(files.pop(MANIFEST))
    assert manifest["sha256"] == {n: hashlib.sha256(c).hexdigest() for n, c in files.items()}
    assert set(files) == {"model.onnx", "plan.json", "report.json"}


def test_time_on_the_device_adds_up_and_a_cached_answer_adds_none(told: Told) -> None:
    each = report()
    fresh = dataclasses.replace(measurement(), measure_s=2.0, queue_wait_s=1.0, taken_at=100.0)
    each.add_measurement(fresh)
    each.add_measurement(fresh)
    each.add_measurement(dataclasses.replace(fresh, cached=True))
    each.tell("done")
    assert (told[0]["measure_s"], told[0]["queue_wait_s"]) == (4.0, 2.0)
    spans = json.loads(told[0]["spans"])
    assert [(span["what"], span["start"], span["end"]) for span in spans[:2]] == [
        ("queue", 97.0, 98.0),
        ("measure", 98.0, 100.0),
    ]
    assert len(spans) == 4


def test_doubts_are_told_once_each(told: Told) -> None:
    each = report()
    doubtful = dataclasses.replace(measurement(), flags=("noisy",))
    each.add_measurement(doubtful)
    each.add_measurement(doubtful)
    each.flag("differs")
    each.tell("done")
    assert told[0]["flags"] == "noisy; differs"


def test_a_report_goes_on_where_it_was(told: Told) -> None:
    before, after = report(), report()
    before.add(top1=0.7, epoch=3)
    with before.span("retrain"):
        pass
    after.restore(json.loads(json.dumps(before.state())))
    for each in (before, after):
        each.tell("retrain")
    assert json.dumps(told[0], default=str) == json.dumps(told[1], default=str)


def test_a_name_that_means_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="'top11' is no metric"):
        report().add(top11=0.5)
