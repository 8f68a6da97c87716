"""When a prediction may end a suggestion, and when not."""

import math

import numpy as np
import pytest

from raytune_edge.objective import Objective
from raytune_edge.search.prediction import Regression
from raytune_edge.search.screening import Screening

BUDGET = Objective(maximize="top1", latency_budget_ms=0.5, at_most={"params": 1000})
SLOW, FAST = (1.0,), (0.0,)


@pytest.fixture
def fitted() -> dict[str, Regression]:
    """Latency from 0.2 ms at 0 to 1 ms at 1, with some noise."""
    rng = np.random.default_rng(0)
    points = rng.random((40, 1))
    ms = (0.2 + 0.8 * points[:, 0]) * np.exp(0.02 * rng.standard_normal(40))
    return {"latency_p50_ms": Regression("latency_p50_ms", points, ms)}


def checked(screening: Screening, fitted: dict[str, Regression], *, right: int, wrong: int) -> None:
    for number in range(right + wrong):
        screening.foresee(str(number), {}, fitted, (0.5,))
        screening.check(str(number), {"latency_p50_ms": 0.6 if number < right else 1.2})


def test_what_is_known_counts_at_once() -> None:
    screening = Screening(BUDGET)
    assert not screening.judge({"params": 2000.0}, {}, FAST).feasible
    assert not screening.judge({"latency_p50_ms": 0.6}, {}, FAST).feasible
    assert screening.judge({"params": 999.0, "latency_p50_ms": 0.4}, {}, SLOW).feasible


def test_predictions_count_once_they_have_been_right(fitted: dict[str, Regression]) -> None:
    screening = Screening(BUDGET)
    checked(screening, fitted, right=7, wrong=0)
    assert screening.judge({}, fitted, SLOW).feasible
    checked(screening, fitted, right=1, wrong=0)
    verdict = screening.judge({}, fitted, SLOW)
    assert not verdict.feasible
    assert verdict.predicted
    assert verdict.reason.startswith("predicted: latency_p50_ms")
    assert verdict.violation == pytest.approx(1.0, abs=0.2)  # about 1 ms for 0.5
    assert screening.judge({}, fitted, FAST).feasible


def test_a_miss_within_the_error_costs_a_trial(fitted: dict[str, Regression]) -> None:
    screening = Screening(BUDGET)
    checked(screening, fitted, right=8, wrong=0)
    just_over = (0.5 * 1.01 - 0.2) / 0.8
    assert screening.judge({}, fitted, (just_over,)).feasible


def test_predictions_that_went_wrong_count_no_more(fitted: dict[str, Regression]) -> None:
    screening = Screening(BUDGET)
    checked(screening, fitted, right=8, wrong=0)
    assert screening.record.on
    checked(screening, fitted, right=0, wrong=2)
    assert not screening.record.on
    assert screening.judge({}, fitted, SLOW).feasible
    checked(screening, fitted, right=20, wrong=0)
    assert screening.record.on  # those that went wrong are long past


def test_what_is_known_is_not_predicted(fitted: dict[str, Regression]) -> None:
    screening = Screening(BUDGET)
    checked(screening, fitted, right=8, wrong=0)
    assert screening.judge({"latency_p50_ms": 0.4}, fitted, SLOW).feasible


def test_the_record_tells_how_it_went(fitted: dict[str, Regression]) -> None:
    screening = Screening(BUDGET)
    assert math.isnan(screening.record.relative_error)
    checked(screening, fitted, right=9, wrong=1)
    screening.foresee("lost", {}, fitted, (0.5,))
    screening.check("lost", {"latency_p50_ms": math.nan})  # its measurement failed
    screening.count(screening.judge({}, fitted, SLOW))
    screening.count(screening.judge({"params": 2000.0}, fitted, FAST))
    record = screening.record
    assert (record.checked, record.right, record.screened, record.known) == (10, 9, 1, 1)
    assert 0.01 < record.relative_error < 0.05


def test_what_the_compiler_told_is_known_and_not_predicted() -> None:
    screening = Screening(Objective(maximize="top1", at_most={"predicted_hw_ms": 0.01}))
    verdict = screening.judge({"predicted_hw_ms": 0.02}, {}, FAST)
    assert verdict.reason.startswith("predicted_hw_ms")
    screening.count(verdict)
    assert (screening.record.known, screening.record.screened) == (1, 0)


def test_each_metric_has_a_hit_rate_of_its_own(fitted: dict[str, Regression]) -> None:
    """Throughput, always foreseen rightly, doesn't make up for latency, which never is."""
    both = Objective(maximize="top1", latency_budget_ms=0.5, at_least={"throughput_fps": 500})
    points = np.random.default_rng(0).random((40, 1))
    fps = Regression("throughput_fps", points, 100 + 900 * points[:, 0])
    two = {**fitted, "throughput_fps": fps}
    screening = Screening(both)
    for number in range(40):
        screening.foresee(str(number), {}, two, (0.5,))
        screening.check(str(number), {"latency_p50_ms": 9.0, "throughput_fps": 550})
    assert screening.on == {"throughput_fps"}
    assert screening.record.on
    assert screening.judge({"throughput_fps": 600.0}, two, SLOW).feasible
    assert "throughput_fps" in screening.judge({}, two, FAST).reason


def test_without_predictions_only_what_is_known_counts(fitted: dict[str, Regression]) -> None:
    screening = Screening(BUDGET, predict=False)
    checked(screening, fitted, right=20, wrong=0)
    assert screening.judge({}, fitted, SLOW).feasible
    assert not screening.judge({"params": 2000.0}, fitted, FAST).feasible


def test_a_lower_limit_is_screened_as_well() -> None:
    points = np.random.default_rng(0).random((40, 1))
    fitted = {"throughput_fps": Regression("throughput_fps", points, 100 + 900 * points[:, 0])}
    screening = Screening(Objective(maximize="top1", at_least={"throughput_fps": 500}))
    for number in range(8):
        screening.foresee(str(number), {}, fitted, (0.5,))
        screening.check(str(number), {"throughput_fps": 550})
    assert not screening.judge({}, fitted, (0.1,)).feasible
    assert screening.judge({}, fitted, (0.9,)).feasible
