"""The front as text."""

from __future__ import annotations

from typing import Any

import pandas as pd

from raytune_edge.analysis import front_table, pareto_front


def test_the_table_has_the_front_below_the_unpruned_network(trials: Any) -> None:
    grid = trials(30)
    lines = front_table(grid).splitlines()
    front = pareto_front(grid).iloc[::-1]
    assert [line.split()[0] for line in lines[1:2]] == ["unpruned"]
    assert len(lines) == 2 + len(front)
    for line, (_, row) in zip(lines[2:], front.iterrows(), strict=True):
        words = line.split()
        assert words[:2] == ["trial", str(row["trial"])]
        assert float(words[2]) == round(row["latency_p50_ms"], 3)
        assert f"{row['top1']:.4f}" in words


def test_ties_are_named_by_number() -> None:
    frame = pd.DataFrame(
        {
            "trial": [1, 2, 3], "trial_id": ["a", "b", "c"], "status": "done", "feasible": True,
            "top1": [0.9, 0.91, 0.99], "test_top1": 0.9, "latency_p50_ms": [1.0, 1.01, 2.0],
            "latency_p50_low_ms": [1.0, 1.01, 2.0], "latency_p50_high_ms": [1.0, 1.01, 2.0],
            "macs_ratio": 0.5, "params_ratio": 0.5, "top1_pruned": 0.5, "top5": 1.0,
            "top5_pruned": 0.5,
        }
    )  # fmt: skip
    lines = front_table(frame).splitlines()
    assert [line.split()[-1] for line in lines[2:]] == ["1", "2"]
    assert lines[1].split()[-1] == "50%"  # trial 3 is tied with none


def test_without_a_front_it_says_so(trials: Any) -> None:
    for kind in ("infeasible", "failed"):
        assert front_table(trials(5, kind=kind)).startswith("No feasible network")
