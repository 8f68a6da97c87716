"""``map`` over Ray tasks."""

import time

import pytest
import ray

from raytune_edge.parallel import ray_map


def test_results_come_as_they_are_ready(ray_cluster: None) -> None:
    def slow_for_zero(number: int) -> int:
        time.sleep(2 if number == 0 else 0)
        return number * 10

    results = list(ray_map(slow_for_zero, [0, 1, 2], num_cpus=0.5))
    assert sorted(results) == [0, 10, 20]
    assert results[-1] == 0


def test_a_closure_is_sent_along(ray_cluster: None) -> None:
    here = {"factor": 3}
    assert list(ray_map(lambda number: number * here["factor"], [5])) == [15]


def test_an_error_of_a_task_is_raised_and_the_rest_is_cancelled(ray_cluster: None) -> None:
    def fail(number: int) -> None:
        raise ValueError(f"no {number}")

    with pytest.raises(ValueError, match=r"no \d"):
        list(ray_map(fail, range(20)))
    deadline = time.monotonic() + 10
    while ray.available_resources().get("CPU") != 2.0:
        assert time.monotonic() < deadline, "the other tasks still run or wait"
        time.sleep(0.1)
