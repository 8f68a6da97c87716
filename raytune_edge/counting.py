"""The size of a network: multiply-accumulates and parameters."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

__all__ = ["Counts", "count"]


@dataclass(frozen=True, kw_only=True)
class Counts:
    """The size of a network.

    Attributes:
        macs: Multiply-accumulates of convolutions and linear layers for one input.
        params: Parameters.
    """

    macs: int
    params: int


@torch.inference_mode(False)  # in which torch 2.5 counts nothing
@torch.no_grad()
def count(model: nn.Module, example: torch.Tensor) -> Counts:
    """Count what ``model`` multiplies, in eval mode, for the first input of ``example``.

    >>> count(nn.Conv2d(3, 8, 3), torch.rand(1, 3, 10, 10))
    Counts(macs=13824, params=224)
    """
    with FlopCounterMode(display=False) as counter:
        copy.deepcopy(model).eval()(example[:1].clone())
    macs = counter.get_total_flops() // 2  # torch counts a multiply-accumulate as two
    return Counts(macs=macs, params=sum(parameter.numel() for parameter in model.parameters()))
