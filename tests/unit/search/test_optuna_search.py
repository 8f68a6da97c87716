"""Optuna is told finite figures and limits, whatever a trial comes to."""

import math
import pickle
from typing import Any

import optuna
import pytest

from raytune_edge.objective import Objective
from raytune_edge.search import OptunaFrontSearch
from raytune_edge.space import ratio_grid

FRONT = Objective(maximize="top1", minimize="latency_p50_ms", latency_budget_ms=1.0)
SPACE = {f"pruning_ratio:{name}": ratio_grid(0.25, 3) for name in "ab"}


def report(stage: str, top1: float, ms: float) -> dict[str, Any]:
    return {"stage": stage, "top1": top1, "latency_p50_ms": ms}


def told(*reports: dict[str, Any] | None) -> list[optuna.trial.FrozenTrial]:
    """What Optuna knows of trials that ended so; None is a failure."""
    search = OptunaFrontSearch(FRONT, SPACE, seed=0)
    for number, each in enumerate(reports):
        assert search.suggest(str(number)).keys() == SPACE.keys()
        search.on_trial_complete(str(number), result=each, error=each is None)
    return list(search._ot_study.trials)


def test_figures_are_told_as_they_are_and_limits_as_constraints() -> None:
    inside, over = told(report("done", 0.9, 0.5), report("infeasible", 0.2, 1.5))
    assert (inside.values, over.values) == ([0.9, 0.5], [0.2, 1.5])
    assert sum(inside.constraints.values()) == 0
    assert sum(over.constraints.values()) == pytest.approx(0.5)


@pytest.mark.parametrize("stage", ["collapsed", "unsupported"])
@pytest.mark.parametrize("ms", [math.nan, 0.1])
def test_a_useless_network_is_told_the_worst_of_the_others(stage: str, ms: float) -> None:
    """Also one that is fast, which would lie on the front."""
    trials = told(report("done", 0.9, 0.5), report("done", 0.8, 0.4), report(stage, 0.1, ms))
    assert trials[2].state is optuna.trial.TrialState.COMPLETE
    assert trials[2].values == [0.8, 0.5]


def test_a_network_that_was_stopped_before_its_measurement_is_told_with_the_worst_latency() -> None:
    trials = told(report("done", 0.9, 0.5), report("retrain", 0.7, math.nan))
    assert trials[1].values == [0.7, 0.5]


def test_what_has_no_stand_in_yet_and_what_failed_is_no_evidence() -> None:
    trials = told(report("collapsed", 0.1, math.nan), None, report("done", 0.9, 0.5))
    failed, done = optuna.trial.TrialState.FAIL, optuna.trial.TrialState.COMPLETE
    assert [trial.state for trial in trials] == [failed, failed, done]


def test_limits_lead_the_search() -> None:
    """Networks with a ratio above 0 are over the budget: their goals don't make up for it."""
    search = OptunaFrontSearch(FRONT, SPACE, seed=0)
    late = []
    for number in range(60):
        config = search.suggest(str(number))
        pruned = sum(config.values())
        late.append(pruned)
        end = report("infeasible" if pruned > 0.5 else "done", 0.5 + pruned / 4, 0.6 + pruned)
        search.on_trial_complete(str(number), result=end)
    assert sum(each <= 0.5 for each in late[30:]) > 20


def test_it_can_be_saved() -> None:
    search = OptunaFrontSearch(FRONT, SPACE, sampler=optuna.samplers.NSGAIISampler(seed=0))
    search.suggest("0")
    search.on_trial_complete("0", result=report("done", 0.9, 0.5))
    again = pickle.loads(pickle.dumps(search.__dict__))
    assert again["_worst"] == {"top1": 0.9, "latency_p50_ms": 0.5}


def test_an_older_optuna_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optuna, "__version__", "4.5.0")
    with pytest.raises(
        ImportError, match=r"needs Optuna 5, this is 4\.5\.0: pip install 'optuna>=5'"
    ):
        OptunaFrontSearch(FRONT, SPACE)
