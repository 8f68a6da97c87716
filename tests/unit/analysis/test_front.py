"""Fronts, areas and ties against brute force."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest

from raytune_edge.analysis import (
    best_under,
    feasible,
    hypervolume,
    hypervolume_by,
    knee_point,
    pareto_front,
    to_frame,
)
from raytune_edge.analysis.front import tied
from raytune_edge.records import Measurement, within_noise


def random_frame(seed: int, count: int = 40) -> pd.DataFrame:
    """Trials on a coarse grid, so that equal points and equal figures occur."""
    rng = np.random.default_rng(seed)
    latency = rng.integers(1, 12, count) / 10
    half = rng.choice([0.0, 0.01, 0.1, np.nan], count)
    return pd.DataFrame(
        {
            "trial_id": [f"t{n}" for n in range(count)],
            "status": rng.choice(["done", "done", "failed"], count),
            "feasible": rng.random(count) < 0.8,
            "top1": np.where(rng.random(count) < 0.1, np.nan, rng.integers(50, 60, count) / 60),
            "latency_p50_ms": latency,
            "latency_p50_low_ms": latency - half,
            "latency_p50_high_ms": latency + half,
            "retrain_s": rng.random(count),
            "started_at": np.arange(count, dtype=float),
            "ended_at": rng.permutation(count) + 10.0,
        }
    )


def dominates(one: pd.Series, other: pd.Series) -> bool:
    no_worse = one["top1"] >= other["top1"] and one["latency_p50_ms"] <= other["latency_p50_ms"]
    better = one["top1"] > other["top1"] or one["latency_p50_ms"] < other["latency_p50_ms"]
    return no_worse and better


def usable(frame: pd.DataFrame) -> list[pd.Series]:
    return [row for _, row in feasible(frame).iterrows() if not math.isnan(row["top1"])]


@pytest.mark.parametrize("seed", range(20))
def test_the_front_is_what_nothing_dominates(seed: int) -> None:
    rows = usable(random_frame(seed))
    expected = {
        (row["top1"], row["latency_p50_ms"])
        for row in rows
        if not any(dominates(other, row) for other in rows)
    }
    front = pareto_front(random_frame(seed))
    points = list(zip(front["top1"], front["latency_p50_ms"], strict=True))
    assert set(points) == expected
    assert len(points) == len(expected)  # of equal points, one
    assert front["latency_p50_ms"].is_monotonic_increasing


@pytest.mark.parametrize("seed", range(10))
def test_hypervolume_is_the_area_counted_cell_by_cell(seed: int) -> None:
    frame = random_frame(seed)
    rows = usable(frame)
    cells = sum(
        any(row["top1"] * 60 > gain and row["latency_p50_ms"] * 10 < cost + 0.5 for row in rows)
        for gain in range(60)
        for cost in range(12)
    )
    assert hypervolume(frame, reference=(0.0, 1.2)) == pytest.approx(cells / 60 / 10)


@pytest.mark.parametrize("seed", range(5))
def test_hypervolume_grows_to_what_it_is_in_the_end(seed: int) -> None:
    frame = random_frame(seed)
    steps = hypervolume_by(frame)
    ended = frame.sort_values("ended_at")
    reference = (0.0, frame["latency_p50_ms"].max())
    expected = [hypervolume(ended.iloc[: n + 1], reference=reference) for n in range(len(ended))]
    assert steps["hypervolume"].tolist() == pytest.approx(expected)
    assert steps["retrain_s"].iloc[-1] == pytest.approx(frame["retrain_s"].sum())


@pytest.mark.parametrize("seed", range(10))
def test_ties_are_told_as_records_judge_noise(seed: int) -> None:
    frame = random_frame(seed)
    rows = {row["trial_id"]: row for row in usable(frame)}
    front = pareto_front(frame)
    for _, member in front.iterrows():
        expected = {
            other["trial_id"]
            for other in rows.values()
            if other["trial_id"] != member["trial_id"]
            and within_noise(measured(member), measured(other))
            and (other["trial_id"] in set(front["trial_id"]) or other["top1"] >= member["top1"])
        }
        assert set(member["tied_with"].split()) == expected


def measured(row: pd.Series) -> Any:
    """As much of a `Measurement` as `within_noise` looks at; an unknown interval has no width."""
    figures = {n: row[n] for n in row.index if n.startswith("latency")}
    if math.isnan(figures["latency_p50_low_ms"]):
        figures |= dict.fromkeys(("latency_p50_low_ms", "latency_p50_high_ms"), 0.0)
    blank = object.__new__(Measurement)
    blank.__dict__.update(figures)
    return blank


def test_what_is_counted_has_no_noise() -> None:
    frame = pd.DataFrame({"macs": [100.0, 101.0, 100.0], "latency_p90_ms": [1.0, 1.04, 1.2]})
    assert tied(frame, "macs").tolist() == [[1, 0, 1], [0, 1, 0], [1, 0, 1]]
    assert tied(frame, "latency_p90_ms").tolist() == [[1, 1, 0], [1, 1, 0], [0, 0, 1]]


@pytest.mark.parametrize("seed", range(10))
def test_best_under_is_the_most_accurate_within_the_limit(seed: int) -> None:
    frame = random_frame(seed)
    within = [row for row in usable(frame) if row["latency_p50_ms"] <= 0.5]
    best = best_under(frame, latency_ms=0.5)
    if not within:
        assert best is None
        return
    top1 = max(row["top1"] for row in within)
    fastest = min(row["latency_p50_ms"] for row in within if row["top1"] == top1)
    assert best is not None
    assert (best["top1"], best["latency_p50_ms"]) == (top1, fastest)


def test_the_knee_is_furthest_from_the_line_between_the_ends() -> None:
    frame = pd.DataFrame(
        {
            "trial_id": list("abcd"), "status": "done", "feasible": True,
            "latency_p50_ms": [1.0, 2.0, 3.0, 4.0], "top1": [0.5, 0.8, 0.85, 0.9],
        }
    )  # fmt: skip
    knee = knee_point(frame)
    assert knee is not None
    # Scaled: gains 0, .75, .875, 1; costs 0, 1/3, 2/3, 1: b is .417 above the line, c .208.
    assert knee["trial_id"] == "b"


def test_functions_take_every_kind_of_grid(any_grid: Any) -> None:
    frame = to_frame(any_grid)
    front = pareto_front(any_grid)
    found = feasible(frame)["top1"].notna().any()
    assert len(front) > 0 if found else front.empty
    assert (hypervolume(any_grid) > 0) == found
    assert (knee_point(any_grid) is not None) == found
    assert len(hypervolume_by(any_grid)) == len(frame)


def test_infeasible_trials_count_only_when_asked_for(trials: Any) -> None:
    grid = trials(25, kind="infeasible")
    for trial in grid.trials:
        trial.last_result["top1"] = 0.5
    assert pareto_front(grid).empty
    assert len(pareto_front(grid, infeasible=True)) == 1


def test_an_unknown_metric_is_refused_with_those_that_exist(trials: Any) -> None:
    with pytest.raises(ValueError, match=r"'speed'.*latency_p50_ms"):
        pareto_front(trials(3), minimize="speed")
