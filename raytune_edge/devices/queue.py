"""Who is next: experiments in turn, and within one by priority and arrival."""

from __future__ import annotations

import bisect
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

__all__ = ["FairQueue", "Queued"]


class Queued(Protocol):
    """What a queue needs to know of a request."""

    @property
    def experiment(self) -> str:
        """Whose it is."""

    @property
    def priority(self) -> int:
        """Higher goes first within its experiment."""

    @property
    def number(self) -> int:
        """Order of arrival in the pool; a request that comes back keeps its own."""


_Request = TypeVar("_Request", bound=Queued)


class FairQueue(Generic[_Request]):
    """Requests of several experiments, none of which can starve another.

    Experiments that have requests take turns, each turn one request: an experiment with a
    thousand waiting delays another's next one by one measurement. Within an experiment a higher
    priority goes first, and within a priority the first come.
    """

    def __init__(self) -> None:
        self._waiting: dict[str, list[_Request]] = {}  # in the order of the next turns

    def __len__(self) -> int:
        return sum(len(requests) for requests in self._waiting.values())

    def put(self, request: _Request) -> None:
        """Add a request; a new experiment's turn is after those that wait already."""
        requests = self._waiting.setdefault(request.experiment, [])
        bisect.insort(requests, request, key=_rank)

    def take(self, suits: Callable[[_Request], bool]) -> _Request | None:
        """Remove and return the next request that ``suits``; None if there is none."""
        for experiment, requests in self._waiting.items():
            for request in requests:
                if suits(request):
                    self.remove(request)
                    if (rest := self._waiting.pop(experiment, None)) is not None:
                        self._waiting[experiment] = rest
                    return request
        return None

    def remove(self, request: _Request) -> bool:
        """Whether ``request`` was waiting; it no longer is."""
        requests = self._waiting.get(request.experiment, [])
        if request not in requests:
            return False
        requests.remove(request)
        if not requests:
            del self._waiting[request.experiment]
        return True

    def in_order(self) -> list[_Request]:
        """All requests in the order in which they would be taken if each suited."""
        rounds = max((len(requests) for requests in self._waiting.values()), default=0)
        return [
            requests[turn]
            for turn in range(rounds)
            for requests in self._waiting.values()
            if turn < len(requests)
        ]


def _rank(request: Queued) -> tuple[int, int]:
    return -request.priority, request.number
