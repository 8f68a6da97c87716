"""How every picture looks: colours, figures without global state, axis labels with units."""

from __future__ import annotations

from pathlib import Path
from typing import IO

from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure

from raytune_edge.records import METRIC_UNITS

__all__ = ["BLACK", "BLUE", "COLOURS", "GREEN", "GREY", "ORANGE", "PURPLE", "RED", "SKY", "YELLOW"]
__all__ += ["axes_or_new", "colour_bar", "explain", "label", "save"]

BLACK, ORANGE, SKY, GREEN = "#000000", "#E69F00", "#56B4E9", "#009E73"
YELLOW, BLUE, RED, PURPLE = "#F0E442", "#0072B2", "#D55E00", "#CC79A7"
GREY = "#8A8A8A"
COLOURS = (BLUE, ORANGE, GREEN, PURPLE, SKY, RED, BLACK, YELLOW)
"""Told apart by colour-blind readers. Source: Okabe and Ito, "Color Universal Design", 2008."""

_NAMES = {
    "latency_p50_ms": "latency p50",
    "latency_p90_ms": "latency p90",
    "latency_p99_ms": "latency p99",
    "throughput_fps": "throughput",
    "top1": "top-1, validation",
    "top5": "top-5, validation",
    "top1_pruned": "top-1 before retraining, validation",
    "test_top1": "top-1, test",
    "macs": "MACs",
    "params": "parameters",
    "macs_ratio": "MACs kept",
    "params_ratio": "parameters kept",
    "size_bytes": "size",
}


def axes_or_new(ax: Axes | None, *, width: float = 7.2, height: float = 4.4) -> Axes:
    """``ax``, or the axes of a new figure of ``width`` × ``height`` inches that no GUI knows of."""
    if ax is None:
        ax = Figure(figsize=(width, height), layout="constrained").subplots()
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(color="#E5E5E5", linewidth=0.6)
    ax.set_axisbelow(True)
    return ax


def colour_bar(drawn: ScalarMappable, ax: Axes, text: str) -> None:
    """Explain by a bar beside ``ax`` what the colours of ``drawn`` mean."""
    figure = ax.get_figure(root=True)
    assert figure is not None
    figure.colorbar(drawn, ax=ax, label=text)


def label(metric: str) -> str:
    """An axis label: what the metric is, and its unit.

    >>> label("latency_p50_ms"), label("retrain_s")
    ('latency p50 (ms)', 'retrain (s)')
    """
    unit = METRIC_UNITS.get(metric, "")
    name = _NAMES.get(metric) or metric.removesuffix(f"_{unit}").replace("_", " ")
    return f"{name} ({unit})" if unit else name


def explain(ax: Axes, text: str) -> Axes:
    """Say in the middle of empty axes why they are empty."""
    ax.text(0.5, 0.5, text, transform=ax.transAxes, ha="center", va="center", color=GREY)
    return ax


def save(ax: Axes, target: Path | IO[bytes], *, dpi: int = 150) -> None:
    """Write the picture that ``ax`` belongs to, as PNG or as the suffix of a path says."""
    figure = ax.get_figure(root=True)
    assert figure is not None
    figure.savefig(target, dpi=dpi)
