"""The report: everything that a search says, in one HTML file that needs nothing else."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

import raytune_edge
from raytune_edge.analysis.experiment import Results, experiment
from raytune_edge.analysis.frame import baseline, to_frame
from raytune_edge.analysis.front import best_under, knee_point, pareto_front
from raytune_edge.errors import OutputError

if TYPE_CHECKING:
    from raytune_edge.records import Measurement

__all__ = ["report"]


def report(
    results: Results,
    path: str | os.PathLike[str],
    *,
    budget_ms: float | None = None,
    title: str = "",
    unpruned: Measurement | None = None,
) -> Path:
    """Write one self-contained HTML file that tells what the search found and what it took.

    Args:
        results: What `to_frame` takes; from a frame alone the curves of each epoch are missing.
        path: The file; an old one is replaced.
        budget_ms: Latency budget, drawn as a line.
        title: Of the page; the experiment's name by default.
        unpruned: A measurement of the unpruned network with ``Timing(profile=True)``, to set the
            layers' times against; by default that of its trial.

    Raises:
        OutputError: If the file cannot be written.
    """
    import jinja2

    from raytune_edge.analysis.sections import all_sections

    if not isinstance(results, pd.DataFrame):
        results = experiment(results)
    frame = to_frame(results)
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("raytune_edge.analysis", "templates"), autoescape=True
    )
    page = environment.get_template("report.html").render(
        title=title or _name(results),
        version=raytune_edge.__version__,
        written=time.strftime("%Y-%m-%d %H:%M"),
        summary=_summary(frame),
        cards=_cards(frame, budget_ms),
        sections=all_sections(results, budget_ms=budget_ms, unpruned=unpruned),
    )
    target = Path(path)
    try:
        target.write_text(page, encoding="utf-8")
    except OSError as error:
        raise OutputError(f"the report cannot be written to {target}: {error}") from error
    return target


def _name(results: Results) -> str:
    return Path(getattr(results, "experiment_path", "") or "results").name


def _summary(frame: pd.DataFrame) -> str:
    counts = frame["status"].value_counts()
    told = ", ".join(f"{count} {status}" for status, count in counts.items())
    return f"{len(frame)} trials: {told}." if len(frame) else "No trial was made."


def _cards(frame: pd.DataFrame, budget_ms: float | None) -> list[dict[str, str]]:
    cards = []
    unpruned = baseline(frame)
    if unpruned is not None:
        cards.append(_card("Unpruned network", unpruned, None))
    best = best_under(frame, latency_ms=budget_ms if budget_ms else float("inf"))
    if best is not None:
        name = f"Most accurate within {budget_ms:.3g} ms" if budget_ms else "Most accurate"
        cards.append(_card(name, best, unpruned))
    knee = knee_point(frame)
    if knee is not None and best is not None and knee["trial_id"] != best["trial_id"]:
        cards.append(_card("Knee of the front", knee, unpruned))
    front = len(pareto_front(frame))
    cards.append({"name": "On the front", "value": str(front), "note": _plural(front, "network")})
    return cards


def _card(name: str, row: pd.Series, unpruned: pd.Series | None) -> dict[str, str]:
    note = f"{row['latency_p50_ms']:.3f} ms (p50)"
    if unpruned is not None:
        note += f", {unpruned['latency_p50_ms'] / row['latency_p50_ms']:.2f}× as fast"
    if row["test_top1"] == row["test_top1"]:
        note += f", test top-1 {row['test_top1']:.4f}"
    return {
        "name": name,
        "value": f"top-1 {row['top1']:.4f}",
        "note": f"{note}; trial {row['trial']}",
    }


def _plural(count: int, noun: str) -> str:
    return noun if count == 1 else noun + "s"
