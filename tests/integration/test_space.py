"""The search space with the real searchers: what they may suggest, and what it means."""

import dataclasses
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from ray import tune
from ray.tune.search.basic_variant import BasicVariantGenerator
from ray.tune.search.hyperopt import HyperOptSearch
from torch import nn

from raytune_edge.config import Recipe
from raytune_edge.counting import count
from raytune_edge.errors import PlanError
from raytune_edge.pruning import Groups, Sensitivity, SensitivityRow, plan, prunable_groups, prune
from raytune_edge.space import (
    RESNET56_SCHEDULE,
    schedule_point,
    search_space,
    uniform_point,
    unpack,
    unpruned_point,
)
from raytune_edge.tasks.resnet import cifar_resnet

IMAGE = torch.rand(1, 3, 32, 32)


def recipe_for(model: nn.Module, **settings: Any) -> Recipe:
    task = SimpleNamespace(baseline=lambda: model, example=lambda: IMAGE)
    return Recipe(task=task, **settings)  # type: ignore[arg-type]


@pytest.fixture
def groups() -> Groups:
    return prunable_groups(cifar_resnet(20), IMAGE)


@pytest.fixture
def recipe() -> Recipe:
    return recipe_for(cifar_resnet(20))


def searcher(space: dict[str, Any], **options: Any) -> HyperOptSearch:
    search = HyperOptSearch(random_state_seed=0, **options)
    assert search.set_search_properties("score", "max", space)
    return search


def test_one_dimension_for_each_group(recipe: Recipe, groups: Groups) -> None:
    assert list(search_space(recipe)) == [f"pruning_ratio:{group.name}" for group in groups]


def test_by_stage_and_by_block(recipe: Recipe) -> None:
    stages = search_space(recipe, by="stage")
    assert list(stages) == [f"pruning_ratio:stage{number}" for number in (1, 2, 3)]
    blocks = search_space(recipe, by="block")
    assert len(blocks) == 10
    assert "pruning_ratio:layer3.2" in blocks


def test_everything_else_is_optional(recipe: Recipe) -> None:
    space = search_space(
        recipe, by="stage", epochs=(2, 5), lr=(0.01, 0.1), criteria=["l1", "fpgm"], kinds="one"
    )
    assert list(space)[3:] == ["epochs", "lr", "criterion", "kind"]
    assert list(search_space(recipe, by="stage", kinds="each"))[3:] == [
        f"kind:stage{number}" for number in (1, 2, 3)
    ]


@pytest.mark.parametrize("wrong", [{"by": "layer"}, {"kinds": "some"}])
def test_unknown_choices_are_refused(recipe: Recipe, wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"expected one of \(.*got"):
        search_space(recipe, **wrong)


def test_groups_that_cannot_be_pruned_have_no_dimension() -> None:
    space = search_space(recipe_for(cifar_resnet(20), min_keep=16))
    assert not [key for key in space if "layer1" in key or key.endswith(":conv1")]
    with pytest.raises(PlanError, match=r"nothing to search.*min_keep=64"):
        search_space(recipe_for(cifar_resnet(20), min_keep=64))


@pytest.mark.parametrize("by", ["group", "block", "stage"])
def test_the_unpruned_point_is_valid_and_prunes_nothing(
    recipe: Recipe, groups: Groups, by: Any
) -> None:
    space = search_space(recipe, by=by, epochs=(2, 5), lr=(0.01, 0.1), kinds="each")
    point = unpruned_point(space)
    assert all(domain.is_valid(point[key]) for key, domain in space.items())
    assert plan(groups, unpack(point, groups).ratios).keeps_all
    assert point["epochs"] == 5


def test_a_uniform_point_is_valid_whatever_else_is_searched(recipe: Recipe, groups: Groups) -> None:
    space = search_space(recipe, epochs=(2, 5), lr=(0.01, 0.1), criteria=["l1", "l2"])
    space["pruning_ratio:conv1"] = tune.choice([0.0, 0.25])
    point = uniform_point(space, 0.5)
    assert all(domain.is_valid(point[key]) for key, domain in space.items())
    assert point["pruning_ratio:layer2.0.conv1"] == 0.5
    assert point["pruning_ratio:conv1"] == 0.25  # the nearest there is
    assert (point["epochs"], point["criterion"]) == (5, "l1")
    assert plan(groups, unpack(uniform_point(space, 0.9), groups).ratios).kept[
        "layer3.0.conv1"
    ] == 8  # fmt: skip
    assert uniform_point(space, 0.0) == unpruned_point(space)


def test_hyperopt_begins_with_the_points_it_is_given(recipe: Recipe, groups: Groups) -> None:
    space = search_space(recipe, epochs=(2, 5), lr=(0.01, 0.1), criteria=["l1"], kinds="one")
    points = [unpruned_point(space), schedule_point(space, groups, {"stage1": 0.5})]
    search = searcher(space, points_to_evaluate=points)
    assert [search.suggest(str(trial)) for trial in range(2)] == points


def test_hyperopt_draws_every_network_of_the_grid_alike(recipe: Recipe, groups: Groups) -> None:
    search = searcher(search_space(recipe), n_initial_points=400)
    drawn = Counter()
    for trial in range(400):
        ratios = unpack(search.suggest(str(trial)), groups).ratios
        drawn[plan(groups, ratios).kept["layer2.0.conv1"]] += 1
        search.on_trial_complete(str(trial), {"score": 0.0})
    assert sorted(drawn) == [8, 16, 24, 32]
    assert all(70 <= times <= 130 for times in drawn.values())  # 100 expected, sigma is 9


def test_the_widths_are_in_order_for_tpe(recipe: Recipe) -> None:
    converted = HyperOptSearch.convert_search_space(search_space(recipe))
    assert all("quniform" in str(each) for each in converted.values())


def test_random_search_stays_on_the_grid(recipe: Recipe, groups: Groups) -> None:
    domain = search_space(recipe, by="stage")["pruning_ratio:stage2"]
    drawn = {abs(round(domain.sample(), 9)) for _ in range(200)}
    assert sorted(drawn) == [0, 0.25, 0.5, 0.75]


def test_stage_ratios_reach_every_group_of_the_stage(recipe: Recipe, groups: Groups) -> None:
    kept = plan(groups, unpack({"pruning_ratio:stage3": 0.75}, groups).ratios).kept
    assert {kept[group.name] for group in groups if group.stage == "stage3"} == {16}
    assert {kept[group.name] for group in groups if group.stage == "stage2"} == {32}


def row(group: str, level: float, top1: float, macs_ratio: float = 0.9) -> SensitivityRow:
    return SensitivityRow(
        network="n", group=group, level=level, channels=16, kept=8, macs_ratio=macs_ratio,
        top1_before=0.1, top5_before=0.1, loss_before=3.0, top1=top1, top5=1.0, loss=0.1,
    )  # fmt: skip


@pytest.fixture
def found(groups: Groups) -> Sensitivity:
    """All groups bear 0.75 but layer3.0.conv2, which bears 0.3; layer2.1.conv1 doesn't pay."""
    rows = [row(group.name, level, 0.9) for group in groups for level in (0.3, 0.75)]
    for place, each in enumerate(rows):
        if each.group == "layer3.0.conv2" and each.level > 0.3:
            rows[place] = dataclasses.replace(each, top1=0.2)
        if each.group == "layer2.1.conv1":
            rows[place] = dataclasses.replace(each, macs_ratio=0.999)
    return Sensitivity(baseline=row("(unpruned)", 0, 0.95), rows=tuple(rows))


def highest(domain: Any) -> float:
    return max(round(domain.sample(), 6) for _ in range(200))


def test_sensitivity_bounds_dimensions_and_leaves_out_what_does_not_pay(
    recipe: Recipe, found: Sensitivity
) -> None:
    space = search_space(recipe, sensitivity=found)
    assert "pruning_ratio:layer2.1.conv1" not in space
    assert len(space) == 11
    assert highest(space["pruning_ratio:layer3.0.conv2"]) == 0.25
    assert highest(space["pruning_ratio:layer3.0.conv1"]) == 0.75


def test_a_stage_bears_what_its_weakest_group_bears(recipe: Recipe, found: Sensitivity) -> None:
    space = search_space(recipe, by="stage", sensitivity=found)
    assert highest(space["pruning_ratio:stage3"]) == 0.25
    assert highest(space["pruning_ratio:stage2"]) == 0.75


def test_the_published_schedule_gives_the_published_size() -> None:
    model = cifar_resnet(56)
    groups = prunable_groups(model, IMAGE)
    made = plan(groups, RESNET56_SCHEDULE, round_to=1, min_keep=1)
    assert [made.kept[f"layer{n}.{b}.conv1"] for n, b in ((1, 0), (2, 1), (3, 1), (3, 2))] == [
        5, 13, 52, 39,
    ]  # fmt: skip
    assert count(model, IMAGE).macs == 125_747_840
    assert count(prune(model, IMAGE, made), IMAGE).macs == 67_797_632


def test_the_published_schedule_is_a_point_of_the_space() -> None:
    model = cifar_resnet(56)
    space = search_space(recipe_for(model))
    groups = prunable_groups(model, IMAGE)
    point = schedule_point(space, groups, RESNET56_SCHEDULE)
    assert all(space[key].is_valid(point[key]) for key in space)
    kept = plan(groups, unpack(point, groups).ratios).kept
    assert (kept["layer1.0.conv1"], kept["layer2.1.conv1"], kept["layer3.2.conv1"]) == (8, 16, 40)
    assert kept["layer2.0.conv1"] == 32


def test_a_schedule_is_put_on_the_grid(recipe: Recipe, groups: Groups) -> None:
    space = search_space(recipe, by="stage")
    point = schedule_point(space, groups, {"stage1": 0.99, "stage2": 0.3, "layer3.0.conv2": 0.9})
    assert point == {
        "pruning_ratio:stage1": 0.5,  # the most there is
        "pruning_ratio:stage2": 0.25,
        "pruning_ratio:stage3": 0.25,  # the mean over its four groups is 0.225
    }


@pytest.mark.parametrize("make", [HyperOptSearch, BasicVariantGenerator])
def test_tune_runs_the_space(
    make: Callable[..., Any], recipe: Recipe, tmp_path: Path, ray_cluster: None
) -> None:
    space = search_space(recipe, by="stage", epochs=(2, 3))

    def trial(config: dict[str, Any]) -> None:
        tune.report({"score": -config["pruning_ratio:stage1"]})

    tuner = tune.Tuner(
        trial,
        param_space=space,
        tune_config=tune.TuneConfig(
            metric="score",
            mode="max",
            num_samples=3,
            reuse_actors=True,
            search_alg=make(points_to_evaluate=[unpruned_point(space)]),
        ),
        run_config=tune.RunConfig(storage_path=str(tmp_path), verbose=0),
    )
    results = tuner.fit()
    assert results.num_errors == 0
    assert unpruned_point(space) in [result.config for result in results]
    assert "config/pruning_ratio:stage1" in results.get_dataframe()
