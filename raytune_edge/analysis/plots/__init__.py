"""One function for each picture; each returns its ``Axes`` and takes one to draw into.

No function touches ``pyplot``, so they work in threads and without a display;
``ax.figure.savefig(path)`` writes the picture.
"""

from raytune_edge.analysis.plots.layers import (
    plot_filters_removed,
    plot_kept_channels,
    plot_layer_times,
)
from raytune_edge.analysis.plots.settings import (
    plot_accuracy_curves,
    plot_importance,
    plot_parallel_coordinates,
    plot_ratio_latency,
)
from raytune_edge.analysis.plots.timeline import plot_occupancy, plot_timeline
from raytune_edge.analysis.plots.trade import plot_front, plot_hypervolume, plot_retraining

__all__ = [
    "plot_accuracy_curves",
    "plot_filters_removed",
    "plot_front",
    "plot_hypervolume",
    "plot_importance",
    "plot_kept_channels",
    "plot_layer_times",
    "plot_occupancy",
    "plot_parallel_coordinates",
    "plot_ratio_latency",
    "plot_retraining",
    "plot_timeline",
]
