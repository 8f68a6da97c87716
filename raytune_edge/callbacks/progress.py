"""What the search is doing, in the terminal: a live table, or quiet lines where there is none."""

from __future__ import annotations

import math
import sys
import threading
import time
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TextIO

import pandas as pd
from ray.tune import Callback

from raytune_edge.analysis.experiment import in_order, reason_of, status_of
from raytune_edge.errors import RaytuneEdgeError

if TYPE_CHECKING:
    from ray.tune.experiment import Trial

    from raytune_edge.devices import DevicePool
    from raytune_edge.devices.status import PoolStatus

__all__ = ["ProgressCallback"]

_RECENT = 5
_REDRAW_S = 1.0
_AGAIN_S = 30.0
_YES_OR_NO: dict[Any, str] = {True: "yes", False: "no"}
_UP_AND_CLEAR = "\x1b[{}F\x1b[J"


class ProgressCallback(Callback):  # type: ignore[misc]
    """Tell what each trial does. Use it with ``RunConfig(verbose=0)``, which silences Tune.

    Tune still prints the last report of a trial that failed, unless the environment has
    ``RAY_AIR_NEW_OUTPUT=0``.

    In a terminal: one table, redrawn each second, of the trials that run and those that ended
    last. Elsewhere: one line when a trial begins another stage, and every 30 s while it stays.

    Args:
        stream: Where to write; by default standard output.
        live: Whether to draw the table; by default if ``stream`` is a terminal.
        devices: From `connect_devices`; the table then tells this experiment's places in the queue.
    """

    def __init__(
        self,
        *,
        stream: TextIO | None = None,
        live: bool | None = None,
        devices: DevicePool | None = None,
    ) -> None:
        self._devices = devices
        self._queue = ""
        self._watched_until = threading.Event()
        self._stream = stream
        self._live = live
        self._total: int | None = None
        self._began = self._drawn_at = time.monotonic()
        self._height = 0
        self._broken = False
        self._told: dict[str, tuple[str, float]] = {}

    def __getstate__(self) -> dict[str, Any]:
        # Tune pickles its callbacks with the experiment; streams and threads do not travel.
        return {k: v for k, v in self.__dict__.items() if k != "_watched_until"} | {"_stream": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _watched_until=threading.Event())

    def setup(self, stop: Any = None, num_samples: Any = None, total_num_samples: Any = None,
              **info: Any) -> None:  # fmt: skip
        """Learn how many trials there will be, and begin to watch the queue."""
        self._total = total_num_samples
        self._began = time.monotonic()
        if self._devices is not None and self._is_live():
            # On a thread of its own: a pool that does not answer must not hold up the search.
            threading.Thread(target=self._watch_queue, daemon=True).start()

    def on_step_end(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        """Redraw the table, where there is one."""
        if self._is_live() and time.monotonic() - self._drawn_at >= _REDRAW_S:
            self._draw(trials)

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        """Tell the stage, if it is news."""
        stage, now = str(result.get("stage", "")), time.monotonic()
        last_stage, told_at = self._told.get(trial.trial_id, ("", -math.inf))
        if stage != last_stage or now - told_at >= _AGAIN_S:
            self._told[trial.trial_id] = (stage, now)
            self._tell_line(f"trial {_number(trial, trials)}: {sentence(result)}")

    def on_trial_complete(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        """Tell that a scheduler ended the trial, if it did not end by itself."""
        if status_of(trial, over=True) == "stopped":
            self._tell_line(f"trial {_number(trial, trials)}: stopped by the scheduler")

    def on_trial_recover(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        """Tell why the trial begins again."""
        why = reason_of(trial, failed=True)
        self._tell_line(f"trial {_number(trial, trials)}: begins again after {why}")

    def on_trial_error(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        """Tell why the trial failed."""
        why = reason_of(trial, failed=True)
        self._tell_line(f"trial {_number(trial, trials)}: failed: {why}")

    def on_experiment_end(self, trials: list[Trial], **info: Any) -> None:
        """Draw the table a last time, or tell the sum in one line."""
        if self._is_live():
            self._draw(trials)
        elif trials:
            self._write(self._sum(trials) + "\n")
        self._height = 0
        self._watched_until.set()

    def _watch_queue(self) -> None:
        assert self._devices is not None
        while not self._watched_until.wait(_REDRAW_S):
            try:
                self._queue = _in_words(self._devices.status())
            except RaytuneEdgeError as error:
                self._queue = f"devices: {error}"

    def _out(self) -> TextIO:
        return self._stream or sys.stdout

    def _is_live(self) -> bool:
        return self._out().isatty() if self._live is None else self._live

    def _tell_line(self, line: str) -> None:
        if not self._is_live():
            self._write(line + "\n")

    def _draw(self, trials: list[Trial]) -> None:
        self._drawn_at = time.monotonic()
        lines = [self._sum(trials), *([self._queue] if self._queue else []), self._table(trials)]
        text = "\n".join(lines) + "\n"
        self._write((_UP_AND_CLEAR.format(self._height) if self._height else "") + text)
        self._height = text.count("\n")

    def _write(self, text: str) -> None:
        try:
            if not self._broken:
                self._out().write(text)
                self._out().flush()
        except (OSError, ValueError):
            self._broken = True  # A closed terminal is no reason to end a search.

    def _sum(self, trials: list[Trial]) -> str:
        ends = Counter(status_of(trial) for trial in trials if _ended(trial))
        total = self._total if self._total and self._total > 0 else "?"
        running = sum(trial.status == "RUNNING" for trial in trials)
        minutes, seconds = divmod(int(time.monotonic() - self._began), 60)
        parts = [f"{ends.total()} of {total} trials ended", f"{running} running"]
        parts += [f"{count} {status}" for status, count in ends.items()]
        return ", ".join(parts) + f"; {minutes}:{seconds:02d} min"

    def _table(self, trials: list[Trial]) -> str:
        numbered = list(enumerate(in_order(trials), start=1))
        ended = [each for each in numbered if _ended(each[1])]
        running = [each for each in numbered if each[1].status == "RUNNING"]
        rows = [self._table_row(*each) for each in ended[-_RECENT:] + running]
        return pd.DataFrame(rows).to_string(index=False) if rows else "(no trial has begun)"

    def _table_row(self, number: int, trial: Trial) -> dict[str, str]:
        last = trial.last_result or {}
        feasible = last.get("feasible", "") if trial.status != "ERROR" else ""
        return {
            "trial": str(number),
            "stage": status_of(trial) if _ended(trial) else last.get("stage", "starting"),
            "epoch": _of_epochs(last),
            "top-1": _figure(last, "top1", ".3f"),
            "latency ms": _figure(last, "latency_p50_ms", ".3f"),
            "feasible": _YES_OR_NO.get(feasible, "-"),
        }


def _in_words(status: PoolStatus) -> str:
    """The pool in a line: ``1 of 2 devices measuring, 3 waiting (ours at 1, 3)``."""
    busy = sum(device.busy for device in status.devices)
    words = f"{busy} of {len(status.devices)} devices measuring, {status.queue_length} waiting"
    if status.places:
        words += f" (ours at {', '.join(map(str, status.places))})"
    trouble = [f"{each.device_id} {each.state}" for each in status.devices if not each.healthy]
    return ", ".join([words, *trouble])


def sentence(report: Mapping[str, Any]) -> str:
    """A report in a few words.

    >>> sentence({"stage": "retrain", "epoch": 2, "top1": 0.981, "latency_p50_ms": 0.62,
    ...           "config": {"epochs": 4}})
    'retrain epoch 2/4, top-1 0.981, latency 0.620 ms'
    >>> sentence({"stage": "infeasible", "epoch": 0, "latency_p50_ms": 1.2,
    ...           "reason": "latency_p50_ms 1.2 ms is over the limit of 0.8 ms"})
    'infeasible, latency 1.200 ms: latency_p50_ms 1.2 ms is over the limit of 0.8 ms'
    """
    words = [str(report.get("stage", "running"))]
    if words == ["retrain"]:
        words = [f"retrain epoch {_of_epochs(report)}"]
    for name, metric, unit in (("top-1", "top1", ""), ("latency", "latency_p50_ms", " ms")):
        figure = _figure(report, metric, ".3f")
        if figure != "-":
            words.append(f"{name} {figure}{unit}")
    reason = report.get("reason")
    return ", ".join(words) + (f": {reason}" if reason else "")


def _of_epochs(report: Mapping[str, Any]) -> str:
    epoch, epochs = report.get("epoch"), (report.get("config") or {}).get("epochs")
    if not epoch:
        return "-"
    return f"{epoch}/{epochs}" if epochs else str(epoch)


def _figure(report: Mapping[str, Any], metric: str, form: str) -> str:
    value = report.get(metric)
    return "-" if value is None or math.isnan(value) else format(value, form)


def _ended(trial: Trial) -> bool:
    return trial.status in ("TERMINATED", "ERROR") and status_of(trial) != "unfinished"


def _number(trial: Trial, trials: list[Trial]) -> int:
    return in_order(trials).index(trial) + 1
