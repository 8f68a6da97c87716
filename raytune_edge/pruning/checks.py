"""Whether a pruned network is the one that was planned."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

import torch
from torch import nn

from raytune_edge.errors import PruningError
from raytune_edge.pruning.graph import Coupling, Site
from raytune_edge.pruning.groups import Group

__all__ = ["check_output", "check_widths"]

_TOLERANCE = 1e-3


def check_widths(pruned: nn.Module, removed: Mapping[Group, Sequence[int]]) -> None:
    """Whether every member of each group has lost as many channels as it should.

    Raises:
        PruningError: If one hasn't.
    """
    for group, channels in removed.items():
        expected = group.channels - len(channels)
        for member in group.members:
            width = len(pruned.get_parameter(f"{member}.weight"))
            if width != expected:
                raise PruningError(
                    f"{member} should have {expected} channels after pruning, it has {width}"
                )


@torch.no_grad()
def check_output(
    pruned: nn.Module,
    model: nn.Module,
    example: torch.Tensor,
    found: Sequence[Coupling],
    removed: Mapping[Group, Sequence[int]],
) -> None:
    """Whether ``pruned`` does what ``model`` does when nothing reads the removed channels.

    Where a GroupNorm or LayerNorm mixes channels the two differ by nature: there only the shapes
    are compared.

    Raises:
        PruningError: If the outputs differ, or ``pruned`` can't run.
    """
    cut = copy.deepcopy(model).eval()
    for coupling in found:
        for site in coupling.inputs:
            _stop_reading(cut.get_submodule(site.layer), site, removed.get(coupling.group, ()))
    expected = _tensors(cut(example))
    try:
        came = _tensors(copy.deepcopy(pruned).eval()(example))
    except Exception as error:
        raise PruningError(f"the pruned network doesn't run: {error}") from error
    if [each.shape for each in came] != [each.shape for each in expected]:
        raise PruningError(
            f"the pruned network returns {[tuple(each.shape) for each in came]}, "
            f"expected {[tuple(each.shape) for each in expected]}"
        )
    if any(coupling.mixed for coupling in found):
        return
    for one, other in zip(came, expected, strict=True):
        difference = float((one - other).abs().max() / other.abs().max().clamp(min=1e-12))
        if not difference <= _TOLERANCE:
            raise PruningError(
                "the pruned network's output isn't that of the network without the removed "
                f"channels: they differ by {difference:.2g} of the largest output"
            )


def _tensors(output: object) -> list[torch.Tensor]:
    """The tensors that a model returns, whatever holds them."""
    if isinstance(output, torch.Tensor):
        return [output]
    if isinstance(output, Mapping):
        output = list(output.values())
    parts = output if isinstance(output, (list, tuple)) else ()
    return [tensor for part in parts for tensor in _tensors(part)]


def _stop_reading(layer: nn.Module, site: Site, removed: Sequence[int]) -> None:
    """Zero, in place, the weights of ``layer`` that read the ``removed`` channels."""
    weight = layer.get_parameter("weight")
    outs, ins = weight.shape[:2]
    groups = int(getattr(layer, "groups", 1))
    reads = torch.ones(groups * ins, device=weight.device)
    reads[site.positions[torch.isin(site.channels, torch.tensor(removed))]] = 0
    by_filter = reads.reshape(groups, 1, ins).expand(-1, outs // groups, -1).reshape(outs, ins)
    weight.mul_(by_filter.reshape(outs, ins, *[1] * (weight.ndim - 2)))
