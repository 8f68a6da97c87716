"""Tune's results as pandas frames.

Every function here takes a ``ResultGrid``, an ``ExperimentAnalysis``, the path of an experiment's
folder, or a frame that `to_frame` made before (which is passed through).
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from raytune_edge.analysis.experiment import Results, experiment, in_order, reason_of, status_of
from raytune_edge.analysis.files import checkpoint_uri
from raytune_edge.records import METRIC_UNITS

__all__ = ["CONFIG", "baseline", "feasible", "to_frame", "to_history", "to_spans"]

CONFIG = "config/"
"""Prefix of the columns that hold a trial's sampled config, as in Tune's own data frames."""

_TEXT = ("stage", "reason", "signature", "flags", "device_id", "spans")
_SPAN_COLUMNS = ("trial", "trial_id", "what", "start", "end", "where")


def to_frame(results: Results) -> pd.DataFrame:
    """One row for each trial, in the order of their creation, failed ones included.

    Columns:
        trial: 1 for the first trial, and so on.
        trial_id: Tune's.
        status: ``"done"``, ``"infeasible"``, ``"collapsed"``, ``"unsupported"`` as the trial said;
            ``"stopped"`` by a scheduler or stopper before its end; ``"failed"`` with an error;
            ``"unfinished"`` when the experiment was interrupted or ran out of time (a paused
            trial that a synchronous scheduler gave up cannot be told from it).
        stage, reason, flags, signature, device_id, spans: text, "" where unknown; the reason of a
            failed trial is the last line of its error.
        finished: Whether the trial came to an end of its own or of a scheduler's: neither failed
            nor unfinished.
        feasible: Whether the trial said so; False where it never reported.
        epoch: Whole number, missing where unknown.
        config/...: The sampled config.
        started_at, ended_at: Unix time of the trial's start and last report.
        checkpoint: Where the trial's files lie, "" if it left none.

    and every metric of `raytune_edge.records.METRIC_UNITS`, as float64, NaN where unknown.
    """
    if isinstance(results, pd.DataFrame):
        frame: pd.DataFrame = results
        return frame
    trials = in_order(experiment(results).trials)
    rows = [_row(number, trial) for number, trial in enumerate(trials, start=1)]
    config = dict.fromkeys(name for row in rows for name in row if name.startswith(CONFIG))
    columns = ["trial", "trial_id", "status", "stage", "reason", "epoch", "finished", "feasible"]
    columns += [*METRIC_UNITS, *config, "started_at", "ended_at"]
    columns += ["device_id", "signature", "flags", "spans", "checkpoint"]
    return _typed(pd.DataFrame(rows, columns=columns))


def to_history(results: Results) -> pd.DataFrame:
    """Every report of every trial: ``trial``, ``trial_id``, ``stage``, ``epoch`` and the metrics.

    Empty for a frame, which holds last reports only.
    """
    columns = ["trial", "trial_id", "stage", "epoch", *METRIC_UNITS]
    if isinstance(results, pd.DataFrame):
        return pd.DataFrame(columns=columns)
    analysis = experiment(results)
    reports = []
    for number, trial in enumerate(in_order(analysis.trials), start=1):
        frame = analysis.trial_dataframes.get(trial.trial_id)
        if frame is not None and len(frame):
            reports.append(
                frame.reindex(columns=columns[2:]).assign(trial=number, trial_id=trial.trial_id)
            )
    if not reports:
        return pd.DataFrame(columns=columns)
    history: pd.DataFrame = pd.concat(reports, ignore_index=True)
    return history[columns]


def to_spans(results: Results) -> pd.DataFrame:
    """What each trial did when and where: ``trial, trial_id, what, start, end, where``.

    ``start`` and ``end`` are Unix times in seconds. A text that is not a list of spans is left out.
    """
    frame = to_frame(results)
    rows = [
        {"trial": trial, "trial_id": trial_id, **span}
        for trial, trial_id, text in zip(
            frame["trial"], frame["trial_id"], frame["spans"], strict=True
        )
        for span in _spans(text)
    ]
    return pd.DataFrame(rows, columns=list(_SPAN_COLUMNS)).astype({"start": float, "end": float})


def feasible(results: Results) -> pd.DataFrame:
    """The rows of `to_frame` whose trial reached its end with a feasible network."""
    frame = to_frame(results)
    return frame[(frame["status"] == "done") & frame["feasible"]]


def baseline(results: Results) -> pd.Series | None:
    """The unpruned network's row, its ``top1`` that of the baseline; None if it was not measured.

    That is the first trial with ``params_ratio`` 1 and a latency, whatever became of it; its
    ``top1`` is taken before retraining (``top1_pruned``), and so is its ``top5``.
    """
    frame = to_frame(results)
    rows = frame[(frame["params_ratio"] == 1) & frame["latency_p50_ms"].notna()]
    if rows.empty:
        return None
    row = rows.iloc[0].copy()
    row["top1"], row["top5"] = row["top1_pruned"], row["top5_pruned"]
    return row


def _row(number: int, trial: Any) -> dict[str, Any]:
    # Tune makes up a last result for a trial that never reported.
    last = trial.last_result if trial.has_reported_at_least_once else {}
    failed = trial.status == "ERROR"
    status = status_of(trial)
    ended_at = last.get("timestamp", math.nan)
    checkpoint = trial.checkpoint
    return {
        **{name: last.get(name) for name in (*METRIC_UNITS, *_TEXT, "epoch", "feasible")},
        **{CONFIG + str(key): _scalar(value) for key, value in (trial.config or {}).items()},
        "trial": number,
        "trial_id": trial.trial_id,
        "status": status,
        "finished": status not in ("failed", "unfinished"),
        "reason": reason_of(trial, failed=failed),
        "started_at": ended_at - last.get("time_total_s", math.nan),
        "ended_at": ended_at,
        "checkpoint": checkpoint_uri(checkpoint) if checkpoint else "",
    }


def _scalar(value: Any) -> Any:
    return value if isinstance(value, bool | int | float | str) or value is None else repr(value)


def _typed(frame: pd.DataFrame) -> pd.DataFrame:
    numbers = [*METRIC_UNITS, "started_at", "ended_at"]
    frame[numbers] = frame[numbers].apply(pd.to_numeric, errors="coerce").astype("float64")
    text = [*_TEXT, "checkpoint"]
    frame[text] = frame[text].astype("object").where(frame[text].notna(), "").astype(str)
    frame["epoch"] = pd.to_numeric(frame["epoch"], errors="coerce").astype("Int64")
    frame["feasible"] = frame["feasible"].map(lambda told: told is True or told == 1).astype(bool)
    return frame


def _spans(text: str) -> Iterable[Mapping[str, Any]]:
    try:
        spans = json.loads(text) if text else []
    except json.JSONDecodeError:
        return []
    wanted = _SPAN_COLUMNS[2:]
    return [
        {name: span[name] for name in wanted}
        for span in spans
        if isinstance(span, dict) and set(wanted) <= set(span)
    ]
