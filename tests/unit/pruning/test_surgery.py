"""Smaller networks: the same from both backends, and equal to the original with channels zeroed."""

import copy
import logging
from collections.abc import Callable

import pytest
import torch
from torch import nn

from raytune_edge.counting import count
from raytune_edge.errors import PlanError, PruningError, UntraceableModelError
from raytune_edge.pruning import (
    Plan,
    Pruner,
    plan,
    prunable_groups,
    prune,
    prune_iteratively,
    surgery,
)
from raytune_edge.pruning.torch_pruning import remove_channels

BACKENDS = ["nni", "torch-pruning"]
RATIOS = {"stem.0": 0.5, "residual.0.0": 0.3, "inverted.0.0": 0.5, "gate.0": 0.5, "grouped.0": 0.5}
RATIOS |= {"project.0": 0.25, "left.0": 0.5, "right.0": 0.25, "after.0": 0.5}
NORMS = {
    "stem.0": ["stem.1"],
    "residual.0.0": ["residual.0.1"],
    "inverted.0.0": ["inverted.0.1", "inverted.1.1"],
    **{f"{name}.0": [f"{name}.1"] for name in ("project", "grouped", "left", "right", "after")},
}


@pytest.fixture
def half(network: nn.Module, example: torch.Tensor) -> Plan:
    return plan(prunable_groups(network, example), RATIOS, round_to=1, min_keep=1)


def zeroed(
    model: nn.Module, example: torch.Tensor, made: Plan, norms: dict[str, list[str]]
) -> nn.Module:
    """``model`` with the removed channels zeroed, in the convolutions and in their BatchNorms."""
    model = copy.deepcopy(model)
    with torch.no_grad():
        for group, channels in Pruner(model, example).choose(made).items():
            for layer in (*group.members, *norms.get(group.name, [])):
                for parameter in model.get_submodule(layer).parameters():
                    parameter[list(channels)] = 0
    return model


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_pruned_network_is_the_one_with_these_channels_zeroed(
    network: nn.Module, example: torch.Tensor, half: Plan, backend: str
) -> None:
    pruned = prune(network, example, half, backend=backend)
    expected = zeroed(network, example, half, NORMS)(example)
    torch.testing.assert_close(pruned(example), expected, rtol=1e-5, atol=1e-5)
    assert not torch.allclose(pruned(example), network(example), rtol=1e-3)


@pytest.mark.parametrize("backend", BACKENDS)
def test_widths_are_those_of_the_plan(
    network: nn.Module, example: torch.Tensor, half: Plan, backend: str
) -> None:
    pruned = prune(network, example, half, backend=backend)
    assert half.kept == {
        "stem.0": 8, "residual.0.0": 17, "inverted.0.0": 16, "gate.0": 4, "project.0": 24,
        "grouped.0": 16, "left.0": 4, "right.0": 12, "after.0": 8,
    }  # fmt: skip
    for group in prunable_groups(network, example):
        for member in group.members:
            assert pruned.get_submodule(member).out_channels == half.kept[group.name]
    assert pruned.grouped[0].weight.shape == (16, 6, 3, 3)
    assert pruned.head.in_features == 8 * 4


def test_both_backends_give_one_network(
    network: nn.Module, example: torch.Tensor, half: Plan
) -> None:
    one, other = (prune(network, example, half, backend=backend) for backend in BACKENDS)
    assert count(one, example) == count(other, example)
    assert one.state_dict().keys() == other.state_dict().keys() == network.state_dict().keys()
    for name, tensor in one.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[name]), name


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_model_is_left_untouched_and_its_modes_are_kept(
    network: nn.Module, example: torch.Tensor, half: Plan, backend: str
) -> None:
    network.train()
    network.stem.eval()
    network.left.requires_grad_(False)
    before = copy.deepcopy(network.state_dict())
    pruned = prune(network, example, half, backend=backend)
    for each in (network, pruned):
        assert each.training
        assert each.project[1].training
        assert not each.stem[1].training
        assert not each.left[0].weight.requires_grad
        assert each.right[0].weight.requires_grad
        assert each.right[0].weight.grad is None
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    pruned(example.expand(2, -1, -1, -1)).sum().backward()


@pytest.mark.parametrize("backend", BACKENDS)
def test_pruning_is_silent_and_leaves_random_numbers_alone(
    network: nn.Module,
    example: torch.Tensor,
    half: Plan,
    backend: str,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("DEBUG")
    caplog.set_level("DEBUG", "nni")
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    prune(network, example, half, backend=backend)
    assert torch.equal(torch.rand(2), expected)
    assert capfd.readouterr() == ("", "")
    assert not caplog.records
    assert logging.getLogger("nni").level == logging.DEBUG


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_pruning_works_where_gradients_are_off(
    network: nn.Module, example: torch.Tensor, half: Plan, backend: str, context: type
) -> None:
    with context():
        pruned = prune(network, example, half, backend=backend)
    pruned(example).sum().backward()


@pytest.mark.parametrize("backend", BACKENDS)
def test_dead_layers_stay_where_the_plan_keeps_them(
    network: nn.Module, example: torch.Tensor, backend: str
) -> None:
    with torch.no_grad():
        network.right[1].bias.fill_(-100)  # its ReLU never opens
        network.left[1].weight.zero_()
        network.grouped[0].weight.fill_(1e-9)
    made = plan(prunable_groups(network, example), {"stem.0": 0.5})
    pruned = prune(network, example, made, backend=backend)
    assert pruned.right[0].out_channels == 16
    assert pruned.left[0].out_channels == 8
    assert pruned.grouped[0].out_channels == 32


def test_pruning_nothing_is_a_plain_copy_without_a_backend(
    network: nn.Module, example: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(surgery, "import_module", None)
    copied = prune(network, example, plan(prunable_groups(network, example), {}))
    assert copied is not network
    assert torch.equal(copied(example), network(example))


def test_an_untraceable_model_is_told_by_its_line(
    untraceable: nn.Module, example: torch.Tensor
) -> None:
    made = plan(prunable_groups(untraceable, example), {"first.0": 0.5})
    line = r"conftest\.py:\d+: if x\.mean\(\) > -1:"
    with pytest.raises(UntraceableModelError, match=line + r".*backend='torch-pruning'"):
        prune(untraceable, example, made)


def test_torch_pruning_prunes_an_untraceable_model(
    untraceable: nn.Module, example: torch.Tensor
) -> None:
    made = plan(prunable_groups(untraceable, example), {"first.0": 0.5})
    pruned = prune(untraceable, example, made, backend="torch-pruning")
    expected = zeroed(untraceable, example, made, {"first.0": ["first.1"]})(example)
    assert pruned.second[0].in_channels == 8
    torch.testing.assert_close(pruned(example), expected, rtol=1e-5, atol=1e-5)


def test_a_plan_for_another_model_is_refused(network: nn.Module, example: torch.Tensor) -> None:
    other = Plan(kept={"conv1": 8}, channels={"conv1": 16}, asked={"conv1": 0.5})
    with pytest.raises(PlanError, match=r"no group is called 'conv1'.*stem\.0"):
        prune(network, example, other)


@pytest.mark.parametrize(("name", "kept"), [("stem.0", 17), ("stem.0", 0), ("grouped.0", 30)])
def test_a_plan_that_cannot_be_is_refused(
    network: nn.Module, example: torch.Tensor, name: str, kept: int
) -> None:
    wrong = Plan(kept={name: kept}, channels={name: 99}, asked={name: 0.5})
    with pytest.raises(PlanError, match=rf"keeps {kept} channels of {name}: expected a multiple"):
        prune(network, example, wrong)


def test_an_unknown_backend_is_refused(
    network: nn.Module, example: torch.Tensor, half: Plan
) -> None:
    with pytest.raises(ValueError, match=r"expected one of \('nni', 'torch-pruning'\), got 'nnl'"):
        prune(network, example, half, backend="nnl")


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (lambda model, *_: model, "stem.0 should have 8 channels after pruning, it has 16"),
        (lambda *given: swap_two(remove_channels(*given)), "they differ by"),
        (lambda *given: break_head(remove_channels(*given)), "doesn't run"),
    ],
)
def test_a_backend_that_does_wrong_is_caught(
    network: nn.Module,
    example: torch.Tensor,
    half: Plan,
    monkeypatch: pytest.MonkeyPatch,
    harm: Callable[..., nn.Module],
    told: str,
) -> None:
    monkeypatch.setattr("raytune_edge.pruning.torch_pruning.remove_channels", harm)
    with pytest.raises(PruningError, match=told):
        prune(network, example, half, backend="torch-pruning")


class TwoOutputs(nn.Module):
    """Returns what it also goes on with."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 16, 3), nn.Conv2d(16, 4, 3)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        features = self.first(x)
        return {"features": features, "out": self.second(features)}


def test_an_output_that_would_change_its_shape_is_caught(example: torch.Tensor) -> None:
    model = TwoOutputs()
    made = plan(prunable_groups(model, example), {"first": 0.5})
    with pytest.raises(
        PruningError, match=r"returns \[\(1, 8, 6, 6\), .*expected \[\(1, 16, 6, 6\)"
    ):
        prune(model, example, made, backend="torch-pruning")


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_group_norm_is_pruned_by_whole_groups(example: torch.Tensor, backend: str) -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 32, 3), nn.GroupNorm(4, 32), nn.ReLU(), nn.Flatten(), nn.Linear(32 * 36, 4)
    )
    groups = prunable_groups(model, example)
    assert groups[0].multiple == 4
    pruned = prune(model, example, plan(groups, {"0": 0.7}, round_to=1), backend=backend)
    assert pruned[1].num_channels == 12
    assert pruned[1].num_groups == 4


def swap_two(model: nn.Module) -> nn.Module:
    """A consumer that reads two channels in the wrong order: all widths are right."""
    weight = model.after[0].weight.data
    weight[:, [0, 1]] = weight[:, [1, 0]].clone()
    return model


def break_head(model: nn.Module) -> nn.Module:
    model.head = nn.Linear(7, 10)
    return model


def test_iterative_pruning_arrives_in_steps(network: nn.Module, example: torch.Tensor) -> None:
    groups = prunable_groups(network, example)
    made = plan(groups, {"stem.0": 0.75, "grouped.0": 0.75}, round_to=1, min_keep=1)
    widths: list[tuple[int, int]] = []

    def fine_tune(model: nn.Module) -> None:
        widths.append((model.stem[0].out_channels, model.grouped[0].out_channels))
        with torch.no_grad():
            model.stem[0].weight[-1] = 100

    pruned = prune_iteratively(network, example, made, fine_tune, steps=3, backend="torch-pruning")
    assert widths == [(12, 24), (8, 16)]
    assert pruned.stem[0].out_channels == 4
    assert pruned.grouped[0].out_channels == 8
    assert (pruned.stem[0].weight[-1] == 100).all()  # what was trained between is kept


def test_one_step_is_one_shot(network: nn.Module, example: torch.Tensor, half: Plan) -> None:
    once = prune_iteratively(network, example, half, pytest.fail, steps=1)
    assert torch.equal(once(example), prune(network, example, half)(example))
    with pytest.raises(ValueError, match="at least 1, got 0"):
        prune_iteratively(network, example, half, pytest.fail, steps=0)
