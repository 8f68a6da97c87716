"""Each picture on each kind of search: drawn, labelled with units, and true to the figures."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes

from raytune_edge.analysis import hypervolume_by, pareto_front, plots, to_frame
from raytune_edge.analysis.plots import style
from raytune_edge.records import LayerTime, Measurement

OF_RESULTS = {
    plots.plot_accuracy_curves: ("epochs of retraining (count)", "top-1, validation (fraction)"),
    plots.plot_front: ("latency p50 (ms)", "top-1, validation (fraction)"),
    plots.plot_hypervolume: ("trials ended (count)", "hypervolume (top-1 fraction × ms)"),
    plots.plot_importance: ("share explained by a random forest (fraction)", ""),
    plots.plot_occupancy: ("time since the first trial began (s)", "device"),
    plots.plot_parallel_coordinates: ("", "from smallest to largest (ratio: fraction)"),
    plots.plot_ratio_latency: ("pruning ratio asked for (fraction of channels)", "group of layers"),
    plots.plot_retraining: (
        "top-1 before retraining, validation (fraction)",
        "top-1 after retraining, validation (fraction)",
    ),
    plots.plot_timeline: ("time since the first trial began (s)", "trial (number)"),
}
PLAN = {"channels": {"a": 16, "b": 8}, "kept": {"a": 8}, "removed": {"a": list(range(8))}}


def drawn(ax: Axes) -> bytes:
    file = io.BytesIO()
    style.save(ax, file, dpi=40)
    return file.getvalue()


@pytest.mark.parametrize("plot", OF_RESULTS, ids=lambda plot: plot.__name__)
def test_each_picture_takes_every_kind_of_grid(plot: Callable[..., Axes], any_grid: Any) -> None:
    ax = plot(any_grid)
    assert drawn(ax)[:4] == b"\x89PNG"
    assert (ax.get_xlabel(), ax.get_ylabel()) == OF_RESULTS[plot]


@pytest.mark.parametrize("plot", OF_RESULTS, ids=lambda plot: plot.__name__)
def test_each_picture_draws_into_the_axes_that_it_is_given(
    plot: Callable[..., Axes], trials: Any
) -> None:
    ax = plots.plot_kept_channels(PLAN)
    assert plot(trials(12), ax=ax) is ax


def test_every_picture_is_tested() -> None:
    of_networks = {plots.plot_kept_channels, plots.plot_filters_removed, plots.plot_layer_times}
    assert {getattr(plots, name) for name in plots.__all__} == set(OF_RESULTS) | of_networks


def test_the_front_is_drawn_at_its_figures_with_its_intervals(trials: Any) -> None:
    grid = trials(30)
    front = pareto_front(grid)
    ax = plots.plot_front(grid, budget_ms=0.8)
    (line, _, (bars,)) = next(c for c in ax.containers if c.get_label() == "front")
    assert line.get_xdata().tolist() == front["latency_p50_ms"].tolist()
    assert line.get_ydata().tolist() == front["top1"].tolist()
    ends = np.array([segment[:, 0] for segment in bars.get_segments()])
    assert ends[:, 0] == pytest.approx(front["latency_p50_low_ms"])
    assert ends[:, 1] == pytest.approx(front["latency_p50_high_ms"])
    labels = {text.get_text() for text in ax.get_legend().get_texts()}
    ended = "ended before it was retrained"
    assert labels == {"front", "feasible", ended, "unpruned", "budget 0.8 ms"}
    (ticks,) = [line for line in ax.lines if line.get_label() == ended]
    frame = to_frame(grid)
    assert sorted(ticks.get_xdata()) == sorted(
        frame.loc[frame["status"] == "infeasible", "latency_p50_ms"]
    )


def test_hypervolume_is_drawn_over_what_was_asked_for(trials: Any) -> None:
    steps = hypervolume_by(trials(30))
    for over in ("trials", "retrain_s", "elapsed_s"):
        (line,) = plots.plot_hypervolume(trials(30), over=over).lines
        assert line.get_xdata().tolist() == pytest.approx(steps[over].tolist(), nan_ok=True)


def test_kept_channels_and_removed_filters_show_the_plan() -> None:
    ax = plots.plot_kept_channels(PLAN)
    heights = [bar.get_height() for bar in ax.patches]
    assert heights == [16, 8, 8, 8]  # before: a, b; kept: a, and all of b
    picture = plots.plot_filters_removed(PLAN).images[0].get_array()
    assert picture.filled(np.nan).tolist() == pytest.approx(
        np.array([[0.0] * 8 + [1.0] * 8, [1.0] * 8 + [np.nan] * 8]), nan_ok=True
    )


def measured(**ms: float) -> Measurement:
    record = object.__new__(Measurement)
    layers = tuple(LayerTime(name=name, kind="Convolution", ms=time) for name, time in ms.items())
    record.__dict__["layers"] = layers
    return record


def test_layer_times_are_paired_by_name_and_the_rest_is_summed() -> None:
    before, after = measured(a=4.0, b=3.0, c=2.0, d=1.0), measured(a=1.0, b=2.5, d=0.5)
    ax = plots.plot_layer_times(before, after, most=2)
    assert [text.get_text() for text in ax.get_yticklabels()] == ["a", "b", "2 more"]
    assert [bar.get_width() for bar in ax.patches] == [4.0, 3.0, 3.0, 1.0, 2.5, 0.5]
    assert drawn(plots.plot_layer_times(measured(), measured()))


def test_of_many_trials_those_that_follow_each_other_share_a_row(trials: Any) -> None:
    ax = plots.plot_timeline(trials(100))  # each lasts 9 s, one begins each 6 s
    assert ax.get_ylabel() == "trials under way (row)"
    assert ax.get_ylim() == (1.5, -0.5)


def test_occupancy_tells_the_share_of_time_and_the_queue() -> None:
    spans = [
        '[{"what": "queue", "start": 0, "end": 4, "where": "d"},'
        ' {"what": "measure", "start": 4, "end": 6, "where": "d"}]',
        '[{"what": "queue", "start": 2, "end": 6, "where": "d"},'
        ' {"what": "measure", "start": 6, "end": 10, "where": "d"}]',
    ]
    frame = to_frame_with(spans)
    labels = [text.get_text() for text in plots.plot_occupancy(frame).get_yticklabels()]
    assert labels == ["d\n60% busy", "waiting\n(0 to 2 requests)"]


def to_frame_with(spans: list[str]) -> Any:
    import pandas as pd

    return pd.DataFrame({"trial": [1, 2], "trial_id": ["a", "b"], "spans": spans})


def test_pictures_are_drawn_in_threads_without_pyplot(trials: Any) -> None:
    import sys

    grid = trials(12)
    made: list[bytes] = []
    threads = [
        threading.Thread(target=lambda: made.append(drawn(plots.plot_front(grid))))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 3
    assert (
        "matplotlib.pyplot" not in sys.modules or not sys.modules["matplotlib.pyplot"].get_fignums()
    )
