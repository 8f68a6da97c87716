"""Which channels belong together, and what the groups print."""

import pytest
import torch
import torchvision
from torch import nn

from raytune_edge.errors import PlanError, PruningError
from raytune_edge.pruning import Groups, prunable_groups
from raytune_edge.tasks.resnet import cifar_resnet


@pytest.fixture
def groups(network: nn.Module, example: torch.Tensor) -> Groups:
    return prunable_groups(network, example)


def test_groups_are_found_in_the_models_order(groups: Groups) -> None:
    assert {group.name: group.members for group in groups} == {
        "stem.0": ("stem.0", "residual.1"),
        "residual.0.0": ("residual.0.0",),
        "inverted.0.0": ("inverted.0.0", "inverted.1.0", "gate.2"),
        "gate.0": ("gate.0",),
        "project.0": ("project.0",),
        "grouped.0": ("grouped.0",),
        "left.0": ("left.0",),
        "right.0": ("right.0",),
        "after.0": ("after.0",),
    }
    assert [group.channels for group in groups] == [16, 24, 32, 8, 32, 32, 8, 16, 16]


def test_only_the_residual_sum_is_residual(groups: Groups) -> None:
    assert [group.name for group in groups if group.residual] == ["stem.0"]


def test_adding_a_constant_is_no_residual_sum(
    untraceable: nn.Module, example: torch.Tensor
) -> None:
    assert [group.residual for group in prunable_groups(untraceable, example)] == [False, False]


def test_grouped_convolutions_need_multiples_on_both_sides(groups: Groups) -> None:
    assert {group.name: group.multiple for group in groups if group.multiple > 1} == {
        "project.0": 4,
        "grouped.0": 4,
    }


def test_output_layers_are_never_prunable() -> None:
    model = torchvision.models.squeezenet1_1(num_classes=10).eval()
    names = [group.name for group in prunable_groups(model, torch.rand(1, 3, 64, 64))]
    assert "features.0" in names
    assert "classifier.1" not in names


def test_a_convolution_that_is_the_output_is_not_prunable(example: torch.Tensor) -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3))
    assert [group.name for group in prunable_groups(model, example)] == ["0"]


@pytest.mark.parametrize(("depth", "count"), [(20, 12), (56, 30)])
def test_cifar_resnets_have_a_group_for_each_block_and_stage(depth: int, count: int) -> None:
    groups = prunable_groups(cifar_resnet(depth), torch.rand(1, 3, 32, 32))
    assert len(groups) == count == (depth - 2) // 2 + 3
    assert sum(len(group.members) for group in groups) == depth - 1 + 2
    assert [group.channels for group in groups if group.residual] == [16, 32, 64]


def test_stages_are_resolutions_and_blocks_are_numbered_modules() -> None:
    groups = prunable_groups(cifar_resnet(20), torch.rand(1, 3, 32, 32))
    stages = {group.name: group.stage for group in groups}
    assert stages["conv1"] == stages["layer1.2.conv1"] == "stage1"
    assert stages["layer2.0.conv1"] == "stage2"
    assert stages["layer3.2.conv1"] == "stage3"
    assert groups.named("layer2.0.shortcut.0").block == "layer2.0"


def test_the_inner_layer_of_a_gate_stays_in_its_stage(groups: Groups) -> None:
    assert groups.named("gate.0").stage == groups.named("inverted.0.0").stage


def test_the_model_is_left_untouched(example: torch.Tensor, network: nn.Module) -> None:
    network.train()
    network.stem.requires_grad_(False)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    prunable_groups(network, example)
    assert network.training
    assert not network.stem[0].weight.requires_grad
    assert all(torch.equal(before[name], each) for name, each in network.state_dict().items())


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_groups_are_found_where_gradients_are_off(
    context: type, network: nn.Module, example: torch.Tensor
) -> None:
    with context():
        assert len(prunable_groups(network, example.clone())) == 9


def test_groups_print_as_a_table(groups: Groups) -> None:
    lines = str(groups).splitlines()
    assert lines[0].split()[:4] == ["group", "channels", "multiple", "residual"]
    assert " ".join(lines[1].split()) == "stem.0 16 1 yes stage1 stem.0 stem.0, residual.1"
    assert len(lines) == 1 + len(groups)


def test_a_member_stands_for_its_group(groups: Groups) -> None:
    assert groups.named("gate.2").name == "inverted.0.0"


def test_an_unknown_name_is_told_with_near_ones_and_all(groups: Groups) -> None:
    with pytest.raises(PlanError, match=r"'lefd\.0'; did you mean 'left\.0'") as told:
        groups.named("lefd.0")
    assert all(group.name in str(told.value) for group in groups)


class Shuffled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x)
        x = x.view(1, 2, 4, 8, 8).transpose(1, 2).reshape(1, 8, 8, 8)
        return self.second(x).mean((2, 3))


def test_a_channel_shuffle_is_refused_with_its_line(example: torch.Tensor) -> None:
    with pytest.raises(PruningError, match=r"shuffling channels.*test_graph\.py:\d+: x = x\.view"):
        prunable_groups(Shuffled(), example)


def test_layers_that_do_not_run_are_told(
    example: torch.Tensor, caplog: pytest.LogCaptureFixture
) -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3), nn.Flatten(), nn.Linear(128, 2))
    model.unused = nn.Conv2d(8, 8, 3)
    model.forward = lambda x: model[3](model[2](model[1](model[0](x))))
    prunable_groups(model, example)
    assert "unused" in caplog.text
