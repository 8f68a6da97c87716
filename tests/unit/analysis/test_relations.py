"""Correlations and importance."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from raytune_edge.analysis import correlations, importance, to_frame


def test_correlations_are_pandas_own(trials: Any) -> None:
    frame = to_frame(trials(40))
    for method in ("pearson", "spearman"):
        table = correlations(frame, method=method)
        for name in table.index:
            for target in ("latency_p50_ms", "top1"):
                pair = frame[[f"config/{name}", target]]
                expected = pair.rank() if method == "spearman" else pair
                # Ranks must be taken over the trials that know both.
                expected = pair.dropna().rank() if method == "spearman" else expected
                assert table.loc[name, target] == pytest.approx(expected.corr().iloc[0, 1])
        assert (table["n"] == frame["latency_p50_ms"].notna().sum()).all()


def test_importance_finds_the_setting_that_decides() -> None:
    rng = np.random.default_rng(0)
    ratio = rng.random((80, 2))
    kind = rng.choice(["filters", "channels"], 80)
    frame = pd.DataFrame(
        {
            "config/pruning_ratio:big": ratio[:, 0],
            "config/pruning_ratio:small": ratio[:, 1],
            "config/kind": kind,
            "config/constant": 1.0,
            "latency_p50_ms": 1 - 0.8 * ratio[:, 0] + 0.02 * ratio[:, 1],
            "top1": np.where(kind == "filters", 0.9, 0.5),
        }
    )
    shares = importance(frame)
    assert shares.sum().tolist() == pytest.approx([1.0, 1.0])
    assert shares["latency_p50_ms"].idxmax() == "pruning_ratio:big"
    assert shares["top1"].idxmax() == "kind"
    assert shares.loc["kind", "top1"] > 0.9
    assert "constant" not in shares.index


def test_both_take_every_kind_of_grid(any_grid: Any) -> None:
    frame = to_frame(any_grid)
    assert len(correlations(frame)) == 3
    shares = importance(frame)
    assert shares.empty if len(frame) == 1 else len(shares) == 3
