"""The searcher on real HyperOpt: what it suggests, remembers and refuses. No trials are run."""

import itertools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from ray import tune
from ray.tune.search import ConcurrencyLimiter
from torch import nn

import raytune_edge as rte
from raytune_edge.dominance import hypervolume
from raytune_edge.errors import UnsupportedModelError
from raytune_edge.records import METRIC_UNITS
from raytune_edge.search.foreknown import StickPredictions
from raytune_edge.space import _steps

FRONT = rte.Objective(maximize="top1", minimize="latency_p50_ms", latency_budget_ms=0.8)
NAMES = [f"pruning_ratio:{name}" for name in "abcd"]


def grid(steps: int = 3) -> dict[str, Any]:
    return {name: _steps(0.25, steps) for name in NAMES}


def figures(config: dict[str, Any]) -> dict[str, Any]:
    """A made-up network: what it measures, as a trial reports it."""
    ratios = np.array([config[name] for name in NAMES])
    ms = 0.2 + 0.8 * float((1 - ratios).prod() ** 0.5)
    top1 = 0.99 - 0.3 * float(np.average(ratios**2, weights=(1, 2, 4, 8)))
    report = {"top1": top1, "latency_p50_ms": ms}
    verdict = FRONT.verdict(report)
    stage = "done" if verdict.feasible else "infeasible"
    return {**report, "score": verdict.score, "stage": stage, "epoch": 1}


def begun(searcher: Any, space: dict[str, Any]) -> Any:
    assert searcher.set_search_properties("score", "max", space)
    return searcher


def searched(searcher: Any, trials: int) -> list[dict[str, Any]]:
    """Run ``trials`` made-up trials, one after the other."""
    configs = []
    for number in range(trials):
        config = searcher.suggest(f"t{number}")
        if config == searcher.FINISHED:
            break
        configs.append(config)
        searcher.on_trial_complete(f"t{number}", result=figures(config))
    return configs


def told(searcher: rte.FrontSearch) -> list[float]:
    return [doc["result"]["loss"] for doc in searcher._hpopt_trials.trials if doc["state"] == 2]


def point(config: dict[str, Any]) -> tuple[float, ...]:
    return tuple(round(config[name], 6) for name in NAMES)


def test_no_network_twice_and_an_end_when_all_are_tried() -> None:
    space = {name: _steps(0.5, 1) for name in NAMES}
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
    restored = rte.FrontSearch(FRONT)
    restored.restore_from_dir(str(tmp_path))
    for each in (searcher, restored):
        each.on_trial_complete("under way", result=figures(under_way))
    rest = [[each.suggest(f"next{n}") for n in range(5)] for each in (searcher, restored)]
    assert rest[0] == rest[1]
    assert not {point(config) for config in rest[1]} & {point(config) for config in before}


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


def earlier(configs: list[dict[str, Any]]) -> pd.DataFrame:
    rows = []
    for number, config in enumerate(configs):
        report = figures(config)
        row = {name: report.get(name, math.nan) for name in METRIC_UNITS}
        row |= {f"config/{name}": value for name, value in config.items()}
        rows.append({**row, "trial_id": str(number), "status": report["stage"], "finished": True})
    return pd.DataFrame(rows)


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


def small_recipe(**limits: Any) -> rte.Recipe:
    def network() -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(1, 32, 3), nn.BatchNorm2d(32), nn.ReLU(), nn.Conv2d(32, 32, 3), nn.ReLU(),
            nn.Conv2d(32, 16, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 4),
        )  # fmt: skip

    def loaders() -> rte.Loaders:
        batches = [(torch.rand(2, 1, 12, 12), torch.tensor([0, 1]))]
        return rte.Loaders(train=batches, validation=batches, test=batches)

    task = rte.Task(model=network, loaders=loaders, input_shape=(1, 1, 12, 12), num_classes=4)
    return rte.Recipe(task=task, objective=rte.Objective(maximize="top1", **limits))


def test_networks_too_large_by_count_cost_no_trial() -> None:
    recipe = small_recipe(at_most={"macs_ratio": 0.4})
    searcher = begun(rte.FrontSearch(recipe, random_state_seed=0), rte.search_space(recipe))
    configs = []
    while (config := searcher.suggest(str(len(configs)))) != searcher.FINISHED:
        configs.append(config)
        searcher.on_trial_complete(
            str(len(configs) - 1), result={"top1": 0.9, "score": 0.9, "stage": "done", "epoch": 1}
        )
    ratios = [searcher._shapes.size(config).metrics["macs_ratio"] for config in configs]
    assert max(ratios) <= 0.4
    assert len(configs) < 4 * 4 * 2
    assert searcher.record.known > 0


def test_results_of_another_network_are_refused() -> None:
    recipe = small_recipe()
    known = pd.DataFrame(
        [{"status": "done", "finished": True, "macs": 100.0, "macs_ratio": 0.5, "params": 10.0,
          "params_ratio": 0.5, "config/pruning_ratio:0": 0.5}]
    )  # fmt: skip
    with pytest.raises(ValueError, match=r"whose unpruned network has .* of one with 200"):
        rte.FrontSearch(recipe, warm_start=known)


def test_ratios_to_choose_from_are_sized_by_their_value() -> None:
    recipe = small_recipe(at_most={"macs_ratio": 0.5})
    searcher = rte.FrontSearch(recipe, random_state_seed=0, n_initial_points=99)
    space = {name: tune.choice([0.0, 0.5, 0.75]) for name in rte.search_space(recipe)}
    begun(searcher, space)
    for number in range(6):
        config = searcher.suggest(str(number))
        assert set(config.values()) <= {0.0, 0.5, 0.75}
        assert searcher._shapes.size(config).metrics["macs_ratio"] <= 0.5


class Small(nn.Module):
    """Two widths; the narrowest first layer comes with a sine, which the stick's compiler lacks."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 32, 3, padding=1)
        self.second = nn.Conv2d(32, 32, 3, padding=1)
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.second(torch.relu(self.first(x))))
        useless = 0 * torch.sin(x) if self.first.out_channels == 8 else 0
        return self.head(x + useless)


@pytest.mark.legacy
def test_the_sticks_compiler_is_asked_before_a_trial() -> None:
    """Of 16 networks, those that it refuses, or predicts over the limit, are never suggested."""
    batches = [(torch.rand(2, 1, 16, 16), torch.tensor([0, 1]))]
    recipe = rte.Recipe(
        task=rte.Task(
            model=Small,
            loaders=lambda: rte.Loaders(train=batches, validation=batches, test=batches),
            input_shape=(1, 1, 16, 16),
            num_classes=4,
        ),
        objective=rte.Objective(maximize="top1", at_most={"predicted_hw_ms": 0.01}),
        precheck="ncs2",
    )
    predicted = StickPredictions(recipe)
    allowed = set()
    for first, second in itertools.product((8, 16, 24, 32), repeat=2):
        kept = {"first": first, "second": second}
        if first == 8:
            with pytest.raises(UnsupportedModelError, match="Sin"):
                predicted(kept)
        elif predicted(kept)["predicted_hw_ms"] <= 0.01:
            allowed.add((first, second))
    assert 0 < len(allowed) < 12, "the limit should divide them"
    searcher = begun(rte.FrontSearch(recipe, n_initial_points=2), rte.search_space(recipe))
    suggested = set()
    for number in range(17):
        config = searcher.suggest(f"t{number}")
        if config == searcher.FINISHED:
            break
        kept = [32 * (1 - config[f"pruning_ratio:{name}"]) for name in ("first", "second")]
        suggested.add((round(kept[0]), round(kept[1])))
        hw = predicted({"first": round(kept[0]), "second": round(kept[1])})
        told = {"top1": 0.9, "score": 0.9, "stage": "done", "epoch": 1, **hw}
        searcher.on_trial_complete(f"t{number}", told)
    assert suggested == allowed
    assert searcher.record.known == 16 - len(allowed)
