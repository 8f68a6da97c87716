"""Structured pruning: the channels that go together, how many to keep, the network that is left."""

from raytune_edge.pruning.graph import prunable_groups
from raytune_edge.pruning.groups import Group, Groups
from raytune_edge.pruning.plan import Plan, counts_to_ratios, plan, ratio_steps
from raytune_edge.pruning.rows import Sensitivity, SensitivityRow, read_sensitivity
from raytune_edge.pruning.sensitivity import sensitivity
from raytune_edge.pruning.surgery import Pruner, prune, prune_iteratively

__all__ = [
    "Group",
    "Groups",
    "Plan",
    "Pruner",
    "Sensitivity",
    "SensitivityRow",
    "counts_to_ratios",
    "plan",
    "prunable_groups",
    "prune",
    "prune_iteratively",
    "ratio_steps",
    "read_sensitivity",
    "sensitivity",
]
