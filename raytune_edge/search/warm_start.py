"""What was known before the search: the results of an earlier one."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from raytune_edge.analysis.frame import CONFIG, to_frame
from raytune_edge.objective import Objective, trained
from raytune_edge.records import METRIC_UNITS
from raytune_edge.search.candidates import Networks
from raytune_edge.search.ledger import Ledger
from raytune_edge.search.memory import Memory
from raytune_edge.search.shapes import Shapes

if TYPE_CHECKING:
    from raytune_edge.analysis.experiment import Results

__all__ = ["Earlier", "earlier_networks", "learn"]

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


def learn(
    earlier: Iterable[Earlier],
    objective: Objective,
    *,
    networks: Networks,
    ledger: Ledger,
    memory: Memory,
) -> None:
    """Tell a search what is known, judged by its own objective.

    Of a network that was ended before it was retrained, for limits that are wider now, only what
    its shape decides is told: it helps to predict others, and is still worth a trial.

    Raises:
        ValueError: If the networks are of another space. Single values that this one doesn't have
            leave a network out, with a warning.
    """
    left_out = 0
    for each in earlier:
        values = networks.values(each.config)
        if values is None:
            raise ValueError(
                f"warm_start: expected results in this space, {networks.names}; got a network of "
                f"{sorted(each.config)}. Leave warm_start out, or search the same space."
            )
        if ledger.off_grid(values):
            left_out += 1
            continue
        candidate = networks.candidate(values)
        untrained = each.result["stage"] == "infeasible" and not trained(each.result)
        if untrained and objective.judge(each.result).feasible:
            memory.learn_shape(candidate.point, each.result)
        else:
            memory.learn(ledger.known_before(candidate), "", candidate.point, each.result)
    if left_out:
        logger.warning("warm_start: %d networks lie outside this space: left out", left_out)
