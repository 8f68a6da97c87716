"""Structured pruning: the channels that go together, how many to keep, the network that is left."""

from raytune_edge.pruning.graph import prunable_groups
from raytune_edge.pruning.groups import Group, Groups
from raytune_edge.pruning.plan import Plan, plan, ratio_steps
from raytune_edge.pruning.surgery import prune, removed_channels

__all__ = [
    "Group",
    "Groups",
    "Plan",
    "plan",
    "prunable_groups",
    "prune",
    "ratio_steps",
    "removed_channels",
]
