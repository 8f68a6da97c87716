"""What limits leave is found, however little it is, and nothing else is tried before."""

import itertools
import logging
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

import raytune_edge as rte
from raytune_edge.errors import UnsupportedModelError
from raytune_edge.search.foreknown import StickPredictions
from raytune_edge.tasks.resnet import cifar_resnet
from tests.integration.search.made_up import begun, grid, small_recipe


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


def resnet20(**limits: Any) -> rte.Recipe:
    """Sixteen million networks; the narrowest has 0.12 of the multiply-accumulates."""
    model = cifar_resnet(20)
    task: Any = SimpleNamespace(baseline=lambda: model, example=lambda: torch.rand(1, 3, 32, 32))
    return rte.Recipe(task=task, objective=rte.Objective(maximize="top1", **limits))


def macs_ratios(recipe: rte.Recipe, trials: int, **settings: Any) -> list[float]:
    searcher = rte.FrontSearch(recipe, random_state_seed=0, **settings)
    begun(searcher, rte.search_space(recipe))
    ratios, configs = [], []
    for number in range(trials):
        config = searcher.suggest(str(number))
        if config == searcher.FINISHED:
            break
        assert config not in configs
        configs.append(config)
        metrics = dict(searcher._shapes.size(config).metrics)
        ratios.append(metrics["macs_ratio"])
        report = {**metrics, "top1": ratios[-1], "score": 0.5, "stage": "done", "epoch": 1}
        searcher.on_trial_complete(str(number), result=report)
    return ratios


def test_limits_that_leave_little_of_a_large_space_are_kept() -> None:
    ratios = macs_ratios(resnet20(at_most={"macs_ratio": 0.16}), trials=30)
    assert len(ratios) == 30
    assert max(ratios) <= 0.16
    assert len(set(ratios)) > 10


def test_so_are_limits_that_only_wide_networks_keep() -> None:
    ratios = macs_ratios(resnet20(at_least={"macs_ratio": 0.93}), trials=15)
    assert len(ratios) == 15
    assert min(ratios) >= 0.93


def test_so_are_limits_from_both_sides() -> None:
    both = resnet20(at_most={"macs_ratio": 0.45}, at_least={"params_ratio": 0.7})
    ratios = macs_ratios(both, trials=5)
    assert len(ratios) == 5
    assert max(ratios) <= 0.45


def test_where_no_network_keeps_them_the_nearest_is_tried_with_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    ratios = macs_ratios(resnet20(at_most={"macs_ratio": 0.1}), trials=5)
    assert len(ratios) == 5
    assert max(ratios) < 0.15
    warnings = [each for each in caplog.records if each.levelno == logging.WARNING]
    assert len(warnings) == 5
    assert "macs_ratio 0.1" in warnings[0].getMessage()


def test_a_small_space_without_a_feasible_network_ends_with_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    recipe = small_recipe(at_most={"macs_ratio": 0.01})
    searcher = begun(rte.FrontSearch(recipe, random_state_seed=0), rte.search_space(recipe))
    assert searcher.suggest("0") == searcher.FINISHED
    assert "every network of the space was tried or is infeasible: macs_ratio" in caplog.text


def test_what_is_passed_over_is_no_random_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """Far more networks are passed over than tried; all the same the first eight are random."""
    searcher = rte.FrontSearch(resnet20(at_most={"macs_ratio": 0.3}), random_state_seed=0)
    begun(searcher, rte.search_space(resnet20()))
    asked = []
    monkeypatch.setattr(
        searcher, "algo", lambda *arguments: asked.append(number) or algorithm(*arguments)
    )
    import hyperopt

    algorithm = hyperopt.rand.suggest
    for number in range(10):
        config = searcher.suggest(str(number))
        report = {**searcher._shapes.size(config).metrics, "top1": 0.9, "score": 0.9}
        searcher.on_trial_complete(str(number), result={**report, "stage": "done", "epoch": 1})
    assert set(asked) == {8, 9}
    assert len(searcher._ledger._passed) > 10


def test_a_prediction_alone_never_ends_a_search(caplog: pytest.LogCaptureFixture) -> None:
    """Every network left is predicted to be too slow; the nearest is tried, and they were wrong."""
    tight = rte.Objective(maximize="top1", latency_budget_ms=0.35)
    searcher = begun(rte.FrontSearch(tight, random_state_seed=0), grid())
    slow = {"top1": 0.9, "score": -0.1, "stage": "infeasible", "epoch": 0}
    for number in range(60):
        config = searcher.suggest(str(number))
        ms = 1.0 - 0.1 * sum(config.values())  # 0.7 at least
        searcher.on_trial_complete(str(number), result={**slow, "latency_p50_ms": ms})
    assert searcher.record.on
    assert "trying one that misses least, predicted: latency_p50_ms 0.7" in caplog.text
    passed_over = len(searcher._ledger._passed)
    assert passed_over > 0
    for number in range(60, 80):
        searcher.suggest(str(number))
        searcher.on_trial_complete(str(number), result={**slow, "latency_p50_ms": 0.01**number})
        if not searcher.record.on:
            break
    searcher.suggest("next")  # what was predicted before isn't held against anyone
    assert searcher._ledger._predicted == {}
    assert len(searcher._memory.evidence) == number + 1


def test_stored_figures_are_looked_up_before_a_trial() -> None:
    """The store knows every network with a narrow first layer, and that they are too slow."""
    recipe = small_recipe(latency_budget_ms=1.0)
    looked = []

    def stored(kept: dict[str, int]) -> dict[str, float]:
        looked.append(dict(kept))
        return {"latency_p50_ms": 3.0 - kept["3"] / 32} if kept["0"] == 8 else {}

    searcher = rte.FrontSearch(
        recipe,
        stored=stored,
        random_state_seed=0,
        n_initial_points=99,  # type: ignore[arg-type]
    )
    begun(searcher, rte.search_space(recipe))
    for number in range(40):
        config = searcher.suggest(str(number))
        if config == searcher.FINISHED:
            break
        assert config["pruning_ratio:0"] < 0.7
        report = {"top1": 0.9, "score": 0.9, "stage": "done", "epoch": 1, "latency_p50_ms": 0.5}
        searcher.on_trial_complete(str(number), result=report)
    assert number == 3 * 4 * 2
    assert searcher.record.known == sum(kept["0"] == 8 for kept in looked) == 4 * 2
    slow = [each for each in searcher._memory.evidence.values() if each.violation > 0]
    assert all(each.metrics["latency_p50_ms"] > 1.9 for each in slow)  # they help to predict


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
    task = rte.Task(
        model=Small,
        loaders=lambda: rte.Loaders(train=batches, validation=batches, test=batches),
        input_shape=(1, 1, 16, 16),
        num_classes=4,
    )
    predicted = StickPredictions(rte.Recipe(task=task, precheck="ncs2"))
    figures = {}
    for first, second in itertools.product((8, 16, 24, 32), repeat=2):
        kept = {"first": first, "second": second}
        if first == 8:
            with pytest.raises(UnsupportedModelError, match="Sin"):
                predicted(kept)
        else:
            figures[first, second] = predicted(kept)["predicted_hw_ms"]
    limit = sorted(figures.values())[5]
    allowed = {widths for widths, predicted_ms in figures.items() if predicted_ms <= limit}
    assert len(allowed) < 12, "the limit should divide them"
    objective = rte.Objective(maximize="top1", at_most={"predicted_hw_ms": limit})
    recipe = rte.Recipe(task=task, objective=objective, precheck="ncs2")
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
