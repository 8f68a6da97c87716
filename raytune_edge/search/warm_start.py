"""What was known before the search: the results of an earlier one."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from raytune_edge.analysis.frame import CONFIG, to_frame
from raytune_edge.records import METRIC_UNITS
from raytune_edge.search.shapes import Shapes

if TYPE_CHECKING:
    from raytune_edge.analysis.experiment import Results

__all__ = ["Earlier", "earlier_networks"]

logger = logging.getLogger(__name__)

_SHAPE_IS_SIZE = 1e-6


@dataclass(frozen=True, kw_only=True)
class Earlier:
    """A network of an earlier experiment: its config, and its last report."""

    config: dict[str, Any]
    result: dict[str, Any]


def earlier_networks(results: Results, shapes: Shapes | None) -> list[Earlier]:
    """The networks that an earlier experiment brought to an end, of whatever kind.

    Failed, stopped and unfinished trials are left out: they don't say what the network is worth.

    Raises:
        ValueError: If the experiment pruned another network than ``shapes`` describes.
    """
    frame = to_frame(results)
    ended = frame[frame["finished"] & (frame["status"] != "stopped")]
    if shapes is not None:
        for metric, size in shapes.unpruned.items():
            unpruned = (ended[metric] / ended[f"{metric}_ratio"]).dropna()
            other = unpruned[(unpruned / size - 1).abs() > _SHAPE_IS_SIZE]
            if len(other):
                raise ValueError(
                    f"warm_start: expected results of this recipe's task, whose unpruned network "
                    f"has {size:.0f} {METRIC_UNITS[metric]}; the results are of one with "
                    f"{other.iloc[0]:.0f}. Leave warm_start out, or give the task's own results."
                )
    names = [name for name in frame.columns if name.startswith(CONFIG)]
    return [
        Earlier(
            config={name.removeprefix(CONFIG): row[name] for name in names if pd.notna(row[name])},
            result={
                "stage": row["status"],
                **{metric: float(row[metric]) for metric in METRIC_UNITS if metric in frame},
            },
        )
        for row in ended.to_dict("records")
    ]
