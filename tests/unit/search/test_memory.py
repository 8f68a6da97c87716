"""What a search foresees: the stick compiler's figure tells what the coordinates don't."""

import math
from typing import Any

import numpy as np
import pytest

from raytune_edge.objective import Objective
from raytune_edge.search import memory as module
from raytune_edge.search.memory import Memory
from raytune_edge.search.screening import Foreseen

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


LATE = Foreseen(score=-0.5, feasible=False, reason="latency", violation=1.0)


def test_a_latency_that_was_known_before_helps_to_predict() -> None:
    """The store knows seven slow networks, which are passed over: an eighth is foreseen."""
    memory = Memory(BUDGET)
    for number in range(8):
        ms = 2.0 + 0.1 * number
        memory.learn_infeasible(number, (float(number),), {"latency_p50_ms": ms}, LATE)
    mean, _ = memory._regressions()[0]["latency_p50_ms"].predict(np.array([[3.5]]))
    assert np.exp(mean) == pytest.approx([2.35], rel=0.02)


def test_regressions_are_made_when_they_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = Memory(BUDGET)
    made = []
    monkeypatch.setattr(module, "regressions", lambda known, _: made.append(len(known)) or {})
    for number in range(20):
        memory.learn(number, str(number), (float(number),), report(0.5, 0.7))
    assert made == []
    for _ in range(3):
        memory.judge({}, (0.5,))
    assert made == [20, 20]  # without and with the compiler's figure


def test_a_floor_on_accuracy_is_none_for_a_network_that_was_not_retrained() -> None:
    memory = Memory(Objective(maximize="top1", latency_budget_ms=1.0, top1_floor=0.9))
    ended = {"stage": "infeasible", "epoch": 0, "top1": 0.1}
    memory.learn(0, "0", (0.0,), {**ended, "latency_p50_ms": 1.1})
    memory.learn(1, "1", (1.0,), {**ended, "latency_p50_ms": 1.5, "top1": 0.89})
    assert memory.best_first() == [0, 1]
    assert memory.evidence[0].violation == pytest.approx(0.1)


def test_an_infeasible_network_that_was_retrained_teaches_its_accuracy() -> None:
    memory = Memory(BUDGET)
    ended = {"stage": "infeasible", "epoch": 4, "latency_p50_ms": 1.1, "top1": 0.95}
    memory.learn(0, "0", (0.0,), ended)
    memory.learn(1, "1", (0.0,), {**ended, "test_top1": 0.94})
    assert math.isnan(memory.evidence[0].metrics["top1"])
    assert memory.evidence[1].metrics["top1"] == 0.95


def test_a_hint_helps_to_predict_and_is_not_ranked() -> None:
    memory = Memory(BUDGET)
    for number in range(8):
        memory.learn_shape((float(number),), {"latency_p50_ms": 0.5, "top1": 0.1})
    assert memory.best_first() == []
    assert set(memory._regressions()[0]) == {"latency_p50_ms"}
