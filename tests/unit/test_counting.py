"""Sizes by hand."""

import pytest
import torch
from torch import nn

from raytune_edge.counting import Counts, count

IMAGE = torch.rand(1, 3, 10, 10)


@pytest.mark.parametrize(
    ("layer", "macs", "params"),
    [
        (nn.Conv2d(3, 8, 3), 8 * 8 * 8 * 27, 8 * 27 + 8),
        (nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False), 5 * 5 * 8 * 27, 8 * 27),
        (nn.Conv2d(3, 6, 3, groups=3), 8 * 8 * 6 * 9, 6 * 9 + 6),
        (nn.Conv2d(3, 4, (1, 5), dilation=2), 10 * 2 * 4 * 15, 4 * 15 + 4),
        (nn.Sequential(nn.Flatten(), nn.Linear(300, 7)), 2100, 2107),
        (nn.Sequential(nn.Flatten(), nn.Linear(300, 7, bias=False)), 2100, 2100),
        (nn.BatchNorm2d(3), 0, 6),  # not counted, as activations and pooling
    ],
)
def test_macs_and_params_by_hand(layer: nn.Module, macs: int, params: int) -> None:
    assert count(layer, IMAGE) == Counts(macs=macs, params=params)


def test_one_input_is_counted_whatever_the_batch() -> None:
    layer = nn.Conv2d(3, 8, 3)
    assert count(layer, IMAGE.expand(4, -1, -1, -1)) == count(layer, IMAGE)


def test_the_model_keeps_its_mode_and_statistics() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)).train()
    count(model, IMAGE)
    assert model.training
    assert model[1].num_batches_tracked == 0


def test_counting_works_in_inference_mode() -> None:
    with torch.inference_mode():
        assert count(nn.Linear(3, 4), torch.rand(1, 3)).macs == 12
