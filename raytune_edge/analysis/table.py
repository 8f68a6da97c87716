"""Results as plain text for a terminal."""

from __future__ import annotations

import pandas as pd

from raytune_edge.analysis.experiment import Results
from raytune_edge.analysis.frame import baseline
from raytune_edge.analysis.front import pareto_front

__all__ = ["front_table"]


def front_table(results: Results, *, maximize: str = "top1") -> str:
    """The front, most latency first, below the unpruned network: a table of fixed-width text.

    ``top-1`` is on validation data, ``test`` on data that never chose; ``tied with`` names the
    trials of the front whose latency noise does not let one tell from this one's.
    """
    front = pareto_front(results, maximize=maximize).iloc[::-1]
    if front.empty:
        return "No feasible network was found: there is no front."
    unpruned = baseline(results)
    number_of = {row["trial_id"]: str(row["trial"]) for _, row in front.iterrows()}
    lines = []
    for _, row in front.iterrows():
        ties = [number_of[other] for other in row["tied_with"].split() if other in number_of]
        lines.append(_line(row, f"trial {row['trial']}", unpruned) | {"tied with": ", ".join(ties)})
    if unpruned is not None:
        lines.insert(0, _line(unpruned, "unpruned", unpruned) | {"tied with": ""})
    return pd.DataFrame(lines).to_string(index=False)


def _line(row: pd.Series, name: str, unpruned: pd.Series | None) -> dict[str, str]:
    half = (row["latency_p50_high_ms"] - row["latency_p50_low_ms"]) / 2
    line = {
        "network": name,
        "p50 ms": f"{row['latency_p50_ms']:.3f}" + (f" ±{half:.3f}" if half == half else ""),
        "top-1": _fraction(row["top1"]),
        "test": _fraction(row["test_top1"]),
        "MACs": f"{row['macs_ratio']:.0%}",
        "parameters": f"{row['params_ratio']:.0%}",
    }
    if unpruned is not None:
        line["speed"] = f"{unpruned['latency_p50_ms'] / row['latency_p50_ms']:.2f}x"
    return line


def _fraction(value: float) -> str:
    return f"{value:.4f}" if value == value else "-"
