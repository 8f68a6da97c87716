"""Where the next network comes from: TPE's suggestion and changes of it, or all that is left."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import hyperopt
import numpy as np

from raytune_edge.search.candidates import Candidate, Key, Networks
from raytune_edge.search.documents import mixed
from raytune_edge.search.ledger import Ledger
from raytune_edge.search.screening import Foreseen

__all__ = ["Hunt"]

logger = logging.getLogger(__name__)

_DRAWS = 64
_RANDOM_DRAWS = 16
_OWN_DRAWS = 8
_ROUNDS = 16
_STARTS = 4
_COUNTABLE = 4096


class Hunt:
    """Looks for one network to try.

    Args:
        networks: Where to look.
        ledger: Judges what is found, and is told what is passed over.
        draw: Values of one point by an algorithm of HyperOpt's.
        suggest: The algorithm that is asked first.
        choose: Which of several candidates to try.
        look_closer: Judges a candidate by what takes time to find out.
        rng: Chance.
    """

    def __init__(
        self,
        networks: Networks,
        ledger: Ledger,
        *,
        draw: Callable[[Any], dict[str, Any]],
        suggest: Any,
        choose: Callable[[list[Candidate]], int],
        look_closer: Callable[[Candidate], Foreseen],
        rng: np.random.RandomState,
    ) -> None:
        self._networks = networks
        self._ledger = ledger
        self._draw = draw
        self._suggest = suggest
        self._choose = choose
        self._look_closer = look_closer
        self._rng = rng
        self._met: set[Key] = set()
        self._missed: list[tuple[Candidate, Foreseen]] = []

    def next(self) -> Candidate | None:
        """The network to try; None if each one was tried or is known to be infeasible.

        A space that is too large to count has no such end: where nothing feasible is found in it,
        what misses least is tried. So is, in any space, what is only predicted to miss.
        """
        chosen = self._promising(self._look(self._draws()))
        if chosen is not None:
            return chosen
        everything = self._networks.everything(_COUNTABLE)
        found = self._near() if everything is None else self._look(everything)
        return self._promising(found) or self._last_resort(counted=everything is not None)

    def _look(self, points: Iterable[dict[str, Any]]) -> list[Candidate]:
        """Those of ``points`` that may be tried, each network once."""
        found = []
        for candidate in map(self._networks.candidate, points):
            if candidate.key in self._ledger.seen or candidate.key in self._met:
                continue
            self._met.add(candidate.key)
            verdict = self._ledger.judge(candidate)
            if verdict.feasible:
                found.append(candidate)
            else:
                self._missed.append((candidate, verdict))
        return found

    def _promising(self, found: list[Candidate]) -> Candidate | None:
        """The best of ``found`` that still holds on a closer look."""
        while found:
            candidate = found.pop(self._choose(found))
            verdict = self._look_closer(candidate)
            if verdict.feasible:
                return candidate
            self._pass_over(candidate, verdict)
        return None

    def _draws(self) -> Iterator[dict[str, Any]]:
        """HyperOpt's suggestion, then ever wilder changes of it.

        One that is known or predicted to be infeasible is told, and another one asked for.
        """
        for _ in range(_OWN_DRAWS):
            self._ledger.rank()
            own = self._networks.candidate(self._draw(self._suggest))
            verdict = self._ledger.judge(own)
            if verdict.feasible or own.key in self._ledger.seen:
                break
            self._pass_over(own, verdict)
        yield own.values
        random = self._random()
        for draw in range(1, _DRAWS):
            yield self._changed(own.values, random, draw / (_DRAWS - 1))

    def _near(self) -> list[Candidate]:
        """Networks near the narrowest, the widest and the best known, then near what misses least.

        Where limits leave little of a large space, none that is drawn at random is feasible.
        """
        random = self._random()
        starts = [*self._networks.ends(random[0]), *self._ledger.best(_STARTS)]
        found = self._look(starts)
        for _ in range(_ROUNDS):
            if found:
                break
            nearest = [each.values for each, _ in self._nearest_first()[:_STARTS]]
            found = self._look(list(self._neighbours([*starts, *nearest], random)))
        return found

    def _neighbours(
        self, starts: list[dict[str, Any]], random: list[dict[str, Any]]
    ) -> Iterator[dict[str, Any]]:
        """Each differs from one of ``starts`` in a few values."""
        for _ in range(_DRAWS):
            values = starts[self._rng.randint(len(starts))]
            rate = (0.5 + 2.5 * self._rng.random_sample()) / len(values)
            yield self._changed(values, random, rate)

    def _changed(
        self, values: dict[str, Any], random: list[dict[str, Any]], rate: float
    ) -> dict[str, Any]:
        others = [random[self._rng.randint(len(random))] for _ in range(3)]
        return mixed(values, others, rate, self._rng)

    def _random(self) -> list[dict[str, Any]]:
        return [self._draw(hyperopt.rand.suggest) for _ in range(_RANDOM_DRAWS)]

    def _nearest_first(self) -> list[tuple[Candidate, Foreseen]]:
        """What is infeasible: predictions before what is certain, then the least violation."""
        return sorted(self._missed, key=lambda each: (not each[1].predicted, each[1].violation))

    def _last_resort(self, *, counted: bool) -> Candidate | None:
        """What misses least; of a space that was ``counted`` only what is predicted to miss."""
        nearest = self._nearest_first()
        for candidate, verdict in nearest:
            if counted and not verdict.predicted:
                break
            closer = self._look_closer(candidate)
            certain = not (closer.feasible or closer.predicted)
            if not certain or (not counted and math.isfinite(closer.violation)):
                logger.warning(
                    "no other network is expected to be feasible: trying one that misses least, %s",
                    verdict.reason,
                )
                return candidate
            self._pass_over(candidate, closer)
        logger.log(
            logging.INFO if self._ledger.tried else logging.WARNING,
            "every network of the space was tried or is infeasible%s",
            f": {nearest[0][1].reason}" if nearest else "",
        )
        return None

    def _pass_over(self, candidate: Candidate, verdict: Foreseen) -> None:
        logger.info("not tried: %s", verdict.reason)
        self._ledger.pass_over(candidate, verdict)
