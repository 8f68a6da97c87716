"""What was traded for what: accuracy, latency and the area that the search gained."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from raytune_edge.analysis.experiment import Results
from raytune_edge.analysis.frame import baseline, to_frame
from raytune_edge.analysis.front import hypervolume_by, pareto_front
from raytune_edge.analysis.plots import style

__all__ = ["plot_front", "plot_hypervolume", "plot_retraining"]


def plot_front(
    results: Results,
    *,
    maximize: str = "top1",
    minimize: str = "latency_p50_ms",
    budget_ms: float | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Every trial, the front with its measurement intervals, the unpruned network, the budget.

    A trial that ended before it was retrained has a latency but no accuracy worth the name: it
    stands as a tick on the axis below.
    """
    ax = style.axes_or_new(ax)
    frame = to_frame(results)
    front = pareto_front(frame, maximize=maximize, minimize=minimize)
    feasible = (frame["status"] == "done") & frame["feasible"]
    rest = frame[feasible & ~frame["trial_id"].isin(front["trial_id"])]
    retrained = frame["test_top1"].notna() & frame[maximize].notna()
    over = frame[~feasible & retrained]
    early = frame.loc[~feasible & ~retrained, minimize].dropna()
    if len(over):
        ax.scatter(over[minimize], over[maximize], marker="x", c=style.GREY, label="not feasible")
    if len(early):
        ax.plot(
            early, [0.012] * len(early), "|", color=style.GREY, markersize=9, clip_on=False,
            transform=ax.get_xaxis_transform(), label="ended before it was retrained",
        )  # fmt: skip
    ax.scatter(rest[minimize], rest[maximize], s=28, c=style.SKY, label="feasible")
    _draw_front(ax, front, maximize, minimize)
    unpruned = baseline(frame)
    if unpruned is not None:
        ax.scatter(
            unpruned[minimize], unpruned[maximize], marker="*", s=190, c=style.ORANGE,
            edgecolors=style.BLACK, linewidths=0.6, zorder=4, label="unpruned",
        )  # fmt: skip
    if budget_ms is not None:
        ax.axvline(budget_ms, color=style.RED, linestyle="--", label=f"budget {budget_ms:.3g} ms")
    ax.set_xlim(left=0)
    ax.set(xlabel=style.label(minimize), ylabel=style.label(maximize))
    ax.legend(frameon=False, loc="best", fontsize="small")
    return ax


def plot_hypervolume(
    results: Results,
    *,
    over: Literal["trials", "retrain_s", "elapsed_s"] = "trials",
    maximize: str = "top1",
    minimize: str = "latency_p50_ms",
    ax: Axes | None = None,
) -> Axes:
    """How much the front dominated after so many trials or seconds."""
    ax = style.axes_or_new(ax)
    steps = hypervolume_by(results, maximize=maximize, minimize=minimize)
    ax.step(steps[over], steps["hypervolume"], where="post", color=style.BLUE)
    xlabel = {
        "trials": "trials ended (count)",
        "retrain_s": "time spent retraining (s, on GPU where there is one)",
        "elapsed_s": "time since the first trial began (s)",
    }[over]
    ax.set(xlabel=xlabel, ylabel="hypervolume (top-1 fraction × ms)")
    ax.set_ylim(0, 1.05 * steps["hypervolume"].max() or 1)
    return ax


def plot_retraining(results: Results, *, ax: Axes | None = None) -> Axes:
    """Top-1 after retraining over top-1 before it; above the line, retraining helped."""
    ax = style.axes_or_new(ax)
    frame = to_frame(results)
    rows = frame[frame["top1"].notna() & frame["top1_pruned"].notna()]
    points = ax.scatter(
        rows["top1_pruned"], rows["top1"], c=rows["macs_ratio"], cmap="cividis", vmin=0, vmax=1
    )
    style.colour_bar(points, ax, style.label("macs_ratio"))
    ax.axline((0, 0), slope=1, color=style.GREY, linewidth=0.8, linestyle=":")
    ax.set(xlim=(0, 1.02), ylim=(0, 1.02))
    ax.set(
        xlabel=style.label("top1_pruned"), ylabel="top-1 after retraining, validation (fraction)"
    )
    return ax


def _draw_front(ax: Axes, front: pd.DataFrame, maximize: str, minimize: str) -> None:
    if front.empty:
        return
    ax.step(front[minimize], front[maximize], where="post", color=style.BLUE, linewidth=1.2)
    intervals = None
    if minimize == "latency_p50_ms":
        centre = front[minimize]
        sides = [centre - front["latency_p50_low_ms"], front["latency_p50_high_ms"] - centre]
        intervals = np.clip(np.nan_to_num(np.array(sides, dtype=float)), 0, None)
    ax.errorbar(
        front[minimize], front[maximize], xerr=intervals, fmt="o", color=style.BLUE, capsize=3,
        label="front", zorder=3,
    )  # fmt: skip
