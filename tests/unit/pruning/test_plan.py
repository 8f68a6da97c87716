"""Ratios → kept channels."""

import json
import math

import pytest

from raytune_edge.errors import PlanError
from raytune_edge.pruning import Group, Groups, Plan, plan, ratio_steps


def make_group(name: str, channels: int, *more: str, multiple: int = 1) -> Group:
    return Group(
        name=name, members=(name, *more), channels=channels, multiple=multiple, residual=False
    )


GROUPS = Groups([make_group("a", 64, "b"), make_group("c", 20), make_group("d", 96, multiple=6)])


@pytest.mark.parametrize(
    ("channels", "ratio", "round_to", "min_keep", "kept"),
    [
        (64, 0.0, 8, 8, 64),
        (64, 0.5, 8, 8, 32),
        (64, 0.49, 8, 8, 40),  # never fewer than asked for
        (64, 0.30000000000000004, 10, 1, 50),
        (10, 0.30000000000000004, 1, 1, 7),  # not 8: that is a float's error, no channel
        (10, 0.3 - 1e-9, 1, 1, 7),
        (64, 0.999, 8, 8, 8),
        (64, 0.999, 1, 1, 1),
        (64, 0.999, 8, 20, 24),
        (20, 0.1, 8, 8, 20),  # above what is there
        (20, 0.2, 8, 8, 16),
        (6, 0.5, 8, 8, 6),
        (6, 0.5, 1, 1, 3),
    ],
)
def test_kept_channels(
    channels: int, ratio: float, round_to: int, min_keep: int, kept: int
) -> None:
    groups = Groups([make_group("a", channels)])
    made = plan(groups, {"a": ratio}, round_to=round_to, min_keep=min_keep)
    assert made.kept == {"a": kept}


def test_kept_channels_are_a_multiple_of_what_grouped_convolutions_need() -> None:
    assert plan(GROUPS, {"d": 0.5}, round_to=8).kept["d"] == 48
    assert plan(GROUPS, {"d": 0.4}, round_to=8).kept["d"] == 72
    assert plan(GROUPS, {"d": 0.9}, round_to=1, min_keep=1).kept["d"] == 12


def test_groups_that_are_not_named_keep_all() -> None:
    assert plan(GROUPS, {"c": 0.5}).kept == {"a": 64, "c": 16, "d": 96}
    assert plan(GROUPS, {}).keeps_all
    assert not plan(GROUPS, {"c": 0.5}).keeps_all


def test_a_member_stands_for_its_group() -> None:
    assert plan(GROUPS, {"b": 0.5}).kept["a"] == 32
    assert plan(GROUPS, {"b": 0.5, "a": 0.5}).kept["a"] == 32


def test_contradictory_ratios_in_one_group_name_both() -> None:
    with pytest.raises(PlanError, match=r"a and b are in one group \(a\).*got 0\.5 and 0\.25"):
        plan(GROUPS, {"a": 0.5, "b": 0.25})


@pytest.mark.parametrize("ratio", [1, 1.5, -0.1, math.nan, math.inf])
def test_ratios_out_of_range_are_refused(ratio: float) -> None:
    with pytest.raises(PlanError, match=r"pruning ratio of c: expected 0 <= ratio < 1, got"):
        plan(GROUPS, {"c": ratio})


def test_an_unknown_group_is_refused() -> None:
    with pytest.raises(PlanError, match="no group is called 'e'; there are a, c, d"):
        plan(GROUPS, {"e": 0.5})


def test_asked_and_reached_are_logged_and_kept(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        made = plan(GROUPS, {"c": 0.5})
    assert made.asked["c"] == 0.5
    assert made.reached["c"] == pytest.approx(0.2)
    assert "c: asked to remove 0.500 of 20 channels, removes 0.200 and keeps 16" in caplog.text


def test_a_plan_survives_json() -> None:
    made = plan(GROUPS, {"a": 0.5, "c": 0.2})
    assert Plan.from_dict(json.loads(json.dumps(made.to_dict()))) == made


def test_a_plan_that_is_not_whole_is_refused() -> None:
    with pytest.raises(PlanError, match="'asked' is missing"):
        Plan.from_dict({"kept": {}, "channels": {}})


def test_a_plan_prints_as_a_table() -> None:
    lines = str(plan(GROUPS, {"c": 0.5})).splitlines()
    assert lines[2].split() == ["c", "20", "16", "0.500", "0.200"]


@pytest.mark.parametrize("round_to", [1, 3, 8])
@pytest.mark.parametrize("min_keep", [1, 8, 20])
@pytest.mark.parametrize("multiple", [1, 4])
def test_the_grid_has_each_network_once(round_to: int, min_keep: int, multiple: int) -> None:
    for channels in range(multiple, 80, multiple):
        group = make_group("a", channels, multiple=multiple)
        groups = Groups([group])
        options = {"round_to": round_to, "min_keep": min_keep}
        step, count = ratio_steps(group, round_to, min_keep)
        on_grid = [plan(groups, {"a": k * step}, **options).kept["a"] for k in range(count + 1)]
        anywhere = {plan(groups, {"a": k / 997}, **options).kept["a"] for k in range(997)}
        assert on_grid == sorted(anywhere, reverse=True)
