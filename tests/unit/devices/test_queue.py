"""Who is next."""

from dataclasses import dataclass

import pytest

from raytune_edge.devices.queue import FairQueue


@dataclass(frozen=True)
class Request:
    experiment: str
    number: int
    priority: int = 0


def queue(*requests: Request) -> FairQueue[Request]:
    made: FairQueue[Request] = FairQueue()
    for request in requests:
        made.put(request)
    return made


def drain(queue: FairQueue[Request]) -> list[Request]:
    return list(iter(lambda: queue.take(lambda request: True), None))


def test_first_come_first_served_within_an_experiment() -> None:
    requests = [Request("a", number) for number in range(4)]
    assert drain(queue(*requests)) == requests


def test_a_higher_priority_goes_first_within_its_experiment() -> None:
    low, high, higher = Request("a", 0), Request("a", 1, priority=1), Request("a", 2, priority=2)
    assert drain(queue(low, high, higher)) == [higher, high, low]


def test_an_experiment_with_many_requests_delays_another_by_one() -> None:
    many = [Request("a", number, priority=5) for number in range(100)]
    late = Request("b", 100)
    assert drain(queue(*many, late)).index(late) == 1


def test_a_latecomer_does_not_get_turns_it_has_missed() -> None:
    mixed = queue(Request("a", 0), Request("a", 1))
    mixed.take(lambda request: True)
    mixed.put(Request("b", 2))
    mixed.put(Request("b", 3))
    assert [request.number for request in drain(mixed)] == [1, 2, 3]


def test_what_comes_back_keeps_its_place() -> None:
    first, second = Request("a", 0), Request("a", 1)
    waiting = queue(first, second)
    assert waiting.take(lambda request: True) == first
    waiting.put(first)
    assert drain(waiting) == [first, second]


def test_a_request_that_does_not_suit_is_passed_over_and_stays() -> None:
    first, second, other = Request("a", 0), Request("a", 1), Request("b", 2)
    waiting = queue(first, second, other)
    assert waiting.take(lambda request: request.number > 0) == second
    assert waiting.take(lambda request: False) is None
    assert len(waiting) == 2


def test_places_are_those_in_which_requests_are_taken() -> None:
    requests = [
        *(Request("a", number) for number in range(3)),
        *(Request("b", number, priority=number % 2) for number in range(3, 8)),
        Request("c", 8),
    ]
    waiting = queue(*requests)
    assert waiting.in_order() == drain(queue(*requests))
    assert len(waiting) == len(requests)


def test_a_removed_request_is_gone() -> None:
    first, second = Request("a", 0), Request("b", 1)
    waiting = queue(first, second)
    assert waiting.remove(first)
    assert not waiting.remove(first)
    assert drain(waiting) == [second]


@pytest.mark.parametrize("count", [0, 1, 5])
def test_the_length_counts_all_experiments(count: int) -> None:
    requests = [Request(experiment, n) for experiment in "ab" for n in range(count)]
    assert len(queue(*requests)) == 2 * count
