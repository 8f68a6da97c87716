"""One function for each picture; each returns its ``Axes`` and takes one to draw into.

No function touches ``pyplot``, so they work in threads and without a display;
``ax.figure.savefig(path)`` writes the picture.
"""

from raytune_edge.analysis.plots.trade import plot_front, plot_hypervolume, plot_retraining

__all__ = ["plot_front", "plot_hypervolume", "plot_retraining"]
