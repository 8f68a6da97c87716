"""Surgery by Torch-Pruning. Hides its dependency graph and its pruning functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch_pruning
from torch import nn

from raytune_edge.pruning.graph import dependency_graph
from raytune_edge.pruning.groups import Group

__all__ = ["remove_channels"]


def remove_channels(
    model: nn.Module, example: torch.Tensor, removed: Mapping[Group, Sequence[int]]
) -> nn.Module:
    """See `surgery.Surgeon`. Works for models that ``torch.fx`` can't trace."""
    graph = dependency_graph(model, example)
    for group, channels in removed.items():
        root = model.get_submodule(group.name)
        graph.get_pruning_group(root, torch_pruning.prune_conv_out_channels, list(channels)).prune()
    return model
