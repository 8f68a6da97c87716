"""Trials that fail, and trials that the searcher does not know."""

from typing import Any

import pytest
from ray.tune.search import ConcurrencyLimiter

import raytune_edge as rte
from raytune_edge.space import ratio_grid
from tests.integration.search.made_up import FRONT, NAMES, begun, figures, grid, point, searched

SMALL = {name: ratio_grid(0.5, 1) for name in NAMES}


def told(config: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A report as Tune hands it to a searcher: with its config, and flat."""
    return {**figures(config), **{f"config/{name}": config[name] for name in config}, **more}


def test_a_network_that_failed_is_tried_again_twice_and_no_more() -> None:
    """Of sixteen networks one always fails, for a reason of its own."""
    searcher = begun(rte.FrontSearch(FRONT, random_state_seed=0, screening=False), SMALL)
    bad, tries = (0.5, 0.0, 0.5, 0.0), 0
    for number in range(99):
        config = searcher.suggest(str(number))
        if config == searcher.FINISHED:
            break
        failed = point(config) == bad
        tries += failed
        result = None if failed else figures(config)
        searcher.on_trial_complete(str(number), result=result, error=failed)
    assert tries == 3
    assert number == 15 + 3


def test_a_trial_that_was_taken_away_before_it_began_is_no_failure() -> None:
    searcher = begun(rte.FrontSearch(FRONT, random_state_seed=0), {NAMES[0]: ratio_grid(0.5, 1)})
    for number in range(9):
        assert searcher.suggest(str(number)) != searcher.FINISHED
        searcher.on_trial_complete(str(number))


def test_a_trial_that_failed_and_was_resumed_is_learnt() -> None:
    searcher = begun(rte.FrontSearch(FRONT, random_state_seed=0), grid())
    config = searcher.suggest("0")
    searcher.on_trial_complete("0", error=True)
    for stage in ("pruned", "retrain"):
        searcher.on_trial_result("0", told(config, stage=stage))
    searcher.on_trial_complete("0", result=told(config))
    assert len(searcher._memory.evidence) == 1
    searcher.on_trial_complete("0", result=told(config))
    assert len(searcher._memory.evidence) == 1


@pytest.mark.parametrize("limited", [True, False])
def test_a_trial_whose_suggestion_was_forgotten_is_learnt_and_not_suggested_again(
    limited: bool,
) -> None:
    """The driver was killed after Tune's snapshot of the trial, and before the searcher's."""
    searcher = begun(rte.FrontSearch(FRONT, random_state_seed=0, screening=False), SMALL)
    tuned: Any = ConcurrencyLimiter(searcher, max_concurrent=2) if limited else searcher
    forgotten = dict(zip(NAMES, (0.5, 0.5, 0.0, 0.0), strict=True))
    tuned.on_trial_result("forgotten", told(forgotten, stage="retrain"))
    tuned.on_trial_result("forgotten", told(forgotten, stage="done"))
    tuned.on_trial_complete("forgotten", result=told(forgotten, stage="done"))
    assert len(searcher._memory.evidence) == 1
    configs = searched(searcher, 40)
    assert len(configs) == 15
    assert point(forgotten) not in {point(config) for config in configs}


def test_a_report_of_another_space_is_passed_over() -> None:
    searcher = begun(rte.FrontSearch(FRONT, random_state_seed=0), grid())
    other = {**dict.fromkeys(NAMES, 0.5), "else": 1}
    searcher.on_trial_result("other", told(other))
    searcher.on_trial_complete("other", result=told(other))
    assert searcher._memory.evidence == {}
