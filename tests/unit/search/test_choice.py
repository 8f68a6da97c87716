"""Predictions, ranking and expected gains, against known functions and brute force."""

import numpy as np
import pytest

from raytune_edge.dominance import hypervolume, reference_beyond
from raytune_edge.objective import Objective
from raytune_edge.search.choice import Evidence, expected_gains, ranking, regressions
from raytune_edge.search.prediction import Regression, remaining, value_at

FRONT = Objective(maximize="top1", minimize="latency_p50_ms", latency_budget_ms=0.5)


def latency(points: np.ndarray) -> np.ndarray:
    """A product of widths and a constant: what layers take."""
    widths = 1 - 0.8 * points
    return 0.1 + 0.6 * widths[..., 0] * widths[..., 1] + 0.3 * widths[..., 2]


def top1(points: np.ndarray) -> np.ndarray:
    return 1 - 0.02 * np.exp(2 * points.mean(axis=-1))


def evidence(count: int, seed: int = 0) -> list[Evidence]:
    points = np.random.default_rng(seed).random((count, 3))
    found = []
    for point, accuracy, ms in zip(points, top1(points), latency(points), strict=True):
        metrics = {"top1": float(accuracy), "latency_p50_ms": float(ms)}
        found.append(
            Evidence(
                point=tuple(point),
                losses=FRONT.losses(metrics),
                violation=FRONT.verdict(metrics).violation,
                metrics=metrics,
            )
        )
    return found


@pytest.mark.parametrize(("metric", "truth"), [("latency_p50_ms", latency), ("top1", top1)])
def test_a_regression_predicts_and_knows_its_error(metric: str, truth: object) -> None:
    rng = np.random.default_rng(0)
    points, others = rng.random((60, 3)), rng.random((200, 3))
    noise = np.exp(0.03 * rng.standard_normal(60))
    values = value_at(metric, remaining(metric, truth(points)) * noise)  # type: ignore[operator]
    mean, deviation = Regression(metric, points, values).predict(others)
    miss = np.abs(mean - np.log(remaining(metric, truth(others))))  # type: ignore[operator]
    assert np.median(miss) < 0.03
    assert np.mean(miss <= 2 * deviation) > 0.9
    assert np.median(deviation) < 0.1


def test_a_regression_predicts_as_its_model_does() -> None:
    points = np.random.default_rng(0).random((30, 3))
    regression = Regression("latency_p50_ms", points, latency(points))
    others = np.random.default_rng(1).random((50, 3))
    mean, deviation = regression.predict(others)
    expected = regression._model.predict(regression._features(others), return_std=True)
    assert mean == pytest.approx(expected[0] * regression._scale + regression._center)
    assert deviation == pytest.approx(expected[1] * regression._scale)


def test_values_come_back_from_what_remains() -> None:
    for metric in ("top1", "latency_p50_ms"):
        assert value_at(metric, remaining(metric, 0.3)) == pytest.approx(0.3)
    assert remaining("top1", 1.0) > 0  # a logarithm is taken of it


def test_a_metric_that_few_told_is_not_predicted() -> None:
    known = evidence(5)
    assert regressions(known, ["top1"]) == {}
    assert set(regressions(evidence(6), ["top1", "macs"])) == {"top1"}


def test_equal_values_can_be_predicted_from() -> None:
    points = np.random.default_rng(0).random((8, 3))
    mean, deviation = Regression("latency_p50_ms", points, np.full(8, 0.5)).predict(points)
    assert np.exp(mean) == pytest.approx(np.full(8, 0.5))
    assert np.isfinite(deviation).all()


def test_the_network_that_would_enlarge_the_front_most_is_found() -> None:
    known = evidence(40)
    others = np.random.default_rng(1).random((50, 3))
    fitted = regressions(known, ["top1", "latency_p50_ms"])
    gains = expected_gains(FRONT, known, fitted, others, np.random.RandomState(0))
    assert gains is not None

    inside = np.array([each.losses for each in known if each.violation == 0])
    reference = reference_beyond(inside)
    true_gains = [
        hypervolume(np.vstack([inside, [-accuracy, ms]]), reference)
        - hypervolume(inside, reference)
        if ms <= 0.5
        else 0.0
        for accuracy, ms in zip(top1(others), latency(others), strict=True)
    ]
    assert int(np.argmax(gains)) in np.argsort(true_gains)[-5:]
    far_over = latency(others) > 0.6
    assert far_over.any()
    assert gains[far_over].max() < 0.05 * max(true_gains)


def test_nothing_is_compared_while_too_little_is_known() -> None:
    others = np.random.default_rng(1).random((5, 3))
    rng = np.random.RandomState(0)
    assert expected_gains(FRONT, evidence(5), {}, others, rng) is None
    infeasible = [each for each in evidence(80) if each.violation > 0]
    fitted = regressions(infeasible, ["top1", "latency_p50_ms"])
    assert len(fitted) == 2
    assert expected_gains(FRONT, infeasible, fitted, others, rng) is None


def test_what_is_certain_is_not_predicted() -> None:
    known, others = evidence(40), np.random.default_rng(1).random((50, 3))
    fitted = regressions(known, ["top1", "latency_p50_ms"])
    certain = {"latency_p50_ms": np.where(np.arange(50) < 25, 0.51, 0.2)}
    gains = expected_gains(FRONT, known, fitted, others, np.random.RandomState(0), certain)
    assert gains is not None
    assert (gains[:25] == 0).all()  # over the limit, and known to be
    assert gains[25:].max() > 0
    only = {"top1": fitted["top1"]}
    assert expected_gains(FRONT, known, only, others, np.random.RandomState(0)) is None
    assert expected_gains(FRONT, known, only, others, np.random.RandomState(0), certain) is not None


def test_a_prediction_far_from_all_that_is_known_is_finite() -> None:
    points = np.random.default_rng(0).random((8, 3)) * 1e-3
    fitted = {
        name: Regression(name, points, np.linspace(0.1, 0.5, 8))
        for name in ("top1", "latency_p50_ms")
    }
    gains = expected_gains(
        FRONT, evidence(40), fitted, np.full((4, 3), 9.0), np.random.RandomState(0)
    )
    assert gains is not None
    assert np.isfinite(gains).all()


def test_ranking_puts_useless_networks_last() -> None:
    def network(top1: float, ms: float, *, useless: bool = False) -> Evidence:
        metrics = {"top1": top1, "latency_p50_ms": ms}
        violation = np.inf if useless else FRONT.verdict(metrics).violation
        return Evidence(
            point=(), losses=FRONT.losses(metrics), violation=violation, metrics=metrics
        )

    known = [
        network(0.1, 0.1, useless=True),  # collapsed: fast, and at chance level
        network(0.99, 1.8),
        network(0.99, 1.0),
        network(0.9, 0.45),
        network(0.95, 0.4),
    ]
    assert ranking(known) == [4, 3, 2, 1, 0]
