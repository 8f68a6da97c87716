"""What the search tried, and what came of it."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.ticker import MaxNLocator

from raytune_edge.analysis.experiment import Results
from raytune_edge.analysis.frame import to_frame, to_history
from raytune_edge.analysis.plots import style
from raytune_edge.analysis.relations import importance, ratio_columns

__all__ = [
    "plot_accuracy_curves",
    "plot_importance",
    "plot_parallel_coordinates",
    "plot_ratio_latency",
]


def plot_parallel_coordinates(
    results: Results,
    *,
    metrics: tuple[str, ...] = ("latency_p50_ms", "top1"),
    ax: Axes | None = None,
) -> Axes:
    """One line a trial through each group's pruning ratio and each metric.

    Each axis runs from its smallest to its largest value, which are written at its ends. Darker
    lines are slower networks; trials that do not know all metrics are grey.
    """
    ax = style.axes_or_new(ax, width=9.0)
    frame = to_frame(results)
    columns = {**ratio_columns(frame), **{name: name for name in metrics}}
    values = frame[list(columns.values())].apply(pd.to_numeric, errors="coerce")
    low, high = values.min(), values.max()
    extent = (high - low).where(high > low, 1.0)
    scaled = ((values - low) / extent).to_numpy(dtype="float64")
    whole = ~np.isnan(scaled).any(axis=1)
    xs = np.arange(len(columns))
    for rows, colour, order in ((~whole, style.GREY, 1), (whole, None, 2)):
        lines = [np.column_stack([xs, row])[~np.isnan(row)] for row in scaled[rows]]
        collection = LineCollection(lines, linewidths=0.8, alpha=0.6, zorder=order)
        if colour:
            collection.set_color(colour)
        else:
            collection.set(cmap="cividis_r", array=values.loc[rows, metrics[0]])
            style.colour_bar(collection, ax, style.label(metrics[0]))
        ax.add_collection(collection)
    for x, name in enumerate(columns.values()):
        if low[name] == low[name]:
            for y, value, side in ((-0.03, low[name], "top"), (1.03, high[name], "bottom")):
                text = ax.text(x, y, f"{value:.3g}", ha="center", va=side)
                text.set(fontsize="x-small", color=style.GREY)
    ax.set_xticks(xs, [_wrapped(name) for name in columns], rotation=90, fontsize="x-small")
    ax.tick_params(axis="x", pad=12)
    ax.set(xlim=(-0.5, len(columns) - 0.5), ylim=(0, 1), yticks=[])
    ax.set_ylabel("from smallest to largest (ratio: fraction)")
    return ax


def plot_ratio_latency(
    results: Results, *, metric: str = "latency_p50_ms", ax: Axes | None = None
) -> Axes:
    """Latency over pruning ratio by group: one row a group, one point a trial, coloured by latency.

    A row that goes from dark (slow) to bright (fast) is a group whose channels cost time.
    """
    frame = to_frame(results)
    groups = ratio_columns(frame)
    ax = style.axes_or_new(ax, height=1.6 + 0.35 * len(groups))
    if not groups:
        style.explain(ax, "the search varied no pruning ratio")
    known = frame[frame[metric].notna()]
    # Points of one row are spread over it, so that equal ratios do not hide each other.
    spread = np.random.default_rng(0).uniform(-0.32, 0.32, (len(groups), len(known)))
    for row, column in enumerate(groups.values()):
        points = ax.scatter(
            known[column].astype("float64"), row + spread[row], c=known[metric], s=14,
            cmap="cividis_r", vmin=known[metric].min(), vmax=known[metric].max(),
        )  # fmt: skip
        if row == 0 and len(known):
            style.colour_bar(points, ax, style.label(metric))
    ax.set_yticks(np.arange(len(groups)), list(groups), fontsize="small")
    ax.set(xlabel="pruning ratio asked for (fraction of channels)", ylabel="group of layers")
    ax.invert_yaxis()
    return ax


def plot_importance(
    results: Results,
    *,
    targets: tuple[str, ...] = ("latency_p50_ms", "top1"),
    most: int = 20,
    ax: Axes | None = None,
) -> Axes:
    """How much of each target each setting explains: see `raytune_edge.analysis.importance`."""
    table = importance(results, targets=targets).head(most).iloc[::-1]
    ax = style.axes_or_new(ax, height=1.6 + 0.28 * len(table))
    if table.empty or table.isna().to_numpy().all():
        style.explain(ax, "too few trials to tell")
    height = 0.8 / len(targets)
    for number, target in enumerate(targets):
        ys = np.arange(len(table)) - 0.4 + height * (number + 0.5)
        ax.barh(ys, table[target], height, color=style.COLOURS[number], label=style.label(target))
    ax.set_yticks(np.arange(len(table)), table.index, fontsize="small")
    ax.set_xlabel("share explained by a random forest (fraction)")
    ax.legend(frameon=False, fontsize="small", loc="lower right")
    return ax


def plot_accuracy_curves(results: Results, *, ax: Axes | None = None) -> Axes:
    """Validation top-1 after each epoch of each trial, from before retraining on."""
    ax = style.axes_or_new(ax)
    history = to_history(results).dropna(subset=["epoch"])
    if history.empty:
        style.explain(ax, "the reports of each epoch are not at hand")
    # The last report of an epoch counts; before the first epoch, only top1_pruned is known.
    points = history.assign(top1=history["top1"].fillna(history["top1_pruned"]))
    points = points.dropna(subset=["top1"]).drop_duplicates(["trial_id", "epoch"], keep="last")
    curves = [
        curve[["epoch", "top1"]].to_numpy(dtype="float64")
        for _, curve in points.sort_values("epoch").groupby("trial_id", sort=False)
    ]
    thick = 1.0 if len(curves) < 100 else 0.4
    ax.add_collection(LineCollection(curves, linewidths=thick, colors=style.BLUE, alpha=0.5))
    ends = np.array([curve[-1] for curve in curves]).reshape(-1, 2)
    ax.plot(ends[:, 0], ends[:, 1], ".", color=style.ORANGE, label="end of a trial")
    ax.set(xlabel="epochs of retraining (count)", ylabel=style.label("top1"))
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    if len(curves):
        ax.legend(frameon=False, fontsize="small", loc="lower right")
    return ax


def _wrapped(name: str) -> str:
    return name if len(name) <= 24 else name[:11] + "…" + name[-12:]
