"""How channels are ranked: by hand, and against NNI's own pruners."""

import contextlib
import io
import warnings

import pytest
import torch
from torch import nn

from raytune_edge.pruning import Pruner, plan, prunable_groups
from raytune_edge.pruning.criteria import score_channels
from raytune_edge.pruning.graph import couplings


@pytest.fixture
def chain() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 12, 3), nn.ReLU(),
        nn.Flatten(), nn.Linear(12 * 16, 4),
    ).eval()  # fmt: skip


def scores(
    model: nn.Module,
    example: torch.Tensor,
    criterion: str,
    kind: str = "filters",
    **options: object,
) -> dict[str, torch.Tensor]:
    found = couplings(model, example)
    kinds = {each.group.name: kind for each in found}
    return score_channels(model, found, criterion=criterion, kinds=kinds, **options)


def test_l1_and_l2_are_the_filters_norms(chain: nn.Module, example: torch.Tensor) -> None:
    weight = chain[0].weight.detach()
    by_hand = {"l1": weight.abs().sum((1, 2, 3)), "l2": weight.square().sum((1, 2, 3)).sqrt()}
    for criterion, expected in by_hand.items():
        torch.testing.assert_close(scores(chain, example, criterion)["0"], expected)


def test_channels_ranks_by_the_consumers_kernels(chain: nn.Module, example: torch.Tensor) -> None:
    came = scores(chain, example, "l1", "channels")
    torch.testing.assert_close(came["0"], chain[3].weight.detach().abs().sum((0, 2, 3)))
    columns = chain[6].weight.detach().abs().sum(0)  # 16 of the linear layer for each channel
    torch.testing.assert_close(came["3"], columns.reshape(12, 16).sum(1))


def test_fpgm_is_the_distance_to_all_others(chain: nn.Module, example: torch.Tensor) -> None:
    rows = chain[0].weight.detach().flatten(1)
    expected = torch.stack([(rows - row).norm(dim=1).sum() for row in rows])
    torch.testing.assert_close(scores(chain, example, "fpgm")["0"], expected)


def test_bn_scale_is_the_size_of_the_scale(chain: nn.Module, example: torch.Tensor) -> None:
    chain[1].weight.data = torch.linspace(-1, 1, 8)
    with pytest.raises(ValueError, match="no BatchNorm with a scale follows 3; use 'l1'"):
        scores(chain, example, "bn_scale")
    chain[4] = nn.BatchNorm2d(12, affine=False)
    with pytest.raises(ValueError, match="no BatchNorm with a scale follows 3"):
        scores(chain, example, "bn_scale")
    chain[4] = nn.BatchNorm2d(12)
    came = scores(chain, example, "bn_scale")["0"]
    torch.testing.assert_close(came, torch.linspace(-1, 1, 8).abs())


def test_taylor_is_the_squared_first_order_change_of_the_loss(
    chain: nn.Module, example: torch.Tensor
) -> None:
    batches = [(torch.rand(5, 3, 8, 8), torch.arange(5) % 4) for _ in range(2)]
    came = scores(chain, example, "taylor", data=batches)["0"]
    expected = torch.zeros(8)
    for images, labels in batches:
        loss = nn.functional.cross_entropy(chain(images), labels)
        (gradient,) = torch.autograd.grad(loss, chain[0].weight)
        expected += (gradient * chain[0].weight.detach()).sum((1, 2, 3)).square()
    torch.testing.assert_close(came, expected)


def test_taylor_needs_data(chain: nn.Module, example: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="'taylor' needs data="):
        scores(chain, example, "taylor")


def test_random_depends_on_the_seed_alone(chain: nn.Module, example: torch.Tensor) -> None:
    first, again, other = (scores(chain, example, "random", seed=seed)["3"] for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_members_are_summed_or_led(network: nn.Module, example: torch.Tensor) -> None:
    first = network.stem[0].weight.detach().abs().sum((1, 2, 3))
    second = network.residual[1].weight.detach().abs().sum((1, 2, 3))
    torch.testing.assert_close(scores(network, example, "l1")["stem.0"], first + second)
    led = scores(network, example, "l1", scored="leader")["stem.0"]
    torch.testing.assert_close(led, first)


def test_kernels_of_grouped_convolutions_belong_to_their_channels(
    network: nn.Module, example: torch.Tensor
) -> None:
    weight = network.grouped[0].weight.detach().abs()  # (32, 8, 3, 3) in 4 groups
    expected = [weight[8 * (c // 8) : 8 * (c // 8) + 8, c % 8].sum() for c in range(32)]
    came = scores(network, example, "l1", "channels")["project.0"]
    torch.testing.assert_close(came, torch.stack(expected))


def test_a_depthwise_filter_makes_and_reads_its_channel(
    network: nn.Module, example: torch.Tensor
) -> None:
    depthwise = network.inverted[1][0].weight.detach().abs().sum((1, 2, 3))
    others = network.gate[0].weight.detach().abs().sum((0, 2, 3))
    others += network.project[0].weight.detach().abs().sum((0, 2, 3))
    came = scores(network, example, "l1", "channels")["inverted.0.0"]
    torch.testing.assert_close(came, depthwise + others)


def test_the_kind_may_differ_by_group(network: nn.Module, example: torch.Tensor) -> None:
    made = plan(prunable_groups(network, example), {"left.0": 0.5, "right.0": 0.5}, round_to=1,
                min_keep=1)  # fmt: skip
    kinds = {"left.0": "channels"}
    mixed = Pruner(network, example).choose(made, kind=kinds)
    filters = Pruner(network, example).choose(made)
    channels = Pruner(network, example).choose(made, kind="channels")
    left, right = filters
    assert mixed == {left: channels[left], right: filters[right]}
    assert filters != channels


def test_the_lowest_scores_go(chain: nn.Module, example: torch.Tensor) -> None:
    chain[0].weight.data *= torch.tensor([5, 1, 4, 8, 2, 7, 3, 6]).reshape(8, 1, 1, 1)
    chain[0].weight.data.sign_()
    chain[0].weight.data *= torch.tensor([5, 1, 4, 8, 2, 7, 3, 6]).reshape(8, 1, 1, 1)
    made = plan(prunable_groups(chain, example), {"0": 0.5}, round_to=1, min_keep=1)
    ((_, gone),) = Pruner(chain, example).choose(made).items()
    assert gone == (1, 2, 4, 6)


def test_grouped_convolutions_lose_the_same_channels_of_each_group(
    network: nn.Module, example: torch.Tensor
) -> None:
    made = plan(prunable_groups(network, example), {"project.0": 0.5}, round_to=1)
    ((_, gone),) = Pruner(network, example).choose(made).items()
    assert len(gone) == 16
    first = [channel for channel in gone if channel < 8]
    assert list(gone) == [8 * group + channel for group in range(4) for channel in first]


@pytest.mark.parametrize("wrong", [{"criterion": "l3"}, {"kind": "kernels"}, {"scored": "mean"}])
def test_unknown_choices_are_told_with_the_known_ones(
    network: nn.Module, example: torch.Tensor, wrong: dict[str, str]
) -> None:
    made = plan(prunable_groups(network, example), {"stem.0": 0.5})
    with pytest.raises(ValueError, match=r"expected one of \('[a-z0-9]+', .*got"):
        Pruner(network, example).choose(made, **wrong)


@pytest.mark.parametrize(
    ("criterion", "pruner"),
    [("l1", "L1NormPruner"), ("l2", "L2NormPruner"), ("fpgm", "FPGMPruner")],
)
def test_nnis_own_pruners_remove_the_same_filters(
    chain: nn.Module, example: torch.Tensor, criterion: str, pruner: str
) -> None:
    made = plan(prunable_groups(chain, example), {"0": 0.5, "3": 0.5}, round_to=1, min_keep=1)
    removed = Pruner(chain, example).choose(made, criterion=criterion)
    settings = [{"op_names": ["0", "3"], "sparse_ratio": 0.5}]
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import nni.compression.pruning

        _, masks = getattr(nni.compression.pruning, pruner)(chain, settings).compress()
    for group, gone in removed.items():
        rows = masks[group.name]["weight"].flatten(1).sum(1)
        assert tuple((rows == 0).nonzero().flatten().tolist()) == gone
