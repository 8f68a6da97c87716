"""The folder of results that one keeps: tables, picture, report and the best model."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from raytune_edge.analysis.experiment import Results
from raytune_edge.analysis.files import checkpoint_folder
from raytune_edge.analysis.frame import feasible, to_frame
from raytune_edge.analysis.front import pareto_front
from raytune_edge.errors import OutputError

if TYPE_CHECKING:
    from raytune_edge.records import Measurement

__all__ = ["Written", "best_trial", "prepare_folder", "write_results"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Written:
    """Where `write_results` put what.

    Attributes:
        model: The best network's ONNX file, ``best/model.onnx``, its manifest beside it; None if
            no trial reached its end with a feasible network.
        report: The HTML report.
    """

    folder: Path
    trials: Path
    front: Path
    picture: Path
    report: Path
    model: Path | None


def prepare_folder(folder: str | os.PathLike[str]) -> Path:
    """Make ``folder`` and make sure that files can be written there; call it before a long search.

    Raises:
        OutputError: If it cannot be made or written to.
    """
    path = Path(folder)
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise OutputError(
            f"results cannot be written to {path}: {error}. Give a folder that this user can "
            "write to; what the trials left in Tune's storage is untouched"
        ) from error
    return path


def write_results(
    results: Results,
    folder: str | os.PathLike[str],
    *,
    maximize: str = "top1",
    minimize: str = "latency_p50_ms",
    budget_ms: float | None = None,
    title: str = "",
    unpruned: Measurement | None = None,
) -> Written:
    """Write ``trials.csv``, ``front.csv``, ``front.png``, ``best/`` and ``report.html``.

    The tables have one row a trial and columns as in `to_frame`; ``best/`` holds all files of the
    trial with the highest score. Files of an earlier call are replaced.

    Args:
        budget_ms: Latency budget, drawn as a line.
        title: Of the report, as is ``unpruned``: see `report`.

    Raises:
        OutputError: If ``folder`` cannot be written, before anything is.
    """
    from raytune_edge.analysis.plots import plot_front, style
    from raytune_edge.analysis.report import report

    path = prepare_folder(folder)
    frame = to_frame(results)
    written = Written(
        folder=path,
        trials=path / "trials.csv",
        front=path / "front.csv",
        picture=path / "front.png",
        report=path / "report.html",
        model=_copy_best(frame, path / "best"),
    )
    frame.to_csv(written.trials, index=False)
    pareto_front(frame, maximize=maximize, minimize=minimize).to_csv(written.front, index=False)
    axes = plot_front(frame, maximize=maximize, minimize=minimize, budget_ms=budget_ms)
    style.save(axes, written.picture)
    report(results, written.report, budget_ms=budget_ms, title=title, unpruned=unpruned)
    return written


def best_trial(results: Results) -> pd.Series | None:
    """The finished feasible trial with the highest score, the faster one of equals."""
    rows = feasible(results).sort_values(
        ["score", "latency_p50_ms"], ascending=[False, True], kind="stable", na_position="last"
    )
    return None if rows.empty else rows.iloc[0]


def _copy_best(frame: pd.DataFrame, target: Path) -> Path | None:
    best = best_trial(frame)
    shutil.rmtree(target, ignore_errors=True)
    if best is None:
        return None
    with checkpoint_folder(best) as source:
        if source is None:
            logger.warning("the files of the best trial, %s, are gone", best["trial_id"])
            return None
        shutil.copytree(source, target, ignore=shutil.ignore_patterns(".*"))
    return target / "model.onnx"
