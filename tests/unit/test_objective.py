"""Scores: any feasible network before any infeasible one, and always finite."""

import itertools
import math

import pytest

from raytune_edge.objective import WORST_SCORE, Objective

BUDGET = 0.8


@pytest.fixture
def objective() -> Objective:
    return Objective(maximize="top1", latency_budget_ms=BUDGET)


def score(objective: Objective, top1: float, latency: float) -> float:
    return objective.verdict({"top1": top1, "latency_p50_ms": latency}).score


def test_any_feasible_network_beats_any_infeasible_one(objective: Objective) -> None:
    accuracies = [0.0, 1e-9, 0.1, 0.5, 1.0]
    feasible = [0.1, BUDGET]
    infeasible = [math.nextafter(BUDGET, 1), BUDGET * 1.001, 2 * BUDGET, 1e9, math.inf]
    for good, bad in itertools.product(accuracies, repeat=2):
        for fast, slow in itertools.product(feasible, infeasible):
            assert score(objective, good, fast) > score(objective, bad, slow)


def test_feasible_networks_rank_by_accuracy_alone(objective: Objective) -> None:
    assert score(objective, 0.91, 0.79) > score(objective, 0.90, 0.1)


def test_infeasible_networks_rank_by_how_far_they_miss(objective: Objective) -> None:
    assert score(objective, 0.1, 0.9) > score(objective, 0.99, 1.0)


@pytest.mark.parametrize("top1", [0.0, 1.0, math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("latency", [0.0, 1e300, math.nan, math.inf])
def test_the_score_is_always_finite(objective: Objective, top1: float, latency: float) -> None:
    value = score(objective, top1, latency)
    assert math.isfinite(value)
    assert value >= WORST_SCORE


def test_what_is_not_known_yet_misses_nothing(objective: Objective) -> None:
    assert objective.verdict({"top1": 0.5, "latency_p50_ms": math.nan}).feasible
    assert objective.verdict({}).feasible


def test_the_reason_names_each_limit_that_is_missed() -> None:
    objective = Objective(
        minimize="latency_p50_ms", top1_floor=0.9, at_most={"params": 100}, at_least={"top5": 0.5}
    )
    verdict = objective.verdict({"top1": 0.8, "params": 101, "top5": 0.6, "latency_p50_ms": 1.0})
    assert not verdict.feasible
    assert "params 101" in verdict.reason
    assert "top1 0.8" in verdict.reason
    assert "top5" not in verdict.reason


def test_a_smaller_value_scores_higher_when_minimised() -> None:
    objective = Objective(minimize="latency_p50_ms")
    scores = [objective.verdict({"latency_p50_ms": ms}).score for ms in (0.5, 1.0, 100.0)]
    assert scores == sorted(scores, reverse=True)
    assert min(scores) > 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "at least one metric"),
        ({"maximize": ("top1", "top1")}, "none twice"),
        ({"maximize": "top1", "minimize": ("macs", "top1")}, "none twice"),
        ({"maximize": "accuracy"}, "no metric is called 'accuracy'.*'top1'"),
        ({"maximize": "top1", "latency_budget_ms": 0}, "above 0, got 0"),
        ({"maximize": "top1", "at_most": {"params": math.nan}}, "finite number above 0, got nan"),
    ],
)
def test_a_bad_objective_is_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Objective(**settings)  # type: ignore[arg-type]
