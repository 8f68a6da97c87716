"""Weights & Biases from the driver: one run for each trial, none lost, no trial delayed."""

from __future__ import annotations

import json
import logging
import os
import queue
import shutil
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ray.tune.logger import LoggerCallback

from raytune_edge.analysis.experiment import reason_of, status_of
from raytune_edge.records import METRIC_UNITS

if TYPE_CHECKING:
    from ray.tune.experiment import Trial

__all__ = ["WandbCallback"]

logger = logging.getLogger(__name__)


class WandbCallback(LoggerCallback):  # type: ignore[misc]
    """Log each trial as one W&B run, and the front as one more at the experiment's end.

    Everything that W&B does is done on one thread of the driver, so that a slow or failing W&B
    costs no trial anything; what could not be logged is said once, as a warning. Every report is
    logged, in order. The runs of an experiment share a group; the last one, of job type
    ``"front"``, holds the front as a table and a picture, and the networks on it as artifacts.

    When a restored experiment goes on with a trial, its earlier reports are written again and the
    folder of its earlier offline run is removed, so that each trial has one run.

    Args:
        project: W&B's project.
        group: Of all runs of the experiment; by default the experiment's name.
        mode: ``"offline"``, ``"online"`` or ``"disabled"``; by default what ``WANDB_MODE`` says,
            else offline. Online without a key is offline, with a warning: nobody is asked for one.
        dir: Where W&B makes its folder ``wandb``; by default W&B's own choice.
        budget_ms: Latency budget, drawn into the picture of the front.
        images: More pictures for the front's run, such as that of the groups' sensitivity: title →
            path of a PNG file.
        finish_s: Longest wait at the experiment's end for what is not yet logged, in seconds.
        init: More arguments for ``wandb.init``, such as ``entity`` or ``tags``.
    """

    def __init__(
        self,
        project: str,
        *,
        group: str | None = None,
        mode: Literal["offline", "online", "disabled"] | None = None,
        dir: str | os.PathLike[str] | None = None,  # noqa: A002 - W&B's name for it
        budget_ms: float | None = None,
        images: Mapping[str, str | os.PathLike[str]] | None = None,
        finish_s: float = 60.0,
        **init: Any,
    ) -> None:
        super().__init__()
        self.group = group
        self.budget_ms = budget_ms
        self.images = {title: str(path) for title, path in (images or {}).items()}
        self.finish_s = finish_s
        folder = dir or os.environ.get("WANDB_DIR") or "."
        self._options = {"project": project, "mode": mode, "dir": str(folder), **init}
        self._writer: _Writer | None = None
        self._open: set[str] = set()

    def __getstate__(self) -> dict[str, Any]:
        # Tune pickles its callbacks with the experiment; threads do not travel.
        return {**self.__dict__, "_writer": None, "_open": set()}

    def log_trial_start(self, trial: Trial) -> None:
        """Open the trial's run, unless it is open: Tune starts a trial again after a failure."""
        if trial.trial_id in self._open:
            return
        self._open.add(trial.trial_id)
        run = {
            "id": trial.trial_id,
            "name": str(trial),
            "group": self.group or trial.experiment_dir_name,
            "job_type": "trial",
            "config": {key: _plain(value) for key, value in trial.config.items()},
        }
        kept = trial.latest_checkpoint_result
        self._do("the run of a trial", lambda writer: writer.open(run, _earlier(trial, kept)))

    def log_trial_result(self, iteration: int, trial: Trial, result: dict[str, Any]) -> None:
        """Log all numbers and texts of the report."""
        self.log_trial_start(trial)
        row = _row(result)
        self._do("a report", lambda writer: writer.runs[trial.trial_id].log(row))

    def log_trial_end(self, trial: Trial, failed: bool = False) -> None:
        """Close the trial's run; its summary tells status, reason and units."""
        self._close(trial, failed=failed, over=True)

    def on_experiment_end(self, trials: list[Trial], **info: Any) -> None:
        """Close what is open, log the front, and wait for the thread as long as ``finish_s``."""
        for trial in trials:
            if trial.trial_id in self._open:
                self._close(trial, failed=False, over=False)
        if trials:
            self._do("the front", lambda writer: self._log_front(writer, trials))
        if self._writer is not None:
            self._writer.finish(self.finish_s)
            self._writer = None

    def _close(self, trial: Trial, *, failed: bool, over: bool) -> None:
        self.log_trial_start(trial)
        self._open.discard(trial.trial_id)

        def close(writer: _Writer) -> None:
            status = status_of(trial, failed=failed, over=over)
            summary = {"status": status, "units": METRIC_UNITS}
            try:
                summary["reason"] = reason_of(trial, failed=failed)
            finally:
                writer.close(trial.trial_id, summary, failed)

        self._do("a trial's end", close)

    def _do(self, what: str, job: Callable[[_Writer], Any]) -> None:
        if self._writer is None:
            self._writer = _Writer(self._options)
            self._writer.start()
        self._writer.jobs.put((what, job))

    def _log_front(self, writer: _Writer, trials: list[Trial]) -> None:
        from raytune_edge.callbacks.wandb_front import log_front

        name = trials[0].experiment_dir_name
        group = self.group or name
        run_id = "front-" + "".join(c if c.isalnum() or c in "-_." else "-" for c in name)
        run = {"id": run_id, "name": f"{name}: front", "group": group, "job_type": "front"}
        writer.open(run, [])
        try:
            log_front(writer.runs[run_id], trials, budget_ms=self.budget_ms, images=self.images)
        finally:
            writer.close(run_id, {"units": METRIC_UNITS}, failed=False)


class _Writer(threading.Thread):
    """The thread that alone talks to W&B. A job that fails is counted, and told at the end."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        super().__init__(name="wandb-callback", daemon=True)
        self.options = dict(options)
        self.jobs: queue.SimpleQueue[tuple[str, Callable[[_Writer], Any]] | None]
        self.jobs = queue.SimpleQueue()
        self.runs: dict[str, Any] = {}
        self.lost: dict[str, int] = {}
        self.cause: Exception | None = None

    def run(self) -> None:
        ready = False
        while (job := self.jobs.get()) is not None:
            what, do = job
            try:
                if not ready:
                    self._settle_mode()
                    ready = True
                do(self)
            except Exception as error:
                self.cause = self.cause or error
                self.lost[what] = self.lost.get(what, 0) + 1

    def finish(self, timeout_s: float) -> None:
        """Wait for the jobs asked for so far, and say what could not be logged."""
        self.jobs.put(None)
        self.join(timeout_s)
        if self.is_alive():
            logger.warning(
                "W&B did not take everything within %g s; about %d entries are still to be "
                "logged and are lost if this process ends now", timeout_s, self.jobs.qsize()
            )  # fmt: skip
        if self.lost:
            lost = ", ".join(f"{what} ({count} times)" for what, count in self.lost.items())
            logger.warning("W&B could not log %s. The first cause: %r", lost, self.cause)

    def open(self, run: Mapping[str, Any], earlier: list[dict[str, Any]]) -> None:
        import wandb

        folder = Path(self.options["dir"])
        folder.mkdir(parents=True, exist_ok=True)
        abandoned = list(folder.glob(f"*wandb/offline-run-*-{run['id']}"))
        settings = wandb.Settings(
            # The driver's output and load say nothing about a trial, and runs are many.
            console="off", silent=True, disable_git=True, x_disable_stats=True,
        )  # fmt: skip
        defaults = {"reinit": "create_new", "resume": "allow", "save_code": False}
        self.runs[run["id"]] = opened = wandb.init(
            **{**defaults, "settings": settings, **run, **self.options}
        )
        for row in earlier:
            opened.log(row)
        for old in abandoned:
            shutil.rmtree(old, ignore_errors=True)

    def close(self, run_id: str, summary: Mapping[str, Any], failed: bool) -> None:
        run = self.runs.pop(run_id)
        run.summary.update(dict(summary))
        run.finish(exit_code=int(failed))

    def _settle_mode(self) -> None:
        """Offline unless told otherwise; nothing here may ask for a key."""
        import wandb

        mode = self.options["mode"] or os.environ.get("WANDB_MODE") or "offline"
        if mode in ("online", "run") and not wandb.login(prompt=False):
            logger.warning("W&B has no key (see `wandb login`): runs are logged offline")
            mode = "offline"
        self.options["mode"] = mode


def _row(report: Mapping[str, Any]) -> dict[str, Any]:
    """Numbers and texts of a report, NumPy's and torch's scalars as Python's."""
    plain = {
        name: value.item() if getattr(value, "shape", None) == () else value
        for name, value in report.items()
    }
    return {n: v for n, v in plain.items() if isinstance(v, bool | int | float | str)}


def _plain(value: Any) -> Any:
    return value if isinstance(value, bool | int | float | str) or value is None else repr(value)


def _earlier(trial: Trial, kept: Any) -> list[dict[str, Any]]:
    """What a trial that goes on from the checkpoint ``kept`` had reported until then."""
    if kept is None or kept.checkpoint is None or trial.storage is None:
        return []
    path = Path(trial.storage.trial_fs_path, "result.json").as_posix()
    try:
        with trial.storage.storage_filesystem.open_input_stream(path) as file:
            lines = file.readall().decode().splitlines()
        reports = [json.loads(line) for line in lines]
    except (OSError, ValueError):
        return []
    last = kept.metrics.get("training_iteration", 0)
    return [_row(each) for each in reports if each.get("training_iteration", 0) <= last]
