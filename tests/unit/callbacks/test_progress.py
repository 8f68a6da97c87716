"""`ProgressCallback`: quiet lines, and the live table."""

from __future__ import annotations

import io
import pickle
import threading
from types import SimpleNamespace
from typing import Any

import pytest

from raytune_edge.callbacks import ProgressCallback
from raytune_edge.callbacks import progress as module
from raytune_edge.errors import DeviceError


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


def report(stage: str, **told: Any) -> dict[str, Any]:
    return {"stage": stage, "epoch": 0, "feasible": True, **told}


def test_one_line_when_the_stage_changes_and_each_half_minute(
    trial: Any, clock: list[float]
) -> None:
    stream = io.StringIO()
    callback = ProgressCallback(stream=stream)
    trials = [trial(0), trial(1)]
    stages = [("pruned", 0, 0), ("retrain", 1, 1), ("retrain", 2, 2), ("retrain", 3, 40),
              ("done", 3, 41)]  # fmt: skip
    for stage, epoch, now in stages:
        clock[0] = float(now)
        told = report(stage, epoch=epoch, top1=0.5, latency_p50_ms=0.25)
        callback.on_trial_result(0, trials, trials[1], told)
    assert stream.getvalue().splitlines() == [
        "trial 2: pruned, top-1 0.500, latency 0.250 ms",
        "trial 2: retrain epoch 1, top-1 0.500, latency 0.250 ms",
        "trial 2: retrain epoch 3, top-1 0.500, latency 0.250 ms",
        "trial 2: done, top-1 0.500, latency 0.250 ms",
    ]


def test_ends_are_told_with_their_reason(trial: Any) -> None:
    stream = io.StringIO()
    callback = ProgressCallback(stream=stream)
    failed = trial(0, get_error=lambda: "Traceback\nDeviceDiedError: gone")
    stopped = trial(1, last_result=report("retrain", done=True))
    trials = [failed, stopped]
    callback.on_trial_recover(0, trials, failed)
    callback.on_trial_error(0, trials, failed)
    callback.on_trial_complete(0, trials, stopped)
    failed.status, stopped.status = "ERROR", "TERMINATED"
    callback.on_experiment_end(trials)
    lines = stream.getvalue().splitlines()
    assert lines[:3] == [
        "trial 1: begins again after DeviceDiedError: gone",
        "trial 1: failed: DeviceDiedError: gone",
        "trial 2: stopped by the scheduler",
    ]
    assert lines[3].startswith("2 of ? trials ended, 0 running, 1 failed, 1 stopped;")


def test_the_table_has_what_runs_and_what_ended_last(trial: Any, clock: list[float]) -> None:
    stream = io.StringIO()
    callback = ProgressCallback(stream=stream, live=True)
    callback.setup(total_num_samples=12)
    trials = [
        trial(n, status="TERMINATED", last_result=report("done", epoch=4, top1=0.9))
        for n in range(8)
    ]
    trials += [trial(8, last_result=report("infeasible", latency_p50_ms=1.5, feasible=False))]
    trials += [trial(9, status="PENDING")]
    clock[0] = 75.0
    callback.on_step_end(0, trials)
    head, columns, *rows = stream.getvalue().splitlines()
    assert head == "8 of 12 trials ended, 1 running, 8 done; 1:15 min"
    assert columns.split() == ["trial", "stage", "epoch", "top-1", "latency", "ms", "feasible"]
    assert [row.split()[0] for row in rows] == ["4", "5", "6", "7", "8", "9"]
    assert rows[0].split() == ["4", "done", "4", "0.900", "-", "yes"]
    assert rows[-1].split() == ["9", "infeasible", "-", "-", "1.500", "no"]


def test_the_table_is_drawn_over_and_not_too_often(trial: Any, clock: list[float]) -> None:
    stream = io.StringIO()
    callback = ProgressCallback(stream=stream, live=True)
    for now in (5.0, 5.5, 7.0):
        clock[0] = now
        callback.on_step_end(0, [trial(0)])
    assert stream.getvalue().count("trials ended") == 2
    assert "\x1b[3F\x1b[J" in stream.getvalue()  # three lines up: the sum, the columns, one trial


def test_a_terminal_is_told_by_the_stream(trial: Any, clock: list[float]) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    for stream, lines in ((Terminal(), 0), (io.StringIO(), 1)):
        callback = ProgressCallback(stream=stream)
        one = trial(0)
        callback.on_trial_result(0, [one], one, report("pruned"))
        assert stream.getvalue().count("\n") == lines


def test_a_closed_stream_ends_nothing_but_the_telling(trial: Any) -> None:
    stream = io.StringIO()
    stream.close()
    callback = ProgressCallback(stream=stream, live=False)
    one = trial(0)
    callback.on_trial_result(0, [one], one, report("pruned"))
    callback.on_experiment_end([one])


def test_the_callback_travels_without_its_stream(trial: Any, capsys: Any) -> None:
    with open("/dev/null", "w") as stream:
        copy = pickle.loads(pickle.dumps(ProgressCallback(stream=stream)))
    one = trial(0)
    copy.on_trial_result(0, [one], one, report("pruned"))
    assert capsys.readouterr().out == "trial 1: pruned\n"


class Devices:
    """A pool whose status is told, or that is gone."""

    def __init__(self) -> None:
        self.asked = threading.Event()
        self.answer: Any = None

    def status(self) -> Any:
        answer = self.answer
        self.asked.set()
        if isinstance(answer, Exception):
            raise answer
        return answer


UNITS = (
    SimpleNamespace(device_id="a", busy=True, healthy=True, state="busy"),
    SimpleNamespace(device_id="b", busy=False, healthy=False, state="quarantined"),
)


@pytest.mark.parametrize(
    ("answer", "line"),
    [
        (
            SimpleNamespace(devices=UNITS, queue_length=3, places=(1, 3)),
            "1 of 2 devices measuring, 3 waiting (ours at 1, 3), b quarantined",
        ),
        (DeviceError("the pool is gone"), "devices: the pool is gone"),
    ],
    ids=["well", "gone"],
)
def test_the_table_tells_the_queue(
    trial: Any, monkeypatch: pytest.MonkeyPatch, answer: Any, line: str
) -> None:
    monkeypatch.setattr(module, "_REDRAW_S", 0.0)
    devices, stream = Devices(), io.StringIO()
    devices.answer = answer
    callback = ProgressCallback(stream=stream, live=True, devices=devices)  # type: ignore[arg-type]
    callback.setup()
    for _ in range(2):  # the second question is asked once the first answer is kept
        devices.asked.clear()
        assert devices.asked.wait(10)
    callback.on_step_end(0, [trial(0)])
    callback.on_experiment_end([trial(0)])
    assert line in stream.getvalue().splitlines()
