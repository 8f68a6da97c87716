"""What an earlier experiment teaches, and what it leaves to be tried."""

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from ray import tune

import raytune_edge as rte
from tests.integration.search.made_up import (
    FRONT,
    NAMES,
    begun,
    earlier,
    grid,
    point,
    searched,
    small_recipe,
    told,
)


def test_earlier_results_are_known_and_not_tried_again() -> None:
    configs = searched(begun(rte.FrontSearch(FRONT, random_state_seed=1), grid()), 30)
    known = earlier(configs)
    known.loc[29, ["status", "finished"]] = ["failed", False]
    first = [configs[0], dict.fromkeys(NAMES, 0.75)]
    searcher = rte.FrontSearch(
        FRONT, warm_start=known, points_to_evaluate=first, random_state_seed=0
    )
    begun(searcher, grid())
    assert len(searcher._memory.evidence) == 29
    new = searched(searcher, 12)
    assert point(new[0]) == (0.75,) * 4
    assert not {point(config) for config in new} & {point(config) for config in configs[:29]}
    assert len(told(searcher)) == 29 + 12
    assert sorted(told(searcher)[:29]) != [0.0] * 29


def test_results_of_another_space_are_refused_and_points_outside_are_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    other = earlier([dict.fromkeys(NAMES, 0.25)]).rename(columns={f"config/{NAMES[0]}": "config/x"})
    searcher = rte.FrontSearch(FRONT, warm_start=other)
    with pytest.raises(ValueError, match=r"warm_start: expected results in this space.*'x'"):
        searcher.set_search_properties("score", "max", grid())
    points = [dict.fromkeys(NAMES, value) for value in (0.25, 0.3, 1.0)]
    searcher = begun(rte.FrontSearch(FRONT, warm_start=earlier(points)), grid())
    assert len(searcher._memory.evidence) == 1
    assert "2 networks lie outside this space" in caplog.text


def gated(configs: list[dict[str, Any]]) -> pd.DataFrame:
    """Of an experiment with a budget of 0.5 ms: what was slower was not retrained."""
    frame = earlier(configs)
    slow = frame["latency_p50_ms"] > 0.5
    frame.loc[slow, "status"] = "infeasible"
    frame.loc[slow, "top1"] = 0.1
    frame.loc[~slow, "test_top1"] = frame.loc[~slow, "top1"]
    return frame


def test_a_network_that_a_tighter_budget_ended_is_worth_a_trial() -> None:
    rng = np.random.default_rng(0)
    configs = [dict(zip(NAMES, rng.integers(0, 4, 4) / 4, strict=True)) for _ in range(40)]
    known = gated(configs)
    untrained = known["status"].eq("infeasible") & (known["latency_p50_ms"] <= 0.8)
    assert 5 < untrained.sum() < 30
    wanted = configs[int(np.flatnonzero(untrained)[0])]
    searcher = begun(rte.FrontSearch(FRONT, warm_start=known, points_to_evaluate=[wanted]), grid())
    memory = searcher._memory
    assert len(memory.evidence) == (~untrained).sum()
    assert len(memory.hints) == untrained.sum()
    assert all(math.isfinite(each.metrics["latency_p50_ms"]) for each in memory.hints)
    assert all("top1" not in each.metrics for each in memory.hints)
    assert point(searcher.suggest("0")) == point(wanted)


def test_an_infeasible_network_that_was_retrained_is_known() -> None:
    """As after ``gate="off"``."""
    known = gated([dict.fromkeys(NAMES, 0.25), dict.fromkeys(NAMES, 0.5)])
    assert known["status"].tolist() == ["infeasible", "done"]
    known.loc[0, ["top1", "test_top1"]] = 0.98
    searcher = begun(rte.FrontSearch(FRONT, warm_start=known), grid())
    assert [each.violation for each in searcher._memory.evidence.values()] == [0, 0]
    assert searcher._memory.hints == []


def test_a_starting_point_that_was_known_off_the_grid_only_is_tried() -> None:
    off = dict.fromkeys(NAMES, 0.3)
    searcher = rte.FrontSearch(FRONT, warm_start=earlier([off]), points_to_evaluate=[off])
    assert begun(searcher, grid()).suggest("0") == off


def test_a_space_with_constants_and_choices_is_the_same_space() -> None:
    space = {**grid(), "criterion": tune.choice(["l1", "fpgm"]), "kind": "filters"}
    configs = [
        {**dict.fromkeys(NAMES, 0.25), "criterion": criterion, "kind": "filters"}
        for criterion in ("l1", "fpgm", "taylor")
    ]
    searcher = begun(rte.FrontSearch(FRONT, warm_start=earlier(configs)), space)
    assert len(searcher._memory.evidence) == 2  # taylor is none of the choices


def test_starting_points_of_another_space_are_refused() -> None:
    space = {**grid(), "criterion": tune.choice(["l1", "fpgm"])}
    for given, message in (
        (dict.fromkeys(NAMES, 0.5), "points_to_evaluate: expected a value for each of"),
        (
            {**dict.fromkeys(NAMES, 0.5), "criterion": "l3"},
            r"points_to_evaluate: expected criterion to be one of \['l1', 'fpgm'\], got 'l3'",
        ),
    ):
        searcher = rte.FrontSearch(FRONT, points_to_evaluate=[given])
        with pytest.raises(ValueError, match=message):
            searcher.set_search_properties("score", "max", space)


def test_results_of_another_network_are_refused() -> None:
    recipe = small_recipe()
    known = pd.DataFrame(
        [{"status": "done", "finished": True, "macs": 100.0, "macs_ratio": 0.5, "params": 10.0,
          "params_ratio": 0.5, "config/pruning_ratio:0": 0.5}]
    )  # fmt: skip
    with pytest.raises(ValueError, match=r"whose unpruned network has .* of one with 200"):
        rte.FrontSearch(recipe, warm_start=known)
