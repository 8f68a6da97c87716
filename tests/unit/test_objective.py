"""Scores: any feasible network before any infeasible one, and always finite."""

import itertools
import math

import pytest

from raytune_edge.objective import WORST_SCORE, Objective

BUDGET = 0.8
FRONT = Objective(maximize="top1", minimize="latency_p50_ms")
LIMITED = Objective(maximize="top1", minimize="latency_p50_ms", latency_budget_ms=BUDGET)


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


def test_of_several_goals_a_network_that_is_not_measured_scores_below_all_that_are() -> None:
    unmeasured = [score(FRONT, top1, math.nan) for top1 in (0.0, 0.5, 0.99)]
    assert unmeasured == sorted(unmeasured)  # what is known ranks them
    assert min(unmeasured) >= 0
    for top1, latency in itertools.product([0.0, 1e-9, 0.3], [0.1, 1e9]):
        assert score(FRONT, top1, latency) > max(unmeasured)
    infeasible = Objective(maximize="top1", minimize="latency_p50_ms", top1_floor=0.9)
    assert score(infeasible, 0.8, 0.1) < score(infeasible, 0.9, math.nan)


def test_a_goal_that_is_not_known_counts_as_its_limit() -> None:
    unmeasured = score(LIMITED, 0.9, math.nan)
    assert unmeasured == score(LIMITED, 0.9, BUDGET)
    assert unmeasured < score(LIMITED, 0.9, 0.79)
    one = Objective(minimize="latency_p50_ms", latency_budget_ms=BUDGET)
    assert one.verdict({}).score == one.verdict({"latency_p50_ms": BUDGET}).score


def test_a_network_that_was_not_retrained_is_judged_by_its_shape() -> None:
    objective = Objective(maximize="top1", latency_budget_ms=BUDGET, top1_floor=0.9)
    report = {"stage": "infeasible", "top1": 0.1, "latency_p50_ms": 1.2 * BUDGET}
    assert objective.judge(report).violation == pytest.approx(0.2)
    trained = {**report, "test_top1": 0.8}
    assert objective.judge(trained).violation == pytest.approx(0.2 + 0.8 / 0.9)
    assert not objective.judge({"stage": "retrain", "top1": 0.1}).feasible


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
        ({"maximize": "top1", "top1_floor": 92}, "top1 is a fraction.*at most 1, got 92"),
        ({"maximize": "top1", "at_most": {"macs_ratio": 40}}, "macs_ratio is a fraction"),
        (
            {"maximize": "top1", "latency_budget_ms": 0.5, "at_most": {"latency_p50_ms": 0.3}},
            "latency_p50_ms has two limits, latency_budget_ms=0.5 and 0.3",
        ),
        (
            {"maximize": "top1", "top1_floor": 0.5, "at_least": {"top1": 0.6}},
            "top1 has two limits, top1_floor=0.5 and 0.6",
        ),
    ],
)
def test_a_bad_objective_is_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Objective(**settings)  # type: ignore[arg-type]
