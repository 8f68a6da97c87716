"""Fronts, hypervolume and order, against the definitions by brute force."""

import dataclasses
import itertools
import math

import numpy as np
import pytest

from raytune_edge.dominance import (
    by_hypervolume,
    front_numbers,
    hypervolume,
    joint_noise,
    order,
    reference_beyond,
    undominated,
)
from raytune_edge.records import within_noise
from tests.unit.test_records import measurement


def dominates(first: np.ndarray, second: np.ndarray) -> bool:
    return all(a <= b for a, b in zip(first, second, strict=True)) and any(
        a < b for a, b in zip(first, second, strict=True)
    )


def peeled(points: np.ndarray) -> list[int]:
    """Front numbers by taking away, again and again, what nothing dominates."""
    numbers, left, number = [-1] * len(points), set(range(len(points))), 0
    while left:
        front = {p for p in left if not any(dominates(points[q], points[p]) for q in left)}
        for place in front:
            numbers[place] = number
        left -= front
        number += 1
    return numbers


def cells(points: np.ndarray, reference: np.ndarray) -> int:
    """Hypervolume of whole numbers: the unit cells that some point dominates."""
    sides = [range(int(side)) for side in reference]
    return sum(
        any(all(point[d] <= cell[d] for d in range(len(cell))) for point in points)
        for cell in itertools.product(*sides)
    )


def whole_points(seed: int, dimensions: int, count: int = 12, most: int = 7) -> np.ndarray:
    """Few values, so that ties and equal points are among them."""
    return np.random.default_rng(seed).integers(0, most, (count, dimensions)).astype(float)


@pytest.mark.parametrize("dimensions", [1, 2, 3, 4])
@pytest.mark.parametrize("seed", range(10))
def test_fronts_are_what_peeling_leaves(seed: int, dimensions: int) -> None:
    points = whole_points(seed, dimensions, count=25)
    numbers = peeled(points)
    assert front_numbers(points).tolist() == numbers
    assert undominated(points).tolist() == [number == 0 for number in numbers]


def test_what_is_not_known_is_dominated_by_all_that_is() -> None:
    points = np.array([[math.inf, 1.0], [2.0, 1.0], [math.inf, math.inf]])
    assert front_numbers(points).tolist() == [1, 0, 2]


@pytest.mark.parametrize("dimensions", [1, 2, 3])
@pytest.mark.parametrize("seed", range(10))
def test_hypervolume_counts_the_dominated_cells(seed: int, dimensions: int) -> None:
    points = whole_points(seed, dimensions)
    reference = np.full(dimensions, 6.0)
    assert hypervolume(points, reference) == cells(points, reference)


def test_points_beyond_the_reference_add_nothing() -> None:
    reference = np.array([2.0, 2.0])
    outside = np.array([[2.0, 0.0], [0.0, 5.0], [math.inf, 0.0]])
    assert hypervolume(outside, reference) == 0.0
    assert hypervolume(np.vstack([outside, [1.0, 1.0]]), reference) == 1.0
    assert hypervolume(np.empty((0, 2)), reference) == 0.0


@pytest.mark.parametrize("dimensions", [1, 2, 3])
@pytest.mark.parametrize("seed", range(5))
def test_each_next_point_adds_the_most(seed: int, dimensions: int) -> None:
    points = np.random.default_rng(seed).random((9, dimensions))
    reference = np.full(dimensions, 1.1)
    taken = by_hypervolume(points, reference)
    assert sorted(taken) == list(range(9))
    for count in range(9):
        gains = {
            place: hypervolume(points[[*taken[:count], place]], reference)
            for place in set(range(9)) - set(taken[:count])
        }
        assert gains[taken[count]] == pytest.approx(max(gains.values()))


@pytest.mark.parametrize("seed", range(10))
def test_order_is_feasible_by_front_then_infeasible_by_violation(seed: int) -> None:
    rng = np.random.default_rng(seed)
    points = whole_points(seed, 2, count=20)
    violations = np.where(rng.random(20) < 0.4, rng.random(20), 0.0)
    violations[-1] = math.inf
    ordered = order(points, violations)
    assert sorted(ordered) == list(range(20))
    numbers = dict(
        zip(np.flatnonzero(violations == 0), peeled(points[violations == 0]), strict=True)
    )

    def rank(place: int) -> tuple[float, float]:
        return (0, numbers[place]) if violations[place] == 0 else (1, violations[place])

    ranks = [rank(place) for place in ordered]
    assert ranks == sorted(ranks)


def test_on_one_front_a_point_far_from_the_others_comes_before_their_neighbours() -> None:
    crowd = [[0.50, 0.50], [0.51, 0.49], [0.49, 0.51]]
    ordered = order(np.array([*crowd, [0.0, 1.0], [1.0, 0.0]]), np.zeros(5))
    assert ordered[0] in (0, 1, 2)
    assert set(ordered[1:3]) == {3, 4}


def test_nothing_feasible_or_nothing_known_has_an_order_too() -> None:
    unknown = np.full((3, 2), math.inf)
    assert sorted(order(unknown, np.zeros(3))) == [0, 1, 2]
    assert order(unknown, np.array([3.0, 1.0, 2.0])) == [1, 2, 0]
    assert np.isfinite(reference_beyond(unknown)).all()


@pytest.mark.parametrize("seed", range(20))
def test_noise_is_what_records_takes_for_noise(seed: int) -> None:
    rng = np.random.default_rng(seed)
    first, second = rng.uniform(0.9, 1.1, 2)
    halves = rng.choice([0.0, 0.02, 0.1], 2)
    records = [
        dataclasses.replace(
            measurement(ms), latency_p50_low_ms=ms - half, latency_p50_high_ms=ms + half
        )
        for ms, half in zip((first, second), halves, strict=True)
    ]
    noise = joint_noise("latency_p50_ms", first, second, halves.sum())
    assert (abs(first - second) <= noise) == within_noise(*records)


def test_what_is_counted_or_compiled_has_no_noise_and_an_unknown_interval_no_width() -> None:
    assert joint_noise("macs", 100.0, 101.0) == 0
    assert joint_noise("predicted_hw_ms", 1.0, 1.01) == 0
    assert joint_noise("throughput_fps", 100.0, 101.0) == 5
    assert joint_noise("latency_p50_ms", 1.0, 2.0, math.nan) == 0.05
