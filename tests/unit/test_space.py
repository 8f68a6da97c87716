"""What a sampled config means."""

import subprocess
import sys

import pytest

from raytune_edge.errors import PlanError
from raytune_edge.pruning import Group, Groups, plan
from raytune_edge.space import RESNET56_SCHEDULE, Moves, unpack


def group(name: str, stage: str, block: str, *more: str) -> Group:
    return Group(
        name=name, members=(name, *more), channels=16, multiple=1, residual=False, stage=stage,
        block=block,
    )  # fmt: skip


GROUPS = Groups(
    [
        group("conv1", "stage1", "conv1", "layer1.0.conv2"),
        group("layer1.0.conv1", "stage1", "layer1.0"),
        group("layer2.0.conv1", "stage2", "layer2.0"),
        group("layer2.0.conv2", "stage2", "layer2.0"),
    ]
)


def test_ratios_by_group() -> None:
    moves = unpack({"pruning_ratio:conv1": 0.5, "pruning_ratio:layer2.0.conv2": 0.25}, GROUPS)
    assert moves == Moves(ratios={"conv1": 0.5, "layer2.0.conv2": 0.25})


def test_a_stage_or_a_block_stands_for_its_groups_and_the_narrower_name_holds() -> None:
    config = {
        "pruning_ratio:layer2.0.conv2": 0.7,
        "pruning_ratio:stage1": 0.5,
        "pruning_ratio:stage2": 0.1,
        "pruning_ratio:layer2.0": 0.25,
    }
    assert unpack(config, GROUPS).ratios == {
        "conv1": 0.5,
        "layer1.0.conv1": 0.5,
        "layer2.0.conv1": 0.25,
        "layer2.0.conv2": 0.7,
    }


def test_a_member_stands_for_its_group() -> None:
    assert unpack({"pruning_ratio:layer1.0.conv2": 0.5}, GROUPS).ratios == {"conv1": 0.5}


def test_kinds_for_all_and_by_group() -> None:
    moves = unpack({"kind": "filters", "kind:layer2.0": "channels"}, GROUPS)
    assert moves.kinds == {
        "conv1": "filters",
        "layer1.0.conv1": "filters",
        "layer2.0.conv1": "channels",
        "layer2.0.conv2": "channels",
    }


def test_the_rest_and_what_is_absent() -> None:
    moves = unpack({"epochs": 3.0, "lr": 0.01, "criterion": "l2"}, GROUPS)
    assert (moves.epochs, moves.lr, moves.criterion) == (3, 0.01, "l2")
    assert unpack({}, GROUPS) == Moves(ratios={}, kinds={}, criterion=None, epochs=None, lr=None)


@pytest.mark.parametrize("key", ["ratio", "pruning_ratio", "epoch", "pruning_ratios:conv1"])
def test_unknown_keys_are_refused(key: str) -> None:
    with pytest.raises(PlanError, match=rf"config key '{key}' means nothing: expected"):
        unpack({key: 1}, GROUPS)


@pytest.mark.parametrize("key", ["pruning_ratio:layer9.0", "kind:layer9.0"])
def test_unknown_names_are_refused(key: str) -> None:
    with pytest.raises(PlanError, match=r"'layer9\.0'.*stage1.*layer2\.0.*layer2\.0\.conv2"):
        unpack({key: 0.5}, GROUPS)


def test_the_noise_of_floats_keeps_the_channels() -> None:
    step = 1 / 3
    for steps, kept in ((0, 24), (1, 16), (2, 8)):
        wide = Groups([Group(name="c", members=("c",), channels=24, multiple=1, residual=False)])
        for noise in (-1e-9, 0, 1e-9):
            moves = unpack({"pruning_ratio:c": steps * step + noise}, wide)
            assert plan(wide, moves.ratios).kept["c"] == kept


def test_the_published_schedule_spares_the_borders_of_the_stages() -> None:
    for spared in ("layer2.0.conv1", "layer2.5.conv1", "layer3.0.conv1", "layer3.4.conv1"):
        assert spared not in RESNET56_SCHEDULE
    assert all(name.endswith("conv1") for name in RESNET56_SCHEDULE)


def test_unpacking_needs_neither_torch_nor_ray() -> None:
    code = "import sys, raytune_edge.space; print({'torch', 'ray'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
