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
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hyperopt
import numpy as np
from ray.tune.search.hyperopt import HyperOptSearch

from raytune_edge.config import Recipe
from raytune_edge.errors import DeviceError, UnsupportedModelError
from raytune_edge.objective import WORST_SCORE, Objective, Verdict
from raytune_edge.search.documents import document, mixed, off_grid, values_of
from raytune_edge.search.foreknown import StickPredictions, StoredLatencies
from raytune_edge.search.memory import Memory
from raytune_edge.search.screening import ScreeningRecord
from raytune_edge.search.shapes import Shapes, Size
from raytune_edge.search.warm_start import earlier_networks
from raytune_edge.space import is_ratio

if TYPE_CHECKING:
    from raytune_edge.analysis.experiment import Results

__all__ = ["FrontSearch"]

logger = logging.getLogger(__name__)

_DRAWS = 64
_RANDOM_DRAWS = 16
_TPE_DRAWS = 8
_ROUNDS = 16
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
        objective = recipe if isinstance(recipe, Objective) else recipe.objective
        self._shapes = None if isinstance(recipe, Objective) else Shapes(recipe)
        self._earlier = [] if warm_start is None else earlier_networks(warm_start, self._shapes)
        self._stored = stored
        self._compiled = (
            None if isinstance(recipe, Objective) else StickPredictions.where_asked_for(recipe)
        )
        self._memory = Memory(objective, screening=screening)
        self._seen: set[tuple[Any, ...]] = set()
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
        """A config that was not suggested before; ``FINISHED`` if the space seems to have none."""
        if self._points_to_evaluate or not self.domain:
            given = super().suggest(trial_id)
            _, doc = self._live_trial_mapping[trial_id]
            self._seen.add(self._candidate(values_of(doc)).key)
            return given
        self._rank()
        candidates = self._candidates()
        while candidates:
            points = np.array([each.point for each in candidates])
            random = len(self._hpopt_trials.trials) < self._n_initial_points
            best = 0 if random else self._memory.most_promising(points, self.rstate)
            chosen = candidates.pop(best)
            verdict = self._look_closer(chosen)
            if verdict.feasible:
                doc = self._insert(chosen)
                self._live_trial_mapping[trial_id] = (doc["tid"], doc)
                self._memory.foresee(trial_id, chosen.known, chosen.point)
                return hyperopt.space_eval(self._space, chosen.values)
            self._pass_over(chosen, verdict)
        logger.info("every network of the space has been tried or is known to be infeasible")
        return self.FINISHED

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Note the learning curve."""
        super().on_trial_result(trial_id, result)
        self._memory.watch(trial_id, result)

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Learn from the trial's last report; one that failed or told nothing is forgotten."""
        if result and not error and trial_id in self._live_trial_mapping:
            number, doc = self._live_trial_mapping[trial_id]
            point = self._candidate(values_of(doc)).point
            self._memory.learn(number, trial_id, point, result)
        self._memory.end(trial_id)
        super().on_trial_complete(trial_id, result=result, error=error or not result)

    def save(self, checkpoint_path: str) -> None:
        """Save as ``HyperOptSearch`` does, and how screening went beside it."""
        # Both hold the task; Tune keeps them with the Tuner.
        looks = self._stored, self._compiled
        self._stored = self._compiled = None
        try:
            super().save(checkpoint_path)
        finally:
            self._stored, self._compiled = looks
        record = dataclasses.asdict(self.record)
        Path(checkpoint_path).with_name(_RECORD).write_text(json.dumps(record, indent=2) + "\n")

    def restore(self, checkpoint_path: str) -> None:
        """Take up what `save` left."""
        looks = self._stored, self._compiled
        super().restore(checkpoint_path)
        self._stored, self._compiled = looks

    def _setup_hyperopt(self) -> None:
        """Begin with what is known already; starting points among it are not tried again."""
        earlier = [_rounded(each.config) for each in self._earlier]
        if self._points_to_evaluate:
            self._points_to_evaluate = [
                each for each in self._points_to_evaluate if _rounded(each) not in earlier
            ] or None
        super()._setup_hyperopt()
        left_out = 0
        for each in self._earlier:
            if set(each.config) != set(self.domain.params):
                raise ValueError(
                    f"warm_start: expected results in this space, {sorted(self.domain.params)}; "
                    f"got a network of {sorted(each.config)}. Leave warm_start out, or search the "
                    "same space."
                )
            values = dict(each.config)
            self._convert_categories_to_indices(values)
            if off_grid(self.domain, values):
                left_out += 1
                continue
            candidate = self._candidate(values)
            doc = self._insert(candidate, done=True)
            self._memory.learn(doc["tid"], "", candidate.point, each.result)
        if left_out:
            logger.warning("warm_start: %d networks lie outside this space: left out", left_out)

    def _rank(self) -> None:
        """Tell TPE each known network's place in the order of all."""
        docs = {doc["tid"]: doc for doc in self._hpopt_trials.trials}
        for rank, number in enumerate(self._memory.best_first()):
            docs[number]["result"]["loss"] = float(rank)

    def _candidates(self) -> list[_Candidate]:
        """Networks that might be tried next, TPE's own suggestion first if it may.

        Where few are left of a space, more than one round of draws is needed to meet them.
        """
        found: dict[tuple[Any, ...], _Candidate] = {}
        for _ in range(_ROUNDS):
            for candidate in self._draws():
                new = candidate.key not in self._seen and candidate.key not in found
                if new and self._memory.judge(candidate.known, candidate.point).feasible:
                    found[candidate.key] = candidate
            if found:
                break
        return list(found.values())

    def _draws(self) -> Iterator[_Candidate]:
        """TPE's suggestion, then ever wilder changes of it.

        A suggestion that is known or predicted to be infeasible is told, and TPE asked again.
        """
        for _ in range(_TPE_DRAWS):
            own = self._candidate(self._drawn(self.algo))
            verdict = self._memory.judge(own.known, own.point)
            if verdict.feasible or own.key in self._seen:
                break
            self._pass_over(own, verdict)
        yield own
        random = [self._drawn(hyperopt.rand.suggest) for _ in range(_RANDOM_DRAWS)]
        for draw in range(1, _DRAWS):
            others = [random[self.rstate.randint(_RANDOM_DRAWS)] for _ in range(3)]
            yield self._candidate(mixed(own.values, others, draw / (_DRAWS - 1), self.rstate))

    def _look_closer(self, candidate: _Candidate) -> Verdict:
        """Judge it by what the store and the stick's compiler know, too; for them it is built."""
        for look in (self._stored, self._compiled):
            if look is None or candidate.size is None:
                continue
            try:
                candidate.known.update(look(candidate.size.kept))
            except UnsupportedModelError as error:
                return Verdict(
                    score=WORST_SCORE, feasible=False, reason=str(error), violation=math.inf
                )
            except DeviceError as error:
                logger.warning("the stick's compiler told nothing: %s", error)
        return self._memory.judge(candidate.known, candidate.point)

    def _drawn(self, algorithm: Callable[..., Any]) -> dict[str, Any]:
        """The values of one suggestion of HyperOpt's, which is not kept."""
        trials = self._hpopt_trials
        (doc,) = algorithm(
            trials.new_trial_ids(1), self.domain, trials, self.rstate.randint(2**31 - 1)
        )
        return values_of(doc)

    def _candidate(self, values: dict[str, Any]) -> _Candidate:
        ratios = {name: value for name, value in values.items() if is_ratio(name)}
        if any(self.domain.params[name].name == "randint" for name in ratios):  # of choices
            config = hyperopt.space_eval(self._space, values)
            ratios = {name: config[name] for name in ratios}
        rest = {name: value for name, value in values.items() if not is_ratio(name)}
        size = self._shapes.size(ratios) if self._shapes else None
        named = sorted((rest if size else values).items())
        point = [float(values.get(name, 0.0)) for name in sorted(self.domain.params)]
        return _Candidate(
            values=values,
            key=(
                *(size.kept.values() if size else ()),
                *((name, round(float(value), 9) + 0.0) for name, value in named),
            ),
            point=(*point, *(size.work if size else ())),
            size=size,
            known=dict(size.metrics) if size else {},
        )

    def _insert(self, candidate: _Candidate, *, done: bool = False) -> dict[str, Any]:
        """Put a network among HyperOpt's trials, under way or known already: its document."""
        doc = document(self._hpopt_trials, self.domain, candidate.values)
        if done:
            doc["state"] = hyperopt.JOB_STATE_DONE
            doc["result"] = {"loss": 0.0, "status": hyperopt.STATUS_OK}
        self._hpopt_trials.insert_trial_docs([doc])
        self._hpopt_trials.refresh()
        self._seen.add(candidate.key)
        return doc

    def _pass_over(self, candidate: _Candidate, verdict: Verdict) -> None:
        """Tell TPE of a network that is not worth a trial."""
        logger.info("not tried: %s", verdict.reason)
        doc = self._insert(candidate, done=True)
        self._memory.learn_infeasible(doc["tid"], candidate.point, verdict)
        self._rank()


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Candidate:
    """A network that might be tried: its values as HyperOpt's, and what they mean.

    ``key`` is equal for values that mean the same trial.
    """

    values: dict[str, Any]
    key: tuple[Any, ...]
    point: tuple[float, ...]
    size: Size | None
    known: dict[str, float]


def _rounded(config: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: round(value, 9) if isinstance(value, float) else value
        for name, value in config.items()
    }
