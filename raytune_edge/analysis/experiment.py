"""Tune's own objects; hides in which form an experiment comes, and how Tune tells an ending."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeAlias

import pandas as pd

__all__ = ["RUN_RECORD", "Results", "experiment", "in_order", "reason_of", "run_record"]
__all__ += ["status_of"]

Results: TypeAlias = object
"""A ``ResultGrid``, an ``ExperimentAnalysis``, an experiment's folder, or a frame of `to_frame`."""

RUN_RECORD = "run_record.json"
"""What `raytune_edge.RunRecordCallback` leaves in the experiment's folder."""

_ENDED = ("done", "infeasible", "collapsed", "unsupported")


def experiment(results: Results) -> Any:
    """The ``ExperimentAnalysis`` behind ``results``: ``trials``, ``trial_dataframes``,
    ``experiment_path``.

    Raises:
        ValueError: If ``results`` is no result of Tune, or a folder without an experiment.
    """
    if isinstance(results, str | Path):
        return _read(Path(results))
    # A ResultGrid does not tell its trials' status; the analysis that it wraps does.
    analysis = getattr(results, "_experiment_analysis", results)
    if not hasattr(analysis, "trials"):
        raise ValueError(
            "expected a ResultGrid, an ExperimentAnalysis, a path or a frame of to_frame, "
            f"got {type(results).__name__}"
        )
    return analysis


def in_order(trials: Iterable[Any]) -> list[Any]:
    """Tune's trials in the order in which they were made; Tune itself reorders them.

    Tune begins each trial's ``experiment_tag`` with the number that the trial was given.
    """

    def number(trial: Any) -> float:
        text = str(trial.experiment_tag or "").partition("_")[0]
        return int(text) if text.isdigit() else math.inf

    return sorted(trials, key=number)


def run_record(results: Results) -> dict[str, Any]:
    """What `raytune_edge.RunRecordCallback` noted; empty where it was not used, or for a frame."""
    if isinstance(results, pd.DataFrame):
        return {}
    analysis = experiment(results)
    try:
        path = f"{analysis.experiment_path}/{RUN_RECORD}"
        with analysis._fs.open_input_stream(path) as file:
            return dict(json.loads(file.readall()))
    except (OSError, ValueError, AttributeError):
        return {}


def status_of(trial: Any, *, failed: bool = False, over: bool = False) -> str:
    """The ``status`` that `to_frame` tells of a Tune trial.

    Tune calls a trial ``"TERMINATED"`` also when the whole experiment was interrupted or ran out of
    time; its last report is then not marked as the last.

    Args:
        failed: True where Tune says so in another way than by the trial's status, as to callbacks.
        over: As ``failed``, for a trial that ended without an error.
    """
    last = trial.last_result or {}
    if failed or trial.status == "ERROR":
        return "failed"
    if last.get("stage") in _ENDED:
        return str(last["stage"])
    over = over or (trial.status == "TERMINATED" and bool(last.get("done")))
    return "stopped" if over else "unfinished"


def reason_of(trial: Any, *, failed: bool) -> str:
    """Why a Tune trial ended as it did: of an error the last line, which tells the exception."""
    if not failed:
        return str((trial.last_result or {}).get("reason", ""))
    text = str(trial.get_error() or _local_error(trial))
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].strip() if lines else "the trial failed without telling why"


def _local_error(trial: Any) -> str:
    """The error before Tune has copied it to the storage."""
    import ray

    # Without Ray, Tune cannot tell where its local copies were, and raises.
    local = Path(trial.error_file or "") if ray.is_initialized() else Path()
    return local.read_text() if local.is_file() else ""


def _read(folder: Path) -> Any:
    from ray.tune import ExperimentAnalysis

    # A folder of results may hold the experiment's own a level or two down.
    for level in ("", "*/", "*/*/"):
        states = folder.glob(f"{level}experiment_state-*.json")
        if found := sorted({state.parent for state in states}):
            break
    else:
        raise ValueError(
            f"no Tune experiment in {folder}: expected a folder with an experiment_state-*.json, "
            "which is <storage_path>/<name> of the RunConfig"
        )
    if len(found) > 1:
        raise ValueError(
            f"several Tune experiments in {folder}; name one of them: {[str(f) for f in found]}"
        )
    return ExperimentAnalysis(str(found[0].resolve()))
