"""What became of each network that came by: HyperOpt's trials, and what TPE is told of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import hyperopt

from raytune_edge.search.candidates import Candidate, Key
from raytune_edge.search.documents import document, off_grid, values_of
from raytune_edge.search.memory import Memory
from raytune_edge.search.screening import Foreseen

__all__ = ["Ledger"]

_RETRIES = 2


class Ledger:
    """Networks that were tried, are under way, were known before, or were passed over.

    Args:
        trials: HyperOpt's; each network that is noted gets a document there.
        domain: HyperOpt's.
        memory: Judges, and learns what is passed over.

    Attributes:
        seen: Networks that are not to be tried (again). One that is only predicted to be
            infeasible isn't among them: it is judged anew whenever it comes by.
    """

    def __init__(self, trials: hyperopt.Trials, domain: hyperopt.Domain, memory: Memory) -> None:
        self._trials = trials
        self._domain = domain
        self._memory = memory
        self.seen: set[Key] = set()
        self._passed: set[int] = set()
        self._predicted: dict[Key, int] = {}
        self._counting: frozenset[str] = frozenset()
        self._looked: dict[Key, dict[str, float]] = {}
        self._failures: Counter[Key] = Counter()

    @property
    def tried(self) -> int:
        """How many networks were tried, are under way or were known before."""
        return sum(doc["tid"] not in self._passed for doc in self._trials.trials)

    def off_grid(self, values: Mapping[str, Any]) -> bool:
        """Whether the space has no such point."""
        return bool(off_grid(self._domain, values))

    def drawn(self, algorithm: Any, seed: int) -> dict[str, Any]:
        """The values of one suggestion of HyperOpt's, which is not noted."""
        (doc,) = algorithm(self._trials.new_trial_ids(1), self._domain, self._trials, seed)
        return values_of(doc)

    def judge(self, candidate: Candidate) -> Foreseen:
        """What is known or predicted of a network, what was looked up before included."""
        candidate.known.update(self._looked.get(candidate.key, {}))
        return self._memory.judge(candidate.known, candidate.point)

    def looked_up(self, candidate: Candidate, figures: Mapping[str, float]) -> None:
        """Keep what was looked up of a network."""
        self._looked.setdefault(candidate.key, {}).update(figures)

    def begin(self, candidate: Candidate) -> dict[str, Any]:
        """Note that a network is being tried: its document."""
        self._withdraw([candidate.key])
        self.seen.add(candidate.key)
        return self._insert(candidate)

    def known_before(self, candidate: Candidate) -> int:
        """Note that a network was tried earlier: its number."""
        self.seen.add(candidate.key)
        return self._done(candidate)

    def pass_over(self, candidate: Candidate, verdict: Foreseen) -> None:
        """Note, and tell TPE, that a network is not worth a trial, unless that is known already."""
        if candidate.key in self.seen or (verdict.predicted and candidate.key in self._predicted):
            return
        self._withdraw([candidate.key])
        number = self._done(candidate)
        self._passed.add(number)
        if verdict.predicted:
            self._predicted[candidate.key] = number
        else:
            self.seen.add(candidate.key)
        self._memory.learn_infeasible(number, candidate.point, candidate.known, verdict)

    def give_back(self, candidate: Candidate, *, failed: bool) -> None:
        """A trial told nothing: its network may be tried again, unless it has failed too often."""
        self._failures[candidate.key] += failed
        if self._failures[candidate.key] <= _RETRIES:
            self.seen.discard(candidate.key)

    def rank(self) -> None:
        """Tell TPE each known network's place in the order of all.

        Predictions that are not relied on any more are withdrawn first.
        """
        counting = self._memory.screening.on
        if self._counting - counting:
            self._withdraw(list(self._predicted))
        self._counting = counting
        docs = self._documents()
        for place, number in enumerate(self._memory.best_first()):
            docs[number]["result"]["loss"] = float(place)

    def best(self, count: int) -> list[dict[str, Any]]:
        """The values of the best networks known."""
        docs = self._documents()
        return [values_of(docs[number]) for number in self._memory.best_first()[:count]]

    def _documents(self) -> dict[int, dict[str, Any]]:
        return {doc["tid"]: doc for doc in self._trials.trials}

    def _withdraw(self, keys: Iterable[Key]) -> None:
        """Predictions that count no more are unknown again, to TPE as well."""
        docs = self._documents()
        for number in [self._predicted.pop(key) for key in keys if key in self._predicted]:
            self._memory.forget(number)
            docs[number]["state"] = hyperopt.JOB_STATE_ERROR  # which HyperOpt passes over
        self._trials.refresh()

    def _done(self, candidate: Candidate) -> int:
        doc = self._insert(
            candidate,
            state=hyperopt.JOB_STATE_DONE,
            result={"loss": 0.0, "status": hyperopt.STATUS_OK},
        )
        return int(doc["tid"])

    def _insert(self, candidate: Candidate, **facts: Any) -> dict[str, Any]:
        doc = document(self._trials, self._domain, candidate.values) | facts
        self._trials.insert_trial_docs([doc])
        self._trials.refresh()
        return doc
