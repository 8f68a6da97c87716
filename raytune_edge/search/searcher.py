"""HyperOpt's TPE, led along the front of several goals under constraints.

Tune's ``HyperOptSearch`` is subclassed for its spaces, saving and restoring. What is used of its
inner parts (``_hpopt_trials``, ``_live_trial_mapping``, ``_space``, ``_points_to_evaluate``,
``algo``) is used here only.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hyperopt
from ray.tune.search.hyperopt import HyperOptSearch

from raytune_edge.config import Recipe
from raytune_edge.errors import UnsupportedModelError
from raytune_edge.objective import ENDS, WORST_SCORE, Objective
from raytune_edge.search.candidates import Candidate, Networks
from raytune_edge.search.documents import values_of
from raytune_edge.search.foreknown import Looks, StoredLatencies
from raytune_edge.search.hunt import Hunt
from raytune_edge.search.ledger import Ledger
from raytune_edge.search.memory import Memory
from raytune_edge.search.screening import Foreseen, ScreeningRecord
from raytune_edge.search.shapes import COUNTED, Shapes
from raytune_edge.search.warm_start import earlier_networks, learn

if TYPE_CHECKING:
    from raytune_edge.analysis.experiment import Results

__all__ = ["FrontSearch"]

logger = logging.getLogger(__name__)

_RECORD = "search_record.json"


class FrontSearch(HyperOptSearch):
    """Tune's ``HyperOptSearch`` for an `Objective` with any number of goals and constraints.

    Before each suggestion all networks tried so far are ranked anew: feasible ones by front and
    then by the hypervolume that they add, infeasible ones behind them by how much they miss. TPE
    sees the ranks alone, so no figure's scale and no NaN reaches it. Among TPE's suggestion and
    random changes of it, the network that promises to enlarge the front most is tried: see
    `choice.expected_gains`. None is tried twice, and none that is known or safely predicted to be
    infeasible: see `screening.Screening`. With ``Recipe(precheck="ncs2")`` the stick's compiler is
    asked of a network that is about to be tried, and its figure helps to predict. A trial that
    fails tells nothing.

    Use it as ``tune.TuneConfig(metric="score", mode="max", search_alg=FrontSearch(recipe))``,
    inside Tune's ``ConcurrencyLimiter`` if that is wanted. How it went is in ``record`` and, with
    each snapshot of Tune's, in the experiment's ``search_record.json``.

    Source: ranking as in Ozaki et al., "Multiobjective Tree-Structured Parzen Estimator", 2022.

    Args:
        recipe: The recipe, or an objective for trials of your own: then sizes are not known before
            a trial, and only the coordinates predict its figures.
        space: As for ``HyperOptSearch``; by default Tune hands over ``param_space``.
        points_to_evaluate: Configs to try first.
        warm_start: Results of an earlier experiment in the same space; they are not tried again.
        stored: Figures that are known of a network before its trial: `StoredLatencies`.
        n_initial_points: Networks drawn at random before TPE begins.
        random_state_seed: Makes the suggestions repeatable.
        gamma: The best ``ceil(gamma * sqrt(n))`` of ``n`` networks are those that TPE follows.
        screening: Whether to end suggestions by predictions; what is known always counts.

    Raises:
        ValueError: If ``warm_start`` is of another task or, when the search begins, of another
            space.
    """

    domain: Any
    algo: Any

    def __init__(
        self,
        recipe: Recipe | Objective,
        *,
        space: dict[str, Any] | None = None,
        points_to_evaluate: Sequence[Mapping[str, Any]] | None = None,
        warm_start: Results | None = None,
        stored: StoredLatencies | None = None,
        n_initial_points: int = 8,
        random_state_seed: int | None = None,
        gamma: float = 1.0,
        screening: bool = True,
    ) -> None:
        self._objective = recipe.objective if isinstance(recipe, Recipe) else recipe
        self._shapes = Shapes(recipe) if isinstance(recipe, Recipe) else None
        self._looks = Looks(recipe, stored) if isinstance(recipe, Recipe) else None
        self._earlier = [] if warm_start is None else earlier_networks(warm_start, self._shapes)
        self._memory = Memory(
            self._objective, screening=screening, counted=COUNTED if self._shapes else ()
        )
        self._adopted: set[str] = set()
        self._told: set[str] = set()
        self._given: list[Candidate] = []
        super().__init__(
            space=space,
            metric="score",
            mode="max",
            points_to_evaluate=(
                None if points_to_evaluate is None else [dict(each) for each in points_to_evaluate]
            ),
            n_initial_points=n_initial_points,
            random_state_seed=random_state_seed,
            gamma=gamma,
        )
        self._n_initial_points = n_initial_points

    @property
    def record(self) -> ScreeningRecord:
        """How screening went so far."""
        return self._memory.screening.record

    def suggest(self, trial_id: str) -> Any:
        """A config that was not suggested before.

        ``FINISHED`` if every network of the space has been tried or is known to be infeasible. A
        space that is too large to count never ends so: where no feasible network is found any more
        the one that misses least is suggested, with a warning.
        """
        if not self.domain:
            return super().suggest(trial_id)  # which raises, and says what is missing
        chosen = self._next_given() or self._next()
        if chosen is None:
            return self.FINISHED
        self._begin(trial_id, chosen)
        return self._networks.config(chosen.values)

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Note the learning curve."""
        self._adopt(trial_id, result)
        super().on_trial_result(trial_id, result)
        self._memory.watch(trial_id, result)
        # Tune's ConcurrencyLimiter keeps the end of a trial that it doesn't know to itself.
        if trial_id in self._adopted and result.get("stage") in ENDS:
            self.on_trial_complete(trial_id, result)

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Learn from the trial's last report; one that failed or told nothing is forgotten.

        Its network may be suggested again, after a failure twice at most.
        """
        if result and not error:
            self._adopt(trial_id, result)
        if trial_id in self._live_trial_mapping:
            number, doc = self._live_trial_mapping[trial_id]
            candidate = self._networks.candidate(values_of(doc))
            if result and not error:
                self._memory.learn(number, trial_id, candidate.point, result)
                self._told.add(trial_id)
            else:
                self._ledger.give_back(candidate, failed=error)
        self._memory.end(trial_id)
        self._adopted.discard(trial_id)
        super().on_trial_complete(trial_id, result=result, error=error or not result)

    def save(self, checkpoint_path: str) -> None:
        """Save as ``HyperOptSearch`` does, and how screening went beside it."""
        looks, self._looks = self._looks, None  # they hold the task; Tune keeps it with the Tuner
        try:
            super().save(checkpoint_path)
        finally:
            self._looks = looks
        record = dataclasses.asdict(self.record)
        if math.isnan(record["relative_error"]):
            record["relative_error"] = None  # JSON has no NaN
        Path(checkpoint_path).with_name(_RECORD).write_text(json.dumps(record, indent=2) + "\n")

    def restore(self, checkpoint_path: str) -> None:
        """Take up what `save` left."""
        looks = self._looks
        super().restore(checkpoint_path)
        self._looks = looks

    def _setup_hyperopt(self) -> None:
        """Begin with what is known already; starting points among it are not tried again."""
        given, self._points_to_evaluate = self._points_to_evaluate, None
        super()._setup_hyperopt()
        self._networks = Networks(self._space, self.domain, self._shapes)
        self._ledger = Ledger(self._hpopt_trials, self.domain, self._memory)
        learn(
            self._earlier,
            self._objective,
            networks=self._networks,
            ledger=self._ledger,
            memory=self._memory,
        )
        self._given = [self._networks.starting_point(each) for each in given or ()]

    def _adopt(self, trial_id: str, result: Mapping[str, Any]) -> None:
        """Take up a trial that is not known, or not any more, by the config that it reports.

        It failed and was resumed, or the driver was killed before it had noted the suggestion.
        """
        if trial_id in self._live_trial_mapping or trial_id in self._told or not self.domain:
            return
        told = {
            name.removeprefix("config/"): result[name]
            for name in result
            if name.startswith("config/")
        }
        values = self._networks.values(told)
        if values is not None and not self._ledger.off_grid(values):
            self._begin(trial_id, self._networks.candidate(values))
            self._adopted.add(trial_id)

    def _begin(self, trial_id: str, candidate: Candidate) -> None:
        """Note that ``candidate`` is being tried."""
        doc = self._ledger.begin(candidate)
        self._live_trial_mapping[trial_id] = (doc["tid"], doc)
        self._memory.foresee(trial_id, candidate.known, candidate.point)

    def _next_given(self) -> Candidate | None:
        """The next of the starting points that was not tried before."""
        while self._given:
            candidate = self._given.pop(0)
            if candidate.key not in self._ledger.seen:
                return candidate
        return None

    def _next(self) -> Candidate | None:
        at_random = self._ledger.tried < self._n_initial_points

        def choose(found: list[Candidate]) -> int:
            if at_random:
                return 0
            points, known = [each.point for each in found], [each.known for each in found]
            return self._memory.most_promising(points, known, self.rstate)

        hunt = Hunt(
            self._networks,
            self._ledger,
            draw=lambda algorithm: self._ledger.drawn(algorithm, self.rstate.randint(2**31 - 1)),
            suggest=hyperopt.rand.suggest if at_random else self.algo,
            choose=choose,
            look_closer=self._look_closer,
            rng=self.rstate,
        )
        return hunt.next()

    def _look_closer(self, candidate: Candidate) -> Foreseen:
        """Judge it by what the store and the stick's compiler know, too; for them it is built."""
        if self._looks is not None and candidate.size is not None:
            try:
                self._ledger.looked_up(candidate, self._looks(candidate.size.kept))
            except UnsupportedModelError as error:
                return Foreseen(
                    score=WORST_SCORE, feasible=False, reason=str(error), violation=math.inf
                )
        return self._ledger.judge(candidate)
