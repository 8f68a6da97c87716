"""What a search foresees: the stick compiler's figure tells what the coordinates don't."""

import math
from typing import Any

import numpy as np
import pytest

from raytune_edge.objective import Objective
from raytune_edge.search.memory import Memory

BUDGET = Objective(maximize="top1", latency_budget_ms=1.0)


def report(predicted_ms: float, latency_p50_ms: float) -> dict[str, Any]:
    feasible = latency_p50_ms <= 1.0
    return {
        "predicted_hw_ms": predicted_ms,
        "latency_p50_ms": latency_p50_ms,
        "top1": 0.9,
        "epoch": 1,
        "stage": "done" if feasible else "infeasible",
    }


def tried(rng: np.random.Generator, networks: int, *, asked: bool) -> Memory:
    """Latency follows the compiler's figure, which the one coordinate says nothing of."""
    memory = Memory(BUDGET)
    for number in range(networks):
        predicted_ms = float(rng.uniform(0.2, 1.6))
        known, point = ({"predicted_hw_ms": predicted_ms} if asked else {}), (float(rng.random()),)
        memory.foresee(str(number), known, point)
        told = report(predicted_ms, 1.5 * predicted_ms * math.exp(0.01 * rng.standard_normal()))
        memory.learn(number, str(number), point, told)
    return memory


@pytest.mark.parametrize("asked", [False, True])
def test_the_compilers_figure_foresees_what_the_coordinates_cannot(asked: bool) -> None:
    memory = tried(np.random.default_rng(0), 30, asked=asked)
    slow = {"predicted_hw_ms": 1.0} if asked else {}
    assert memory.screening.record.on
    assert (memory.screening.record.relative_error < 0.05) is asked
    assert memory.judge(slow, (0.5,)).feasible is not asked
    assert memory.judge({"predicted_hw_ms": 0.4}, (0.5,)).feasible


def test_a_network_that_was_not_compiled_is_predicted_as_before() -> None:
    memory = tried(np.random.default_rng(0), 30, asked=True)
    assert memory.judge({}, (0.5,)).feasible
