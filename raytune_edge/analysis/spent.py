"""What a search spent, and what ending trials early saved."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pandas as pd

from raytune_edge.analysis.experiment import Results
from raytune_edge.analysis.frame import CONFIG, to_frame, to_spans

__all__ = ["Spent", "epochs_saved", "spent"]


@dataclass(frozen=True, kw_only=True)
class Spent:
    """Sums over all trials, those that failed included as far as they told.

    Attributes:
        elapsed_s: From the first trial's begin to the last one's end.
        retrain_s: Time of retraining, which holds a GPU where there is one.
        device_s: Time on devices, reading and compiling included.
        queue_s: Time that requests waited for a device.
        measurements: Requests that a device answered.
        epochs: Epochs of retraining that were run.
        saved_by_gate: Epochs not run because the network was found infeasible or unsupported.
        saved_by_stop: Epochs not run because the network collapsed or a scheduler ended the trial.
        moved_bytes: ONNX bytes sent to devices.
    """

    elapsed_s: float
    retrain_s: float
    device_s: float
    queue_s: float
    measurements: int
    epochs: int
    saved_by_gate: int
    saved_by_stop: int
    moved_bytes: float


def spent(results: Results) -> Spent:
    """Add up what the trials report."""
    frame = to_frame(results)
    spans = to_spans(frame)
    measured = spans.loc[spans["what"] == "measure", "trial_id"].value_counts()
    saved = epochs_saved(frame)
    gated = frame["status"].isin(["infeasible", "unsupported"])
    sizes = frame.set_index("trial_id")["size_bytes"]
    return Spent(
        elapsed_s=_or_zero(frame["ended_at"].max() - frame["started_at"].min()),
        retrain_s=float(frame["retrain_s"].sum()),
        device_s=float(frame["measure_s"].sum()),
        queue_s=float(frame["queue_wait_s"].sum()),
        measurements=int(measured.sum()),
        epochs=int(frame["epoch"].sum()),
        saved_by_gate=int(saved[gated].sum()),
        saved_by_stop=int(saved[frame["status"].isin(["collapsed", "stopped"])].sum()),
        moved_bytes=float((measured * sizes.reindex(measured.index)).sum()),
    )


def epochs_saved(frame: pd.DataFrame) -> pd.Series:
    """Epochs that each trial did not run of those meant for it; 0 for done and failed ones.

    Meant are its own ``epochs``, where the search varies them, else as many as the longest
    retrained trial ran.
    """
    done = frame["epoch"][frame["status"] == "done"]
    usual = int(done.max()) if len(done) and done.notna().any() else 0
    meant = pd.Series(usual, index=frame.index, dtype="float64")
    if CONFIG + "epochs" in frame:
        meant = pd.to_numeric(frame[CONFIG + "epochs"], errors="coerce").fillna(usual)
    ended_early = frame["status"].isin(["infeasible", "unsupported", "collapsed", "stopped"])
    left = (meant - frame["epoch"].fillna(0).astype("float64")).clip(lower=0)
    return left.where(ended_early, 0.0).astype(int)


def _or_zero(value: float) -> float:
    return 0.0 if math.isnan(value) else float(value)
