"""Who did what when, and who waited for whom."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection

from raytune_edge.analysis.experiment import Results
from raytune_edge.analysis.frame import to_spans
from raytune_edge.analysis.plots import style

__all__ = ["plot_occupancy", "plot_timeline"]

_MOST_ROWS = 60
_COLOUR_OF = {
    "prune": style.PURPLE,
    "retrain": style.BLUE,
    "evaluate": style.SKY,
    "queue": style.ORANGE,
    "measure": style.GREEN,
}


def plot_timeline(results: Results, *, ax: Axes | None = None) -> Axes:
    """One row a trial: what it did when; orange is waiting for a device.

    Waiting and measuring are drawn in the lower half of a row, because retraining goes on
    meanwhile. Of more than 60 trials, those that follow each other share a row.
    """
    spans = to_spans(results)
    rows = _rows(spans)
    count = len(set(rows.values()))
    ax = style.axes_or_new(ax, width=9.0, height=min(8.0, 2.0 + 0.16 * count))
    if spans.empty:
        return _without_spans(ax)
    spans = _from_zero(spans)
    for what in _known_first(spans["what"]):
        these = spans[spans["what"] == what]
        on_device = what in ("queue", "measure")
        bottom = these["trial"].map(rows) + (0.05 if on_device else -0.4)
        _draw_boxes(ax, these, bottom, 0.35 if on_device else 0.4, what)
    if count == len(rows):
        shown = list(rows)[:: max(1, count // 20)]
        ax.set_yticks([rows[trial] for trial in shown], [str(trial) for trial in shown])
        ax.set_ylabel("trial (number)")
    else:
        ax.set(ylabel="trials under way (row)", yticks=[])
    ax.set(xlim=(0, spans["end"].max()), ylim=(count - 0.5, -0.5))
    ax.set_xlabel("time since the first trial began (s)")
    ax.legend(frameon=False, fontsize="small", ncols=6, loc="lower right", bbox_to_anchor=(1, 1))
    return ax


def plot_occupancy(results: Results, *, ax: Axes | None = None) -> Axes:
    """One row a device: when it measured; and below, how many requests waited for one.

    The share of time in which a device measured, from the first trial's begin to the last one's
    end, is written beside its name.
    """
    spans = to_spans(results)
    measured = spans[spans["what"] == "measure"]
    devices = sorted(measured["where"].unique())
    ax = style.axes_or_new(ax, width=9.0, height=2.6 + 0.4 * len(devices))
    if measured.empty:
        return _without_spans(ax)
    spans = _from_zero(spans)
    end = spans["end"].max()
    names = []
    for row, device in enumerate(devices):
        these = spans[(spans["what"] == "measure") & (spans["where"] == device)]
        _draw_boxes(ax, these, pd.Series(row - 0.35, index=these.index), 0.7, "measure")
        names.append(f"{device}\n{_busy_s(these) / end:.0%} busy")
    waiting = spans[spans["what"] == "queue"]
    times, counts = _concurrent(waiting)
    most = max(counts.max(initial=0), 1)
    floor = len(devices) + 0.5
    ax.fill_between(
        times, floor, floor - 0.8 * counts / most, step="post", color=_COLOUR_OF["queue"],
        linewidth=0,
    )  # fmt: skip
    ax.set_yticks([*range(len(devices)), floor - 0.4], [*names, f"waiting\n(0 to {most} requests)"])
    ax.set(xlim=(0, end), ylim=(floor, -0.5))
    ax.set(xlabel="time since the first trial began (s)", ylabel="device")
    return ax


def _rows(spans: pd.DataFrame) -> dict[int, int]:
    """The row of each trial: its own, or of many trials the first one that is free again."""
    whole = spans.groupby("trial").agg({"start": "min", "end": "max"})
    if len(whole) <= _MOST_ROWS:
        return {trial: row for row, trial in enumerate(whole.index)}
    free_from: list[float] = []
    rows = {}
    for trial, start, end in whole.sort_values("start").itertuples():
        free = [row for row, time in enumerate(free_from) if time <= start]
        row = free[0] if free else len(free_from)
        free_from[row : row + 1] = [end]
        rows[trial] = row
    return rows


def _draw_boxes(ax: Axes, spans: pd.DataFrame, bottom: pd.Series, height: float, what: str) -> None:
    left, right = spans["start"].to_numpy(), spans["end"].to_numpy()
    low = bottom.to_numpy(dtype="float64")
    high = low + height
    corners = np.stack([left, low, right, low, right, high, left, high], axis=1).reshape(-1, 4, 2)
    colour = _COLOUR_OF.get(what, style.GREY)
    ax.add_collection(PolyCollection(list(corners), facecolors=colour, label=what))


def _known_first(whats: pd.Series) -> list[str]:
    told = list(dict.fromkeys(whats))
    return [w for w in _COLOUR_OF if w in told] + [w for w in told if w not in _COLOUR_OF]


def _from_zero(spans: pd.DataFrame) -> pd.DataFrame:
    first = spans["start"].min()
    return spans.assign(start=spans["start"] - first, end=spans["end"] - first)


def _busy_s(spans: pd.DataFrame) -> float:
    return float((spans["end"] - spans["start"]).sum())


def _concurrent(spans: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Times at which the number of spans that are under way changes, and the number from then."""
    changes = pd.concat([pd.Series(1, spans["start"]), pd.Series(-1, spans["end"])]).sort_index()
    counts = changes.groupby(level=0).sum().cumsum()
    return counts.index.to_numpy(dtype="float64"), counts.to_numpy(dtype="int64")


def _without_spans(ax: Axes) -> Axes:
    ax.set(xlabel="time since the first trial began (s)", ylabel="trial (number)")
    return style.explain(ax, "no trial told what it did when")
