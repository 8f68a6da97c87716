"""The searcher on real HyperOpt: what it suggests, remembers and refuses. No trials are run."""

import itertools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from ray import tune
from ray.tune.search import ConcurrencyLimiter

import raytune_edge as rte
from raytune_edge.dominance import hypervolume
from raytune_edge.space import ratio_grid
from tests.integration.search.made_up import (
    FRONT,
    NAMES,
    begun,
    figures,
    grid,
    point,
    searched,
    small_recipe,
    told,
)


def test_no_network_twice_and_an_end_when_all_are_tried() -> None:
    space = {name: ratio_grid(0.5, 1) for name in NAMES}
    searcher = begun(rte.FrontSearch(FRONT, random_state_seed=0, screening=False), space)
    configs = searched(searcher, 40)
    assert len({point(config) for config in configs}) == len(configs) == 16


def test_the_last_networks_of_a_space_are_found_too() -> None:
    searcher = begun(rte.FrontSearch(FRONT, random_state_seed=0, screening=False), grid(2))
    assert len(searched(searcher, 100)) == 3**4


def test_it_finds_a_larger_front_than_drawing_at_random() -> None:
    reference = np.array([-0.5, 0.8])

    def volume(configs: list[dict[str, Any]]) -> float:
        points = np.array([FRONT.losses(figures(config)) for config in configs])
        return hypervolume(points, reference)

    everything = [
        dict(zip(NAMES, ratios, strict=True))
        for ratios in itertools.product(np.arange(5) / 4, repeat=4)
    ]
    ours, random = [], []
    for seed in range(2):
        led = begun(rte.FrontSearch(FRONT, random_state_seed=seed), grid(4))
        blind = begun(rte.FrontSearch(FRONT, random_state_seed=seed, n_initial_points=99), grid(4))
        ours.append(volume(searched(led, 40)))
        random.append(volume(searched(blind, 40)))
    best = volume(everything)
    assert np.median(ours) > 0.98 * best
    assert np.median(best - np.array(ours)) < 0.5 * np.median(best - np.array(random))


def test_tpe_is_told_ranks_whatever_the_figures_are() -> None:
    searcher = begun(rte.FrontSearch(FRONT, random_state_seed=0, screening=False), grid())
    strange: list[dict[str, Any]] = [
        {"top1": math.nan, "latency_p50_ms": 0.5, "stage": "retrain"},
        {"top1": 0.9, "latency_p50_ms": math.nan, "stage": "retrain"},
        {"top1": 0.9, "latency_p50_ms": math.inf, "stage": "infeasible"},
        {"top1": 0.1, "latency_p50_ms": 0.1, "stage": "collapsed"},
        {"top1": 0.8, "latency_p50_ms": 0.4, "stage": "done"},
        {"top1": math.nan, "latency_p50_ms": math.nan, "stage": "unsupported"},
    ]
    for number, report in enumerate(strange):
        searcher.suggest(str(number))
        searcher.on_trial_complete(str(number), result={**report, "score": 0.0})
    searcher.suggest("next")
    losses = told(searcher)
    assert sorted(losses) == list(range(6))
    assert losses[4] == 0
    assert {losses[3], losses[5], losses[2]} == {3, 4, 5}


def test_a_trial_that_fails_or_tells_nothing_is_no_evidence() -> None:
    searcher = begun(rte.FrontSearch(FRONT, random_state_seed=0), grid())
    searched(searcher, 5)
    failed = searcher.suggest("failed")
    searcher.on_trial_complete("failed", error=True)
    late = searcher.suggest("late")
    searcher.on_trial_complete("late", result=figures(late), error=True)
    searcher.suggest("silent")
    searcher.on_trial_complete("silent", result=None)
    searcher.on_trial_complete("unheard of", result=figures(failed))
    assert len(searcher._memory.evidence) == 5
    assert len(searcher._hpopt_trials.trials) == 5  # TPE doesn't see the others at all
    assert searcher.suggest("next") is not None


def test_it_goes_on_from_a_file_as_if_nothing_had_happened(tmp_path: Path) -> None:
    searcher = begun(rte.FrontSearch(FRONT, random_state_seed=0), grid())
    before = searched(searcher, 15)
    under_way = searcher.suggest("under way")
    searcher.save_to_dir(str(tmp_path), "now")
    record = json.loads((tmp_path / "search_record.json").read_text())
    assert record["checked"] == searcher.record.checked > 0
    assert record["relative_error"] == searcher.record.relative_error
    restored = rte.FrontSearch(FRONT)
    restored.restore_from_dir(str(tmp_path))
    for each in (searcher, restored):
        each.on_trial_complete("under way", result=figures(under_way))
    rest = [[each.suggest(f"next{n}") for n in range(5)] for each in (searcher, restored)]
    assert rest[0] == rest[1]
    assert not {point(config) for config in rest[1]} & {point(config) for config in before}


def test_the_record_is_json_before_anything_is_known_too(tmp_path: Path) -> None:
    searcher = begun(rte.FrontSearch(FRONT), grid())
    searcher.save_to_dir(str(tmp_path), "now")

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    record = json.loads((tmp_path / "search_record.json").read_text(), parse_constant=refuse)
    assert record["relative_error"] is None


def test_suggestions_over_the_budget_stop_once_latency_is_predicted_well() -> None:
    tight = rte.Objective(maximize="top1", latency_budget_ms=0.35)

    def infeasible(screening: bool) -> int:
        searcher = rte.FrontSearch(tight, random_state_seed=0, screening=screening)
        late = searched(begun(searcher, grid()), 40)[20:]
        assert (searcher.record.screened > 0) is screening
        return sum(figures(config)["latency_p50_ms"] > 0.35 * 1.1 for config in late)

    assert infeasible(True) == 0


def test_points_to_evaluate_come_first_and_with_a_limit_on_their_number() -> None:
    first = [dict.fromkeys(NAMES, 0.0), dict.fromkeys(NAMES, 0.5)]
    searcher = rte.FrontSearch(FRONT, points_to_evaluate=first, random_state_seed=0)
    limited = ConcurrencyLimiter(searcher, max_concurrent=2)
    limited.set_search_properties("score", "max", grid())
    assert [limited.suggest("a"), limited.suggest("b")] == first
    assert limited.suggest("c") is None
    limited.on_trial_complete("a", result=figures(first[0]))
    assert limited.suggest("d") not in [None, *first]


def test_other_things_than_ratios_are_searched_too() -> None:
    space = {
        **grid(),
        "lr": tune.loguniform(0.01, 0.1),
        "criterion": tune.choice(["l1", "fpgm"]),
        "epochs": tune.randint(2, 5),
    }
    searcher = begun(rte.FrontSearch(FRONT, random_state_seed=0), space)
    for config in searched(searcher, 15):
        assert 0.01 <= config["lr"] <= 0.1
        assert config["criterion"] in ("l1", "fpgm")
        assert config["epochs"] in (2, 3, 4)


def test_ratios_to_choose_from_are_sized_by_their_value() -> None:
    recipe = small_recipe(at_most={"macs_ratio": 0.5})
    searcher = rte.FrontSearch(recipe, random_state_seed=0, n_initial_points=99)
    space = {name: tune.choice([0.0, 0.5, 0.75]) for name in rte.search_space(recipe)}
    begun(searcher, space)
    for number in range(6):
        config = searcher.suggest(str(number))
        assert set(config.values()) <= {0.0, 0.5, 0.75}
        assert searcher._shapes.size(config).metrics["macs_ratio"] <= 0.5
